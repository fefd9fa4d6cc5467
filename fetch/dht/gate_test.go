package dht

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anacrolix/dht/v2/krpc"
	peer_store "github.com/anacrolix/dht/v2/peer-store"
)

var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func addr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

var ping, answer = []byte(packets["ping"].in), []byte(packets["answer"].in)

// quiet is a socket that only takes what is written.
type quiet struct{ net.PacketConn }

func (quiet) WriteTo(b []byte, _ net.Addr) (int, error) { return len(b), nil }

// HAZARDS of an open port: 5 queries a second of an address, and so many in all. Answers
// that we asked for are as many more.
func TestGateLimits(t *testing.T) {
	g := newGate(quiet{}, nil, epoch)
	passed := func(now time.Time, from netip.AddrPort, times int) (n int) {
		for range times {
			if _, ok := g.admit(now, ping, from); ok {
				n++
			}
		}
		return n
	}
	if n := passed(epoch, addr("20.0.0.1:1"), 100) + passed(epoch, addr("20.0.0.1:2"), 100); n != maxEach {
		t.Errorf("%d of one address were let through", n)
	}
	asked := addr("20.0.0.1:1")
	if _, err := g.WriteTo(ping, net.UDPAddrFromAddrPort(asked)); err != nil {
		t.Fatal(err)
	}
	if _, ok := g.admit(epoch, answer, asked); !ok {
		t.Error("beside many queries an answer was held back")
	}
	if n := passed(epoch.Add(time.Second), addr("20.0.0.1:1"), 1); n != 1 {
		t.Error("not let through in the next second")
	}
	later, all := epoch.Add(time.Hour), 0
	for i := range 2 * maxAccounts {
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{30, 0, byte(i >> 8), byte(i)}), 1)
		all += passed(later, from, 1)
	}
	if all != maxQueries || len(g.each) > maxAccounts {
		t.Errorf("%d queries in a second were let through, %d addresses are remembered", all, len(g.each))
	}
}

func TestGateWantsNoUnaskedAnswers(t *testing.T) {
	g := newGate(quiet{}, nil, time.Now())
	if _, ok := g.admit(time.Now(), answer, addr("20.0.0.1:1")); ok {
		t.Error("an answer to nothing was let through")
	}
	if _, err := g.WriteTo(ping, net.UDPAddrFromAddrPort(addr("20.0.0.1:1"))); err != nil {
		t.Fatal(err)
	}
	if _, ok := g.admit(time.Now(), answer, addr("20.0.0.1:1")); !ok {
		t.Error("an answer was held back")
	}
	for i := range 5 * maxAccounts {
		to := netip.AddrPortFrom(netip.AddrFrom4([4]byte{30, 0, byte(i >> 8), byte(i)}), 1)
		g.WriteTo(ping, net.UDPAddrFromAddrPort(to))
	}
	if n := len(g.asked[0]) + len(g.asked[1]); n > 2*maxAccounts {
		t.Errorf("%d addresses are remembered", n)
	}
}

// failing is a socket whose network is down.
type failing struct {
	quiet
	reads chan struct{}
}

func (f failing) ReadFrom([]byte) (int, net.Addr, error) {
	f.reads <- struct{}{}
	return 0, nil, &net.OpError{Op: "read", Err: os.NewSyscallError("recvfrom", fmt.Errorf("network is down"))}
}
func (failing) SetReadDeadline(time.Time) error { return nil }

// The library panics when its socket fails.
func TestGateHidesErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reads := make(chan struct{}, 1000)
		g := newGate(failing{reads: reads}, nil, time.Now())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			if _, _, err := g.ReadFrom(make([]byte, 100)); err != net.ErrClosed {
				t.Errorf("%v", err)
			}
		}()
		time.Sleep(time.Second)
		g.Close()
		<-ended
		if n := len(reads); n < 10 || n > 200 {
			t.Errorf("%d reads in a second", n)
		}
	})
}

func TestReach(t *testing.T) {
	r := reach{since: epoch}
	for _, c := range []struct {
		after time.Duration
		ro    bool
	}{{0, false}, {probation - 1, false}, {probation, true}, {probation + retrial - 1, true}, {probation + retrial, false}, {2*probation + retrial, true}} {
		if ro := r.readOnly(epoch.Add(c.after)); ro != c.ro {
			t.Errorf("after %v: %v", c.after, ro)
		}
	}
	r.heard(epoch.Add(4 * time.Hour))
	if r.readOnly(epoch.Add(4*time.Hour + 1)) {
		t.Error("read-only although a stranger asked")
	}
	few := reach{since: epoch, few: true}
	if few.readOnly(epoch.Add(24 * time.Hour)) {
		t.Error("read-only without knowing anybody who could ask")
	}
}

func TestVotes(t *testing.T) {
	ours, other := netip.MustParseAddr("80.1.2.3"), netip.MustParseAddr("80.9.9.9")
	voter := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{20, byte(i), 0, 1}) }
	var v votes
	for i := range 100 { // of one network
		v.add(netip.AddrFrom4([4]byte{20, 1, byte(i), 1}), other)
	}
	v.add(voter(1), netip.MustParseAddr("192.168.1.1"))
	v.add(voter(1), netip.Addr{})
	if v.winner.IsValid() {
		t.Fatalf("one network chose %v", v.winner)
	}
	v = votes{}
	for i := range 3 {
		v.add(voter(100+i), other)
	}
	for i := range votesToWin + 2 {
		v.add(voter(i), ours)
	}
	if v.winner != ours {
		t.Errorf("%v won", v.winner)
	}
	v = votes{}
	for i := range 200 {
		v.add(voter(i), netip.AddrFrom4([4]byte{80, 0, 0, byte(i % 7)}))
	}
	if v.winner.IsValid() || len(v.by) > maxVotes {
		t.Errorf("%v won, %d votes are kept", v.winner, len(v.by))
	}
}

func TestStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, h := newStore(func([20]byte, netip.AddrPort) {}), peer_store.InfoHash{1}
		for i := range 3 * storePeers {
			s.AddPeer(h, nodeAddr(net.IPv4(20, 0, byte(i>>8), byte(i)), 1+i))
		}
		s.AddPeer(h, nodeAddr(net.IPv4(20, 0, 0, 1), 0))
		s.AddPeer(h, nodeAddr(net.IPv4(20, 0, 0, 1), -1))
		got := s.GetPeers(h)
		if len(got) != storeAnswer || got[0].Port != 3*storePeers || len(s.hashes[h]) != storePeers {
			t.Errorf("%d peers, the first %v; %d are kept", len(got), got[0], len(s.hashes[h]))
		}
		for i := range 2 * storeHashes {
			s.AddPeer(peer_store.InfoHash{2, byte(i >> 8), byte(i)}, nodeAddr(net.IPv4(20, 0, 0, 1), 1))
		}
		if len(s.hashes) != storeHashes {
			t.Errorf("%d torrents are kept", len(s.hashes))
		}
		time.Sleep(storeFor + time.Second)
		if n := len(s.GetPeers(h)); n != 0 {
			t.Errorf("%d peers are told too late", n)
		}
		s.AddPeer(peer_store.InfoHash{3}, nodeAddr(net.IPv4(20, 0, 0, 1), 1))
		if len(s.hashes) != 1 {
			t.Errorf("%d torrents are kept, want the new one", len(s.hashes))
		}
	})
}

func TestState(t *testing.T) {
	s := state{
		v4: table{krpc.ID{1}, []krpc.NodeInfo{{ID: krpc.ID{2}, Addr: nodeAddr(net.IPv4(1, 2, 3, 4), 5)}}},
		v6: table{krpc.ID{3}, []krpc.NodeInfo{{ID: krpc.ID{4}, Addr: nodeAddr(net.ParseIP("2001:db8::1"), 6)}}},
	}
	got, err := parseState(s.encode())
	if err != nil || !reflect.DeepEqual(got, s) {
		t.Errorf("%+v, %v; want %+v", got, err, s)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "dht")
	if got, err := loadState(path); err != nil || got.v4.nodes != nil {
		t.Errorf("nothing saved: %+v, %v", got, err)
	}
	if err := s.save(path); err != nil {
		t.Fatal(err)
	}
	if got, err := loadState(path); err != nil || !reflect.DeepEqual(got, s) {
		t.Errorf("loaded %+v, %v", got, err)
	}
	if files, _ := os.ReadDir(dir); len(files) != 1 {
		t.Errorf("files: %v", files)
	}
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := loadState(path); err == nil {
		t.Error("a large file of zeros was taken")
	}
}

func FuzzState(f *testing.F) {
	f.Add(state{}.encode())
	f.Add([]byte("d2:id20:aaaaaaaaaaaaaaaaaaaa5:nodes26:aaaaaaaaaaaaaaaaaaaa\x01\x02\x03\x04\x00\x05e"))
	f.Add([]byte("d2:idi5e5:nodes3:abce"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseState(b)
		if err != nil {
			return
		}
		again, err := parseState(s.encode())
		if err != nil || !reflect.DeepEqual(again, s) {
			t.Errorf("%+v comes back as %+v, %v", s, again, err)
		}
	})
}
