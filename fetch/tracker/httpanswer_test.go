package tracker

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

func addrPorts(s ...string) []netip.AddrPort {
	var out []netip.AddrPort
	for _, a := range s {
		out = append(out, netip.MustParseAddrPort(a))
	}
	return out
}

func TestParseHTTP(t *testing.T) {
	compact6 := "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x1a\xe1"
	for _, c := range []struct {
		name, body string
		want       Response
	}{
		{"compact (BEP 23) and peers6 (BEP 7)",
			"d8:completei3e10:incompletei4e8:intervali1800e12:min intervali60e5:peers6:\x01\x02\x03\x04\x1a\xe16:peers618:" + compact6 + "10:tracker id2:iD15:warning message4:slowe",
			Response{Interval: 30 * time.Minute, MinInterval: time.Minute, Seeders: 3, Leechers: 4, Warning: "slow", TrackerID: "iD",
				Peers: addrPorts("1.2.3.4:6881", "[2001:db8::1]:6881")}},
		{"dictionaries (BEP 3); names, bad ports and other rubbish skipped",
			"d8:intervali900e5:peersld2:ip7:1.2.3.47:peer id20:aaaaaaaaaaaaaaaaaaaa4:porti80eed2:ip4:host4:porti80eed2:ip3:::94:porti1eed2:ip7:1.2.3.44:porti65536eei7eee",
			Response{Interval: 15 * time.Minute, Peers: addrPorts("1.2.3.4:80", "[::9]:1")}},
		{"types that make no sense cost only themselves",
			"d8:complete2:no8:interval3:900e",
			Response{Interval: defaultInterval}},
		{"external ip (BEP 24)", "d11:external ip4:\x08\x08\x08\x08e",
			Response{Interval: defaultInterval, ExternalIP: netip.MustParseAddr("8.8.8.8")}},
		{"negative numbers", "d8:completei-5e8:intervali-1ee", Response{}},
		{"nothing", "de\n", Response{Interval: defaultInterval}},
	} {
		got, err := parseHTTP([]byte(c.body))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if !slices.Equal(got.Peers, c.want.Peers) {
			t.Errorf("%s: peers %v, want %v", c.name, got.Peers, c.want.Peers)
		}
		got.Peers, c.want.Peers = nil, nil
		if got.Interval != c.want.Interval || got.MinInterval != c.want.MinInterval || got.Seeders != c.want.Seeders ||
			got.Leechers != c.want.Leechers || got.Warning != c.want.Warning || got.TrackerID != c.want.TrackerID || got.ExternalIP != c.want.ExternalIP {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
}

func TestParseHTTPRefuses(t *testing.T) {
	for name, body := range map[string]string{
		"HTML":                 "<html><body>404</body></html>",
		"empty":                "",
		"truncated":            "d8:intervali1800e5:peers6:\x01\x02",
		"odd peers":            "d5:peers5:\x01\x02\x03\x04\x05e",
		"odd peers6":           "d6:peers65:\x01\x02\x03\x04\x05e",
		"peers an integer":     "d5:peersi6ee",
		"a list":               "le",
		"two values":           "dede",
		"depth bomb":           "d5:peers" + strings.Repeat("l", 1<<20) + strings.Repeat("e", 1<<20) + "e",
		"string past the end":  "d5:peers9999999999:e",
		"string past int64":    "d5:peers99999999999999999999999:e",
		"token bomb":           "d5:peersl" + strings.Repeat("le", 900_000) + "ee",
		"duplicate peers keys": "d5:peers0:5:peers0:e",
	} {
		if _, err := parseHTTP([]byte(body)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestFailureReason(t *testing.T) {
	for body, want := range map[string]FailureError{
		"d14:failure reason12:unregisterede":                    {Reason: "unregistered"},
		"d14:failure reason2:\x1bx8:retry ini5ee":               {Reason: "x", RetryIn: 5 * time.Minute},
		"d14:failure reason1:x8:retry in5:nevere":               {Reason: "x", Never: true},
		"d14:failure reason1:x8:retry in2:10e":                  {Reason: "x", RetryIn: 10 * time.Minute},
		"d14:failure reason1:x8:retry ini9223372036854775807ee": {Reason: "x", RetryIn: 24 * time.Hour},
		"d14:failure reasoni1ee":                                {Reason: "no reason given"},
	} {
		_, err := parseHTTP([]byte(body))
		var got *FailureError
		if !errors.As(err, &got) || *got != want {
			t.Errorf("%q: got %#v, want %#v", body, err, want)
		}
	}
}

func FuzzParseHTTP(f *testing.F) {
	for _, s := range []string{
		"de", "d8:intervali1800e5:peers6:\x01\x02\x03\x04\x1a\xe1e", "d5:peersld2:ip7:1.2.3.44:porti80eeee",
		"d14:failure reason1:x8:retry in5:nevere", "d6:peers618:aaaaaaaaaaaaaaaaaae", "d11:external ip16:aaaaaaaaaaaaaaaae",
		"<html>", "d5:peers-1:e", "d8:intervali99999999999999999999ee", "d5:peersl" + strings.Repeat("l", 200),
		"d5:peersld2:ipi1e4:port1:xeee", "d10:tracker id3:a\x00&e",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := parseHTTP(body)
		if err != nil {
			return
		}
		checkResponse(t, r)
	})
}

// checkResponse holds what is true of every answer, whoever sent it.
func checkResponse(t *testing.T, r Response) {
	t.Helper()
	r.clampIntervals()
	if r.Interval < time.Minute || r.Interval > time.Hour || r.MinInterval != 0 && (r.MinInterval < wantFloor || r.MinInterval > r.Interval) {
		t.Errorf("intervals %v, %v", r.Interval, r.MinInterval)
	}
	if r.Seeders < 0 || r.Leechers < 0 || len(r.Warning) > maxText+8 || len(r.TrackerID) > 1024 {
		t.Errorf("out of bounds: %+v", r)
	}
	r.Peers = cleanPeers(r, 6881, false)
	if len(r.Peers) > MaxPeers {
		t.Errorf("%d peers", len(r.Peers))
	}
	for _, p := range r.Peers {
		if !Dialable(p) || p.Addr().IsLoopback() || p.Addr().Is4In6() {
			t.Errorf("peer %v", p)
		}
	}
}
