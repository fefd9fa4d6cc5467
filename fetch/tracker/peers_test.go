package tracker

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

func TestParseCompactDropsWhatCannotBeDialled(t *testing.T) {
	b := []byte{
		1, 2, 3, 4, 0x1a, 0xe1,
		1, 2, 3, 4, 0, 0, // port 0
		0, 0, 0, 0, 0, 80, // unspecified
		224, 0, 0, 1, 0, 80, // multicast
		255, 255, 255, 255, 0, 80, // broadcast
		5, 6, 7, 8, 0, 1,
	}
	got, err := parseCompact(b, compact4)
	want := []netip.AddrPort{netip.MustParseAddrPort("1.2.3.4:6881"), netip.MustParseAddrPort("5.6.7.8:1")}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	if _, err := parseCompact(b[:7], compact4); err == nil {
		t.Error("a list of odd length was accepted")
	}
	if got, _ := parseCompact(make([]byte, 5000*compact4), compact4); len(got) != 0 {
		t.Errorf("%d peers of zeros", len(got))
	}
}

func TestParseCompactIsCapped(t *testing.T) {
	var b []byte
	for i := range 3 * MaxPeers {
		b = append(b, 9, 9, byte(i>>8), byte(i), 1, 1)
	}
	if got, err := parseCompact(b, compact4); err != nil || len(got) != MaxPeers {
		t.Errorf("%d peers, %v; want %d", len(got), err, MaxPeers)
	}
}

func TestCleanPeers(t *testing.T) {
	peers := func() []netip.AddrPort {
		return []netip.AddrPort{
			netip.MustParseAddrPort("9.9.9.9:1"),
			netip.MustParseAddrPort("127.0.0.1:22"),
			netip.MustParseAddrPort("9.9.9.9:1"),
			netip.MustParseAddrPort("8.8.8.8:6881"), // us
			netip.MustParseAddrPort("8.8.8.8:6882"),
		}
	}
	r := Response{Peers: peers(), ExternalIP: netip.MustParseAddr("8.8.8.8")}
	want := []netip.AddrPort{netip.MustParseAddrPort("9.9.9.9:1"), netip.MustParseAddrPort("8.8.8.8:6882")}
	if got := cleanPeers(r, 6881, false); !slices.Equal(got, want) {
		t.Errorf("public tracker: got %v, want %v", got, want)
	}
	r.Peers = peers()
	if got := cleanPeers(r, 6881, true); !slices.Contains(got, netip.MustParseAddrPort("127.0.0.1:22")) {
		t.Errorf("local tracker: got %v, want the loopback peer kept", got)
	}
}

func TestClampIntervals(t *testing.T) {
	for _, c := range []struct{ interval, minimum, wantInterval, wantMinimum time.Duration }{
		{0, 0, time.Minute, 0},
		{-time.Hour, -5, time.Minute, -5},
		{1000 * time.Hour, 1, time.Hour, 30 * time.Second},
		{2 * time.Minute, 30 * time.Minute, 30 * time.Minute, 30 * time.Minute},
		{30 * time.Minute, 5 * time.Minute, 30 * time.Minute, 5 * time.Minute},
	} {
		r := Response{Interval: c.interval, MinInterval: c.minimum}
		r.clampIntervals()
		if r.Interval != c.wantInterval || r.MinInterval != c.wantMinimum {
			t.Errorf("%v, %v: got %v, %v", c.interval, c.minimum, r.Interval, r.MinInterval)
		}
	}
	if d := seconds(1<<63 - 1); d != time.Hour {
		t.Errorf("seconds(max) = %v", d)
	}
}
