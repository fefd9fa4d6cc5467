package pex

import (
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"
)

func addr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// numbered is a peer of its own for each n.
func numbered(n int) Peer {
	return Peer{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}), 6881)}
}

func peersUpTo(n int) (list []Peer) {
	for i := range n {
		list = append(list, numbered(i))
	}
	return list
}

var both = Message{
	Added:   []Peer{{addr("1.2.3.4:5"), Seed | Reachable}, {addr("[2001:db8::1]:6"), UTP}},
	Dropped: []netip.AddrPort{addr("4.3.2.1:7"), addr("[2001:db8::2]:8")},
}

const bothEncoded = "d5:added6:\x01\x02\x03\x04\x00\x057:added.f1:\x126:added618:" +
	"\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x068:added6.f1:\x04" +
	"7:dropped6:\x04\x03\x02\x01\x00\x078:dropped618:" +
	"\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x08e"

func TestMessage(t *testing.T) {
	if got := string(both.Append(nil)); got != bothEncoded {
		t.Errorf("encoded as %q", got)
	}
	got, err := Parse([]byte(bothEncoded))
	if err != nil || !reflect.DeepEqual(got, both) {
		t.Errorf("Parse = %+v, %v", got, err)
	}
}

func TestParseHostile(t *testing.T) {
	for name, c := range map[string]struct {
		in    string
		added int
		ok    bool
	}{
		"not bencoded":          {"hello", 0, false},
		"a list":                {"le", 0, false},
		"cut off":               {"d5:added7:\x01\x02\x03\x04\x00\x05\x01e", 0, false},
		"dropped cut off":       {"d8:dropped65:abcdee", 0, false},
		"empty":                 {"de", 0, true},
		"other types":           {"d5:addedi5e7:droppedlee", 0, true},
		"port 0":                {"d5:added6:\x01\x02\x03\x04\x00\x00e", 0, true},
		"no flags":              {"d5:added6:\x01\x02\x03\x04\x00\x05e", 1, true},
		"twice":                 {"d5:added12:\x01\x02\x03\x04\x00\x05\x01\x02\x03\x04\x00\x05e", 1, true},
		"mapped IPv4 is IPv4":   {"d6:added618:\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\x01\x02\x03\x04\x00\x05e", 1, true},
		"a key that is unknown": {"d5:added6:\x01\x02\x03\x04\x00\x051:x1:ye", 1, true},
	} {
		m, err := Parse([]byte(c.in))
		if (err == nil) != c.ok || len(m.Added) != c.added {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
	}
	long := Message{Added: peersUpTo(1000)}
	for _, p := range peersUpTo(2000)[1000:] {
		long.Dropped = append(long.Dropped, p.Addr)
	}
	if m, err := Parse(long.Append(nil)); err != nil || len(m.Added) != MaxPeers || len(m.Dropped) != MaxPeers {
		t.Errorf("of 1,000 each %d and %d were taken, %v", len(m.Added), len(m.Dropped), err)
	}
	again := Message{Added: peersUpTo(1), Dropped: []netip.AddrPort{numbered(0).Addr}}
	if m, err := Parse(again.Append(nil)); err != nil || len(m.Added) != 1 || len(m.Dropped) != 0 {
		t.Errorf("added and dropped: %+v, %v", m, err)
	}
}

var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

var none = slices.Values[[]Peer](nil)

// BEP 11: "a peer should not send messages more than once per minute", and at most 50
// each are told.
func TestTalk(t *testing.T) {
	var talk Talk
	now := epoch
	if _, ok := talk.Next(now, none); ok {
		t.Error("something was said of nobody")
	}
	told := map[netip.AddrPort]bool{}
	for range 3 {
		m, ok := talk.Next(now, slices.Values(peersUpTo(120)))
		if !ok || len(m.Added) > MaxPeers || len(m.Dropped) > 0 {
			t.Fatalf("%v: %+v", ok, m)
		}
		for _, p := range m.Added {
			told[p.Addr] = true
		}
		if _, ok := talk.Next(now.Add(Interval-1), slices.Values(peersUpTo(121))); ok {
			t.Fatal("said within a minute")
		}
		now = now.Add(Interval)
	}
	if len(told) != 120 {
		t.Errorf("%d of 120 were told", len(told))
	}
	if _, ok := talk.Next(now, slices.Values(peersUpTo(120))); ok {
		t.Error("said without news")
	}
	m, ok := talk.Next(now, slices.Values(append(peersUpTo(100), numbered(500))))
	if want := peersUpTo(120)[100:]; !ok || !reflect.DeepEqual(m.Added, []Peer{numbered(500)}) ||
		!slices.EqualFunc(m.Dropped, want, func(a netip.AddrPort, p Peer) bool { return a == p.Addr }) {
		t.Errorf("%v: %+v", ok, m)
	}
	now = now.Add(Interval)
	if m, ok := talk.Next(now, none); !ok || len(m.Dropped) != MaxPeers || len(m.Added) != 0 {
		t.Errorf("all gone: %v, %d dropped", ok, len(m.Dropped))
	}
}

func TestEar(t *testing.T) {
	var ear Ear
	msg := both.Append(nil)
	for _, c := range []struct {
		at    time.Duration
		taken bool
	}{{0, true}, {time.Second, false}, {54 * time.Second, false}, {58 * time.Second, true}, {70 * time.Second, false}, {2 * time.Minute, true}} {
		if _, ok := ear.Hear(epoch.Add(c.at), msg); ok != c.taken {
			t.Errorf("after %v: taken %v", c.at, ok)
		}
	}
	if _, ok := ear.Hear(epoch.Add(time.Hour), []byte("x")); ok {
		t.Error("nonsense was taken")
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{bothEncoded, "de", "d5:added6:\x01\x02\x03\x04\x00\x05e", "d5:added7:1234567e", "d5:addedi1ee"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Parse(b)
		if err != nil {
			return
		}
		if len(m.Added) > MaxPeers || len(m.Dropped) > MaxPeers {
			t.Errorf("%d and %d peers", len(m.Added), len(m.Dropped))
		}
		if again, err := Parse(m.Append(nil)); err != nil || !sameMessage(again, m) {
			t.Errorf("%+v comes back as %+v, %v", m, again, err)
		}
	})
}

// sameMessage compares two messages whatever the order of families.
func sameMessage(a, b Message) bool {
	byAddr := func(p, q Peer) int { return p.Addr.Compare(q.Addr) }
	for _, m := range []*Message{&a, &b} {
		slices.SortFunc(m.Added, byAddr)
		slices.SortFunc(m.Dropped, netip.AddrPort.Compare)
	}
	return slices.Equal(a.Added, b.Added) && slices.Equal(a.Dropped, b.Dropped)
}
