package blocklist_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/qqbtfs/qqbtfs/peerconn/blocklist"
)

const mixed = `# a comment
; and one of others
Some Bad: Company:192.0.2.10-192.0.2.20
198.051.100.000 - 198.051.100.255 , 100 , Another
203.000.113.000 - 203.000.113.255 , 200 , Allowed
10.1.0.0/16 # a whole network
10.1.2.3
10.9.8.7
2001:db8::/32
Six:2001:db9::1-2001:db9::ff
2001:dba:: - 2001:dba::5 , 000 , dat
::ffff:172.16.0.1
::ffff:172.17.0.0/112
192.0.2.15-192.0.2.30
not a range
1.2.3.9-1.2.3.1
`

func TestParse(t *testing.T) {
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	z.Write([]byte(mixed))
	z.Close()
	for name, b := range map[string][]byte{
		"plain": []byte(mixed), "gzipped": zipped.Bytes(), "DOS": []byte(strings.ReplaceAll(mixed, "\n", "\r\n")),
	} {
		l, err := blocklist.Parse(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range []string{"192.0.2.10", "192.0.2.30", "198.51.100.0", "198.51.100.255", "10.1.0.0", "10.1.255.255", "10.9.8.7",
			"2001:db8::", "2001:db8:ffff::1", "2001:db9::ff", "2001:dba::5", "172.16.0.1", "172.17.255.255", "::ffff:10.9.8.7"} {
			if !l.Has(netip.MustParseAddr(a)) {
				t.Errorf("%s: %s is not blocked", name, a)
			}
		}
		for _, a := range []string{"192.0.2.9", "192.0.2.31", "198.51.99.255", "203.0.113.5", "10.0.255.255", "10.2.0.0", "10.9.8.6", "172.18.0.0",
			"2001:db7:ffff::", "2001:db9::", "2001:db9::100", "2001:dba::6", "1.2.3.5", "0.0.0.0", "255.255.255.255", "::"} {
			if l.Has(netip.MustParseAddr(a)) {
				t.Errorf("%s: %s is blocked", name, a)
			}
		}
		if l.Len() != 9 || l.Skipped != 2 {
			t.Errorf("%s: %d ranges, %d lines skipped", name, l.Len(), l.Skipped)
		}
	}
}

func TestParseOdd(t *testing.T) {
	long := strings.Repeat("x", 100_000) + ":1.2.3.4-1.2.3.4\n5.6.7.8"
	l, err := blocklist.Parse(strings.NewReader(long))
	if err != nil || l.Len() != 1 || l.Skipped != 1 || !l.Has(netip.MustParseAddr("5.6.7.8")) {
		t.Errorf("a long line: %+v, %v", l, err)
	}
	if _, err := blocklist.Parse(strings.NewReader("<html>\n<body>")); err == nil {
		t.Error("a web page is a list")
	}
	if l, err := blocklist.Parse(strings.NewReader("")); err != nil || l.Len() != 0 {
		t.Errorf("an empty file: %v", err)
	}
	if _, err := blocklist.Parse(strings.NewReader("\x1f\x8bgarbage")); err == nil {
		t.Error("broken gzip is a list")
	}
	var none *blocklist.List
	if none.Has(netip.MustParseAddr("1.2.3.4")) || none.Len() != 0 {
		t.Error("no list blocks")
	}
}

// Against a list that is asked range by range.
func TestModel(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		var text strings.Builder
		var model [256]bool
		for range rnd.IntN(20) {
			a := rnd.IntN(256)
			b := a + rnd.IntN(min(40, 256-a))
			fmt.Fprintf(&text, "10.0.0.%d-10.0.0.%d\n", a, b)
			for i := a; i <= b; i++ {
				model[i] = true
			}
		}
		l, err := blocklist.Parse(strings.NewReader(text.String()))
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range model {
			if l.Has(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})) != want {
				t.Fatalf("%d: want %v of\n%s", i, want, text.String())
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(mixed))
	for line := range strings.Lines(mixed) {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := blocklist.Parse(bytes.NewReader(b))
		if err != nil {
			return
		}
		l.Has(netip.MustParseAddr("10.1.2.3"))
		if l.Len()+l.Skipped > 1+bytes.Count(b, []byte("\n")) && b[0] != 0x1f {
			t.Errorf("%d ranges and %d skipped of %q", l.Len(), l.Skipped, b)
		}
	})
}

func BenchmarkHas(b *testing.B) {
	var text strings.Builder
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 300_000 {
		a := rnd.Uint32()
		fmt.Fprintf(&text, "%d.%d.%d.0/24\n", byte(a>>24), byte(a>>16), byte(a>>8))
	}
	l, err := blocklist.Parse(strings.NewReader(text.String()))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		a := rnd.Uint32()
		l.Has(netip.AddrFrom4([4]byte{byte(a >> 24), byte(a >> 16), byte(a >> 8), byte(a)}))
	}
}
