package swarm

import (
	"maps"
	"net/netip"
	"testing"
)

func addrsFrom(first, n int) (list []netip.AddrPort) {
	for i := range n {
		list = append(list, addr(PeerID(first+i)))
	}
	return list
}

// Peers may say what they like; there stays room for what others know.
func TestAddressesBySource(t *testing.T) {
	a := newAddresses()
	for _, p := range addrsFrom(1, 2*maxFromPEX) {
		a.add(p, FromPEX, 7)
	}
	if len(a.book) != maxFromPEX {
		t.Errorf("%d addresses by peer exchange", len(a.book))
	}
	for _, p := range addrsFrom(1, 2*maxKnown) {
		a.add(p, FromTracker, 0)
	}
	want := map[string]int{FromPEX: maxFromPEX, FromTracker: maxKnown - maxFromPEX}
	if !maps.Equal(a.known, want) || len(a.book) != maxKnown || len(a.queue) != maxKnown {
		t.Errorf("%v known, %d in the book, %d in the queue", a.known, len(a.book), len(a.queue))
	}
}

// BEP 11: a peer takes back what it named itself, and not what others did or what we
// have tried.
func TestTakeBack(t *testing.T) {
	a := newAddresses()
	a.add(addr(1), FromPEX, 7)
	a.add(addr(2), FromPEX, 8)
	a.add(addr(3), FromTracker, 0)
	a.add(addr(4), FromPEX, 7)
	a.book[addr(4)].busy = true
	a.add(addr(5), FromPEX, 7)
	a.left(epoch, addr(5), false)
	for _, p := range addrsFrom(1, 6) {
		a.takeBack(p, 7)
	}
	if a.book[addr(1)] != nil || len(a.book) != 4 || len(a.queue) != 4 || a.known[FromPEX] != 3 {
		t.Errorf("%d left, %v", len(a.book), a.known)
	}
}

func TestWhereAPeerComesFrom(t *testing.T) {
	r := newRig(t, 4)
	r.do(PeersFound{Addrs: []netip.AddrPort{addr(1)}, Source: FromDHT}, PeersFound{Addrs: []netip.AddrPort{addr(1)}, Source: FromPEX, By: 9})
	r.do(PeerConnected{Peer: 1, Addr: addr(1), Outgoing: true, Remote: remoteID(1)},
		PeerConnected{Peer: 2, Addr: addr(2), Remote: remoteID(2)}, PeerExtended{Peer: 2, Port: 7000},
		PeerConnected{Peer: 3, Addr: addr(3), Remote: remoteID(3)})
	views := r.Peers()
	for i, want := range []struct {
		source string
		listen netip.AddrPort
	}{{FromDHT, addr(1)}, {Incoming, netip.AddrPortFrom(addr(2).Addr(), 7000)}, {Incoming, netip.AddrPort{}}} {
		if v := views[i]; v.Source != want.source || v.Listen != want.listen {
			t.Errorf("peer %d is from %q and listens on %v, want %+v", i+1, v.Source, v.Listen, want)
		}
	}
	if s := r.Sources(); !maps.Equal(s, map[string]int{FromDHT: 1}) {
		t.Errorf("sources: %v", s)
	}
}
