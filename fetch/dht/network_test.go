package dht

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// internet is a network in memory, with a delay, for nodes in a synctest bubble.
type internet struct {
	mu    sync.Mutex
	hosts map[netip.AddrPort]*socket
	sent  map[string]int // datagrams by who sent them
	// tap, if not nil, sees each datagram and may swallow it.
	tap func(from, to netip.AddrPort, b []byte) bool
}

func newInternet() *internet {
	return &internet{hosts: map[netip.AddrPort]*socket{}, sent: map[string]int{}}
}

// socket is a net.PacketConn on an internet.
type socket struct {
	net  *internet
	addr netip.AddrPort
	in   chan mail
	done chan struct{}
	once sync.Once

	mu       sync.Mutex
	deadline chan struct{} // closed once reads are to fail
}

type mail struct {
	from netip.AddrPort
	b    []byte
}

// listen is a Config's Listen.
func (n *internet) listen(_ context.Context, _, addr string) (net.PacketConn, error) {
	ap := netip.MustParseAddrPort(addr)
	n.mu.Lock()
	defer n.mu.Unlock()
	if ap.Port() == 0 {
		ap = netip.AddrPortFrom(ap.Addr(), 50000)
	}
	if n.hosts[ap] != nil {
		return nil, errors.New("address in use")
	}
	s := &socket{net: n, addr: ap, in: make(chan mail, 100), done: make(chan struct{}), deadline: make(chan struct{})}
	n.hosts[ap] = s
	return s, nil
}

func (s *socket) ReadFrom(b []byte) (int, net.Addr, error) {
	s.mu.Lock()
	deadline := s.deadline
	s.mu.Unlock()
	select {
	case <-deadline:
		return 0, nil, os.ErrDeadlineExceeded
	case m := <-s.in:
		return copy(b, m.b), net.UDPAddrFromAddrPort(m.from), nil
	case <-s.done:
		return 0, nil, net.ErrClosed
	}
}

func (s *socket) WriteTo(b []byte, to net.Addr) (int, error) {
	dst := addrPort(to)
	m := mail{s.addr, slices.Clone(b)}
	s.net.mu.Lock()
	s.net.sent[s.addr.String()]++
	peer, tap := s.net.hosts[dst], s.net.tap
	s.net.mu.Unlock()
	if peer != nil && (tap == nil || tap(s.addr, dst, m.b)) {
		time.AfterFunc(10*time.Millisecond, func() {
			select {
			case peer.in <- m:
			default:
			}
		})
	}
	return len(b), nil
}

func (s *socket) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.IsZero() {
		s.deadline = make(chan struct{})
	} else {
		close(s.deadline)
	}
	return nil
}

func (s *socket) Close() error {
	s.once.Do(func() {
		close(s.done)
		s.net.mu.Lock()
		delete(s.net.hosts, s.addr)
		s.net.mu.Unlock()
	})
	return nil
}

func (s *socket) LocalAddr() net.Addr              { return net.UDPAddrFromAddrPort(s.addr) }
func (s *socket) SetDeadline(time.Time) error      { return nil }
func (s *socket) SetWriteDeadline(time.Time) error { return nil }

// racing is set under the race detector, which crashes now and then in a bubble whose
// timers start goroutines (golang/go#78156). `make race` runs this package without it too.
var racing bool

// bubble runs f in virtual time, and then lets the library end what it has under way.
func bubble(t *testing.T, f func(t *testing.T, n *internet)) {
	if racing {
		t.Skip("the race detector crashes in bubbles with the library's timers")
	}
	synctest.Test(t, func(t *testing.T) {
		f(t, newInternet())
		time.Sleep(time.Minute)
	})
}

// host is the address of node i, in a network of its own.
func host(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{byte(20 + i), 1, 1, 1}), 6881)
}

// join starts node i, which knows node 0.
func (n *internet) join(t *testing.T, i int, change func(*Config)) *DHT {
	t.Helper()
	cfg := Config{Addrs: []netip.AddrPort{host(i)}, Listen: n.listen, Bootstrap: []string{host(0).String()}, Lookup: literal}
	if change != nil {
		change(&cfg)
	}
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

// literal looks up nothing but addresses.
func literal(_ context.Context, host string) ([]netip.Addr, error) {
	a, err := netip.ParseAddr(host)
	return []netip.Addr{a}, err
}

// swarmOf starts nodes that get to know each other.
func (n *internet) swarmOf(t *testing.T, count int) (list []*DHT) {
	for i := range count {
		list = append(list, n.join(t, i, nil))
	}
	time.Sleep(2 * time.Minute)
	return list
}

func closeAll(list []*DHT) {
	for _, d := range list {
		d.Close()
	}
}

var hash = [20]byte{1, 2, 3}

func at(port uint16) func() uint16 { return func() uint16 { return port } }

func nobody(netip.Addr, []netip.AddrPort) {}

// collect returns what a search finds until the time is over.
func collect(d *DHT, port uint16, for_ time.Duration) (found []netip.AddrPort) {
	s := d.Search(hash, at(port), func(_ netip.Addr, addrs []netip.AddrPort) { found = append(found, addrs...) })
	time.Sleep(for_)
	s.Close()
	return found
}

func TestFindsWhoAnnounces(t *testing.T) {
	bubble(t, func(t *testing.T, n *internet) {
		all := n.swarmOf(t, 12)
		defer closeAll(all)
		for i, d := range all {
			if st := d.Status(); st.Nodes < 2 || st.Port != 6881 {
				t.Errorf("node %d: %+v", i, st)
			}
		}
		seed := all[5].Search(hash, at(7000), nobody)
		defer seed.Close()
		time.Sleep(10 * time.Second)
		found := collect(all[9], 0, 10*time.Second)
		if want := netip.AddrPortFrom(host(5).Addr(), 7000); !slices.Contains(found, want) {
			t.Errorf("found %v, want %v", found, want)
		}
	})
}

// Whoever has announced himself finds himself next: that is not yet a swarm, and a peer
// who comes later is found soon.
func TestFindsLatePeerThoughItFoundItself(t *testing.T) {
	bubble(t, func(t *testing.T, n *internet) {
		all := n.swarmOf(t, 12)
		defer closeAll(all)
		n.mu.Lock()
		n.tap = func(_, to netip.AddrPort, b []byte) bool { // nobody tells it directly
			return to != host(9) || !bytes.Contains(b, []byte("announce_peer"))
		}
		n.mu.Unlock()
		var mu sync.Mutex
		found := map[netip.AddrPort]bool{}
		s := all[9].Search(hash, at(7001), func(_ netip.Addr, addrs []netip.AddrPort) {
			mu.Lock()
			defer mu.Unlock()
			for _, a := range addrs {
				found[a] = true
			}
		})
		defer s.Close()
		has := func(i int, port uint16) bool {
			mu.Lock()
			defer mu.Unlock()
			return found[netip.AddrPortFrom(host(i).Addr(), port)]
		}
		time.Sleep(20 * time.Second)
		if !has(9, 7001) {
			t.Error("did not find itself")
		}
		late := all[5].Search(hash, at(7000), nobody)
		defer late.Close()
		time.Sleep(time.Minute)
		if !has(5, 7000) {
			t.Error("did not find who came late")
		}
	})
}

// Who asks gets nobody who only looked.
func TestWithoutPortNothingIsAnnounced(t *testing.T) {
	bubble(t, func(t *testing.T, n *internet) {
		all := n.swarmOf(t, 6)
		defer closeAll(all)
		collect(all[2], 0, 10*time.Second)
		if found := collect(all[3], 0, 10*time.Second); len(found) > 0 {
			t.Errorf("found %v", found)
		}
	})
}

func TestBothFamilies(t *testing.T) {
	bubble(t, func(t *testing.T, n *internet) {
		six := func(i int) netip.AddrPort {
			return netip.AddrPortFrom(netip.MustParseAddr(fmt.Sprintf("2001:db8:%d::1", i)), 6881)
		}
		var all []*DHT
		for i := range 4 {
			all = append(all, n.join(t, i, func(c *Config) {
				c.Addrs = []netip.AddrPort{host(i), six(i)}
				c.Bootstrap = append(c.Bootstrap, six(0).String())
			}))
		}
		defer closeAll(all)
		time.Sleep(time.Minute)
		s := all[1].Search(hash, at(7000), nobody)
		defer s.Close()
		time.Sleep(10 * time.Second)
		found := collect(all[3], 0, 10*time.Second)
		for _, want := range []netip.Addr{host(1).Addr(), six(1).Addr()} {
			if !slices.Contains(found, netip.AddrPortFrom(want, 7000)) {
				t.Errorf("%v is not among %v", want, found)
			}
		}
		if p := all[1].Port(six(2).Addr()); p != 6881 {
			t.Errorf("port %d for IPv6", p)
		}
	})
}

// What was learnt is of use in the next run, even when the bootstrap nodes are gone.
func TestSavedTable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "dht")
	bubble(t, func(t *testing.T, n *internet) {
		all := n.swarmOf(t, 8)
		defer closeAll(all)
		saves := n.join(t, 20, func(c *Config) { c.State = file })
		time.Sleep(time.Minute)
		id := saves.nodes[0].table().id
		saves.Close()
		again := n.join(t, 20, func(c *Config) { c.State, c.Bootstrap = file, nil })
		defer again.Close()
		if again.nodes[0].table().id != id {
			t.Error("the id is another")
		}
		s := all[4].Search(hash, at(7000), nobody)
		defer s.Close()
		time.Sleep(10 * time.Second)
		if found := collect(again, 0, 10*time.Second); len(found) == 0 {
			t.Error("nobody was found")
		}
	})
}

// When all that was saved is gone, the bootstrap nodes help again.
func TestSavedTableIsStale(t *testing.T) {
	file := filepath.Join(t.TempDir(), "dht")
	bubble(t, func(t *testing.T, n *internet) {
		gone := n.join(t, 30, nil)
		saves := n.join(t, 20, func(c *Config) { c.State, c.Bootstrap = file, []string{host(30).String()} })
		time.Sleep(time.Minute)
		saves.Close()
		gone.Close()
		all := n.swarmOf(t, 6)
		defer closeAll(all)
		again := n.join(t, 20, func(c *Config) { c.State = file })
		defer again.Close()
		s := all[4].Search(hash, at(7000), nobody)
		defer s.Close()
		time.Sleep(2 * time.Minute)
		if found := collect(again, 0, time.Minute); len(found) == 0 {
			t.Errorf("nobody was found: %+v", again.Status())
		}
	})
}

// BEP 5, port message: a node that knows nobody gets in by a peer.
func TestAddNode(t *testing.T) {
	bubble(t, func(t *testing.T, n *internet) {
		all := n.swarmOf(t, 6)
		defer closeAll(all)
		s := all[4].Search(hash, at(7000), nobody)
		defer s.Close()
		alone := n.join(t, 20, func(c *Config) { c.Bootstrap = nil })
		defer alone.Close()
		if found := collect(alone, 0, time.Minute); len(found) > 0 {
			t.Fatalf("found %v without knowing anybody", found)
		}
		for range 2 * maxPings {
			alone.AddNode(host(3)) // must not block
		}
		found := collect(alone, 0, time.Minute)
		for try := 0; len(found) == 0 && try < 3; try++ { // what it sent may be what a limit dropped
			alone.AddNode(host(3))
			found = collect(alone, 0, time.Minute)
		}
		if len(found) == 0 {
			t.Error("nobody was found")
		}
	})
}

// Of two nodes that know only each other both find the other's peer.
func TestTwoNodes(t *testing.T) {
	bubble(t, func(t *testing.T, n *internet) {
		first := n.join(t, 0, func(c *Config) { c.Bootstrap = nil })
		defer first.Close()
		var byFirst []netip.AddrPort
		s := first.Search(hash, at(7000), func(_ netip.Addr, addrs []netip.AddrPort) { byFirst = append(byFirst, addrs...) })
		time.Sleep(time.Minute)
		second := n.join(t, 1, nil)
		defer second.Close()
		collect(second, 7001, 10*time.Second)
		s.Close()
		if want := netip.AddrPortFrom(host(1).Addr(), 7001); !slices.Contains(byFirst, want) {
			t.Errorf("found %v, want %v", byFirst, want)
		}
	})
}

// BEP 42: once others say what our address is, the id fits it.
func TestIDFitsAddress(t *testing.T) {
	bubble(t, func(t *testing.T, n *internet) {
		all := n.swarmOf(t, 8)
		defer closeAll(all)
		d := n.join(t, 20, nil)
		defer d.Close()
		before := d.nodes[0].table().id
		for i := range all { // each of which has one vote
			d.AddNode(host(i))
		}
		time.Sleep(5 * time.Minute)
		st, id := d.Status(), d.nodes[0].table().id
		if !slices.Equal(st.External, []string{host(20).Addr().String()}) || id == before || st.Nodes < 3 {
			t.Errorf("%+v, id before %v and now %v", st, before, id)
		}
		if !fits(id, host(20).Addr()) {
			t.Errorf("%v does not fit %v", id, host(20))
		}
		s := all[4].Search(hash, at(7000), nobody)
		defer s.Close()
		time.Sleep(10 * time.Second)
		if found := collect(d, 0, 10*time.Second); len(found) == 0 {
			t.Error("nobody was found with the new id")
		}
	})
}

// BEP 43: a node that strangers do not get through to says so and answers nobody.
func TestReadOnly(t *testing.T) {
	bubble(t, func(t *testing.T, n *internet) {
		all := n.swarmOf(t, 6)
		defer closeAll(all)
		behind, since := host(20), time.Now()
		asked := map[netip.AddrPort]time.Time{} // whom it lets in for a time, as a NAT does
		var mu sync.Mutex
		var announced, answers int
		n.mu.Lock()
		n.tap = func(from, to netip.AddrPort, b []byte) bool {
			mu.Lock()
			defer mu.Unlock()
			late := time.Since(since) > probation+40*time.Minute // its trial begins again with a new id
			if from == behind {
				asked[to] = time.Now()
				if m, _ := clean(b); late && m.query && slices.Contains(bytesOf(b), "ro") {
					announced++
				} else if late && !m.query {
					answers++
				}
			}
			return to != behind || time.Since(asked[from]) < 3*time.Minute
		}
		n.mu.Unlock()
		d := n.join(t, 20, func(c *Config) { c.many = 3 })
		defer d.Close()
		time.Sleep(probation + time.Hour)
		if st := d.Status(); !st.ReadOnly {
			t.Errorf("%+v", st)
		}
		mu.Lock()
		defer mu.Unlock()
		if announced == 0 || answers > 0 {
			t.Errorf("%d queries say that it is read-only, %d answers were given", announced, answers)
		}
		if all[0].Status().ReadOnly {
			t.Error("who knows few is read-only")
		}
	})
}

// BEP 27: from the end of a search on, as when a torrent turns out to be private, no node
// is asked for it or told of us.
func TestClosedSearchSendsNothing(t *testing.T) {
	bubble(t, func(t *testing.T, n *internet) {
		all := n.swarmOf(t, 12)
		defer closeAll(all)
		var closed atomic.Bool
		var before, after atomic.Int32
		n.mu.Lock()
		n.tap = func(from, _ netip.AddrPort, b []byte) bool {
			if _, ok := torrentOf(b); ok && from == host(9) && closed.Load() {
				after.Add(1)
			} else if ok && from == host(9) {
				before.Add(1)
			}
			return true
		}
		n.mu.Unlock()
		s := all[9].Search(hash, at(7000), nobody)
		time.Sleep(30 * time.Millisecond) // it has answers of some nodes, but not of all
		s.Close()
		closed.Store(true)
		time.Sleep(time.Minute)
		if before.Load() == 0 || after.Load() > 0 {
			t.Errorf("%d queries were sent during the search, %d after it", before.Load(), after.Load())
		}
	})
}

// A library that was closed while it looked at a message does not read again.
func TestCloseWithoutReader(t *testing.T) {
	bubble(t, func(t *testing.T, n *internet) {
		d := n.join(t, 0, nil)
		node := d.nodes[0]
		node.library().Close()
		synctest.Wait() // it has read for the last time
		_ = node.sock.SetReadDeadline(time.Time{})
		node.mu.Lock()
		node.gate = newGate(node.sock, d.searched, time.Now())
		node.mu.Unlock()
		began := time.Now()
		d.Close()
		if took := time.Since(began); took > 0 {
			t.Errorf("took %v", took)
		}
	})
}

// Whatever hangs, here the look-up of a name within the library, the end does not wait
// for it.
func TestCloseIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T, n *internet) {
		hang := make(chan struct{})
		defer close(hang)
		d := n.join(t, 1, func(c *Config) {
			c.Lookup = func(context.Context, string) ([]netip.Addr, error) { <-hang; return nil, nil }
		})
		s := d.Search(hash, at(7000), nobody)
		time.Sleep(5 * time.Minute) // each minute somebody else is to look it up
		began := time.Now()
		s.Close()
		d.Close()
		if took := time.Since(began); took > closeTimeout {
			t.Errorf("took %v", took)
		}
	})
}

func TestNothingToListenOn(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("no error")
	}
}

// A port that is taken is no reason to be without.
func TestPortTaken(t *testing.T) {
	bubble(t, func(t *testing.T, n *internet) {
		first := n.join(t, 1, nil)
		defer first.Close()
		second := n.join(t, 1, nil)
		defer second.Close()
		if p := second.Status().Port; p != 50000 {
			t.Errorf("port %d", p)
		}
	})
}
