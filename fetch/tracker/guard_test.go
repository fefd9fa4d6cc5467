package tracker

import (
	"encoding/hex"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"
)

// "a loopback or private tracker URL inside a torrent may only be asked for
// /announce"
func TestAdmit(t *testing.T) {
	for _, c := range []struct {
		url, addr  string
		redirected bool
		ok         bool
	}{
		{"http://h/anything?x=1", "93.184.216.34", false, true},
		{"http://h/announce", "127.0.0.1", false, true},
		{"http://h/x/announce?key=1", "192.168.1.1", false, true},
		{"http://h/admin/reboot", "192.168.1.1", false, false},
		{"http://h/announce.php", "10.0.0.1", false, false},
		{"http://h/x?y=/announce", "127.0.0.1", false, false},
		{"http://h/x", "::1", false, false},
		{"http://h/x", "fe80::1", false, false},
		{"http://h/x", "fd00::1", false, false},
		{"http://h/x", "::ffff:127.0.0.1", false, false},
		{"http://h/latest/meta-data", "169.254.169.254", false, false},
		{"http://h/x", "100.64.1.1", false, false},
		{"http://h/x", "0.0.0.0", false, false},
		{"http://h/announce", "224.0.0.1", false, false},
		{"http://h/announce", "127.0.0.1", true, false},
		{"http://h/announce", "93.184.216.34", true, true},
		{"udp://h:1", "127.0.0.1", false, true},
		{"udp://h:1/announce", "127.0.0.1", false, true},
		{"udp://h:1/x", "127.0.0.1", false, false},
	} {
		u, err := url.Parse(c.url)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := admit(u, []netip.Addr{netip.MustParseAddr(c.addr)}, c.redirected); (err == nil) != c.ok {
			t.Errorf("%s at %s, redirected %v: err %v, want ok %v", c.url, c.addr, c.redirected, err, c.ok)
		}
	}
}

func TestAdmitKeepsThePublicAddress(t *testing.T) {
	u, _ := url.Parse("http://h/a.php")
	got, err := admit(u, []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("1.1.1.1")}, false)
	if err != nil || len(got) != 1 || got[0] != netip.MustParseAddr("1.1.1.1") {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestMaskURL(t *testing.T) {
	for in, want := range map[string]string{
		"http://127.0.0.1:7969/announce":                         "http://127.0.0.1:7969/announce",
		"udp://tracker.example.org:1337/announce":                "udp://tracker.example.org:1337/announce",
		"http://t.org/0123456789abcdef0123456789abcdef/announce": "http://t.org/***/announce",
		"https://t.org/announce.php?passkey=abc&v=2":             "https://t.org/announce.php?passkey=***&v=2",
		"https://t.org/announce?x=0123456789":                    "https://t.org/announce?x=***",
		"https://t.org/announce?0123456789abcdef":                "https://t.org/announce?***",
		"http://user:secret@t.org/announce#frag":                 "http://***@t.org/announce",
		"http://t.org/ann\x7founce":                              "(invalid URL)",
		"http://t.org/abcdefghijklmnopqrstuvwxyzabcdef/announce": "http://t.org/***/announce",
		"http://t.org/a%31b2c3d4e5/announce?uid=1":               "http://t.org/***/announce?uid=***",
		"http://[2001:db8::1]:80/announce":                       "http://[2001:db8::1]:80/announce",
		"not a url":                                              "(invalid URL)",
	} {
		if got := MaskURL(in); got != want {
			t.Errorf("MaskURL(%q) = %q, want %q", in, got, want)
		}
	}
}

// A tracker that repeats a passkey does not get it shown.
func TestMaskText(t *testing.T) {
	const key = "5ECRET0123456789abcdef"
	for _, u := range []string{
		"http://t.org/" + key + "/announce", "http://t.org/announce?passkey=" + key, "http://t.org/announce?" + key,
		"http://" + key + "@t.org/announce", "http://u:" + key + "@t.org/announce", "http://t.org/announce?" + key + "=1", "http://t.org/announce?key=5ECRET01&passkey=" + key, "http://t.org/%35ECRET0123456789abcdef/announce",
	} {
		e := newEndpoint(u, 0)
		e.failed(time.Now(), &FailureError{Reason: "Passkey not found: " + key}, 0)
		if want := "tracker refused: Passkey not found: ***"; e.lastErr != want {
			t.Errorf("%s: %q, want %q", u, e.lastErr, want)
		}
		e.succeeded(time.Now(), Response{Warning: key + " expires", Interval: time.Hour})
		if got := e.lastOK(); strings.Contains(got, key) || !strings.Contains(got, "*** expires") {
			t.Errorf("%s: %q", u, got)
		}
	}
}

func TestPrintable(t *testing.T) {
	if got := Printable("a\x1b[31m\nb\xff\u202e"); got != "a[31m b?" {
		t.Errorf("got %q", got)
	}
	long := make([]byte, 1<<20)
	for i := range long {
		long[i] = 'x'
	}
	if got := Printable(string(long)); len(got) > maxText+8 {
		t.Errorf("%d bytes left", len(got))
	}
}

// FuzzMaskURL: a passkey is nowhere in what is shown, wherever in a URL behind the host
// it stands and whatever is around it.
func FuzzMaskURL(f *testing.F) {
	f.Add("http://t.org/", "/announce", []byte("0123456789abcdef"))
	f.Add("https://t.org/announce?passkey=", "&v=2", []byte("0123456789ab"))
	f.Add("udp://t.org:80/announce?", "", []byte("0123456789ab"))
	f.Add("http://u:", "@t.org/announce#", []byte("0123456789ab"))
	f.Add("http://t.org/a%2f", "%2fb;x=1", []byte("0123456789ab"))
	f.Fuzz(func(t *testing.T, before, after string, secret []byte) {
		key := hex.EncodeToString(secret)
		u := before + key + after
		if p, err := url.Parse(u); len(secret) < 12 || err == nil && (strings.Contains(p.Host, key) || strings.Contains(p.Scheme, key)) {
			return
		}
		if got := MaskURL(u); strings.Contains(got, key) {
			t.Errorf("%q shows %q", u, got)
		}
	})
}
