package lsd

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// wire is a link whose network is the test.
type wire struct {
	in   chan datagram
	done chan struct{}
	once sync.Once

	mu  sync.Mutex
	out []sent
}

type datagram struct {
	from netip.AddrPort
	text []byte
}

type sent struct {
	at time.Time
	m  message
}

func newWire() *wire { return &wire{in: make(chan datagram), done: make(chan struct{})} }

func (w *wire) read(b []byte) (int, netip.AddrPort, error) {
	select {
	case d := <-w.in:
		return copy(b, d.text), d.from, nil
	case <-w.done:
		return 0, netip.AddrPort{}, net.ErrClosed
	}
}

func (w *wire) send(text func(host string) []byte) {
	m, err := parse(text("group"))
	if err != nil {
		panic(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.out = append(w.out, sent{time.Now(), m})
}

func (w *wire) close() { w.once.Do(func() { close(w.done) }) }

// take returns what was sent since the last take.
func (w *wire) take() []sent {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.out
	w.out = nil
	return out
}

func (w *wire) hear(from string, m message) {
	w.in <- datagram{netip.MustParseAddrPort(from), m.append(nil)}
	synctest.Wait()
}

var listening = Config{Addrs: []netip.AddrPort{netip.MustParseAddrPort("[::]:6881")}}

// node runs f with a Node on a wire, in virtual time.
func node(t *testing.T, f func(t *testing.T, n *Node, w *wire)) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire()
		n := start(listening, []link{w})
		defer n.Close()
		f(t, n, w)
	})
}

// BEP 14: a torrent is announced every 5 minutes, and "a client should send at most 1
// announce per minute".
func TestAnnounces(t *testing.T) {
	node(t, func(t *testing.T, n *Node, w *wire) {
		began := time.Now()
		s := n.Search(hashed(0), nil)
		n.Search(hashed(1), nil)
		time.Sleep(time.Second)
		out := w.take()
		if len(out) != 1 || len(out[0].m.hashes) != 2 || out[0].m.port != 6881 || out[0].m.host != "group" || out[0].m.cookie == "" {
			t.Fatalf("first: %+v", out)
		}
		n.Search(hashed(2), nil)
		time.Sleep(pause - 2*time.Second)
		if out := w.take(); len(out) != 0 {
			t.Errorf("within a minute of it: %+v", out)
		}
		time.Sleep(2 * time.Second)
		if out := w.take(); len(out) != 1 || !slices.Equal(out[0].m.hashes, [][20]byte{hashed(2)}) {
			t.Errorf("a later torrent: %+v", out)
		}
		s.Close()
		time.Sleep(time.Until(began.Add(interval + time.Second)))
		if out := w.take(); len(out) != 1 || !slices.Equal(out[0].m.hashes, [][20]byte{hashed(1)}) {
			t.Errorf("after 5 minutes: %+v", out)
		}
	})
}

func TestManyTorrentsInDatagrams(t *testing.T) {
	node(t, func(t *testing.T, n *Node, w *wire) {
		const all = maxBurst*hashesEach + 5
		for i := range all {
			n.Search(hashed(i), nil)
		}
		time.Sleep(time.Second)
		out := w.take()
		if len(out) != maxBurst {
			t.Fatalf("%d datagrams at once", len(out))
		}
		time.Sleep(pause)
		told := map[[20]byte]bool{}
		for _, o := range append(out, w.take()...) {
			if b := o.m.append(nil); len(b) > 1400 {
				t.Errorf("a datagram of %d bytes", len(b))
			}
			for _, h := range o.m.hashes {
				told[h] = true
			}
		}
		if len(told) != all {
			t.Errorf("%d of %d torrents were announced", len(told), all)
		}
	})
}

func TestHears(t *testing.T) {
	node(t, func(t *testing.T, n *Node, w *wire) {
		var got []netip.AddrPort
		s := n.Search(hashed(1), func(a []netip.AddrPort) { got = append(got, a...) })
		w.hear("10.0.0.2:6771", message{port: 7000, hashes: [][20]byte{hashed(5), hashed(1)}})
		w.hear("10.0.0.3:6771", message{port: 7000, hashes: [][20]byte{hashed(5)}})
		w.hear("10.0.0.4:6771", message{port: 7000, hashes: [][20]byte{hashed(1)}, cookie: n.cookie})
		w.in <- datagram{netip.MustParseAddrPort("10.0.0.5:6771"), []byte("hello")}
		synctest.Wait()
		if want := []netip.AddrPort{netip.MustParseAddrPort("10.0.0.2:7000")}; !slices.Equal(got, want) {
			t.Errorf("found %v, want %v", got, want)
		}
		s.Close()
		w.hear("10.0.0.6:6771", message{port: 7000, hashes: [][20]byte{hashed(1)}})
		if len(got) != 1 {
			t.Errorf("found after Close: %v", got)
		}
	})
}

// One sender or many cannot make us do more than a bounded amount of work.
func TestFloods(t *testing.T) {
	node(t, func(t *testing.T, n *Node, w *wire) {
		got := map[netip.Addr]int{}
		n.Search(hashed(1), func(a []netip.AddrPort) { got[a[0].Addr()]++ })
		say := func(from netip.Addr) {
			w.hear(netip.AddrPortFrom(from, 6771).String(), message{port: 1, hashes: [][20]byte{hashed(1)}})
		}
		one, two := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
		for range 100 {
			say(one)
		}
		say(two)
		if got[one] != maxOfOne || got[two] != 1 {
			t.Errorf("%d of one sender, %d of another", got[one], got[two])
		}
		from := netip.MustParseAddr("10.1.0.0")
		for range 2 * maxSenders {
			from = from.Next()
			say(from)
		}
		if len(got) > maxOfAll || len(n.senders) > maxSenders {
			t.Errorf("%d senders were heard, %d are remembered", len(got), len(n.senders))
		}
		time.Sleep(window)
		if say(two); got[two] != 2 {
			t.Errorf("not heard in the next window")
		}
	})
}

// The real groups, on loopback: two nodes find each other, and nobody else is told.
func TestLoopback(t *testing.T) {
	loopback := func(port uint16) Config {
		return Config{
			Addrs: []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)},
			Allow: func(i net.Interface) bool { return i.Flags&net.FlagLoopback != 0 },
		}
	}
	found := make(chan netip.AddrPort, 10)
	a, err := New(loopback(7001))
	if err != nil {
		t.Skipf("no multicast here: %v", err)
	}
	defer a.Close()
	b, err := New(loopback(7002))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	hash := hashed(int(time.Now().UnixNano() % 1e12)) // other processes may run this test
	tell := func(addrs []netip.AddrPort) { found <- addrs[0] }
	a.Search(hash, tell)
	b.Search(hash, tell)
	select {
	case got := <-found:
		if got.Addr().String() != "127.0.0.1" || got.Port() != 7001 && got.Port() != 7002 {
			t.Errorf("found %v", got)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("nobody was found")
	}
}

func TestWays(t *testing.T) {
	for _, c := range []struct {
		listen string
		is4    bool
		want   bool // loopback is used
	}{
		{"127.0.0.1:1", true, true}, {"127.1.2.3:1", true, true}, {"127.0.0.1:1", false, false},
		{"0.0.0.0:1", true, false}, {"[::]:1", true, false}, {"10.0.0.1:1", true, false}, {"[::1]:1", true, false},
	} {
		used := false
		for _, w := range ways(Config{Addrs: []netip.AddrPort{netip.MustParseAddrPort(c.listen)}}, c.is4) {
			used = used || w.ifi.Flags&net.FlagLoopback != 0
			if netip.MustParseAddrPort(c.listen).Addr().IsLoopback() && w.ifi.Flags&net.FlagLoopback == 0 {
				t.Errorf("listening on %s is announced on %s", c.listen, w.ifi.Name)
			}
		}
		if used != c.want {
			t.Errorf("listening on %s: loopback is used: %v", c.listen, used)
		}
	}
}
