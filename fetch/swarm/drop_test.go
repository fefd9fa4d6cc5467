package swarm

import (
	"net/netip"
	"testing"
)

// A Disconnect takes effect a moment later, and what the peer says until then
// must not bring it back to life.
func TestDroppedPeerIsOutAtOnce(t *testing.T) {
	r := newRig(t, 4).seed(1).fill()
	bad := wholePiece(r, 1)
	r.do(PieceFailed{Piece: bad, Sums: []uint64{1, 1}}).says("disconnect 1")
	r.do(PeerChokes{1, true}, PeerChokes{1, false}, PeerAllows{1, 2}, PeerHas{1, 0}, PeerHasSet{1, setOf(4, 1, 2)},
		PeerExtended{Peer: 1, ReqQ: 5}, PeerInterested{1, true}, PeerRequests{1, req(0, 0)}, PeerCancels{1, req(0, 0)}).
		do().want()
	if r.pick.Availability(0) != 0 {
		t.Error("a banned peer counts for availability")
	}
	r.wait(dropAfter).silentOn("request")
	r.do(PeerGone{Peer: 1}).want()
}

// A peer that is met twice at the same moment, once dialled by each side, must
// lose the same one of the two connections on both sides.
func TestSimultaneousDialsLeaveOneConnection(t *testing.T) {
	kept := func(us, them PeerID, firstOutgoing bool) (outgoing bool) {
		r := newRig(t, 4)
		r.cfg.PeerID = remoteID(us)
		r.do(PeersFound{Addrs: []netip.AddrPort{addr(them)}})
		inbound := netip.AddrPortFrom(addr(them).Addr(), 50000)
		out := PeerConnected{Peer: 1, Addr: addr(them), Outgoing: true, Remote: remoteID(them)}
		in := PeerConnected{Peer: 2, Addr: inbound, Remote: remoteID(them)}
		if firstOutgoing {
			r.do(out, in)
		} else {
			r.do(in, out)
		}
		if len(r.Peers()) != 1 {
			t.Fatalf("%d connections kept", len(r.Peers()))
		}
		return r.Peers()[0].Outgoing
	}
	for k := range 4 {
		a, b := kept(1, 2, k&1 == 0), kept(2, 1, k&2 == 0)
		if a == b {
			t.Errorf("case %d: both sides keep outgoing=%t, and close each other's", k, a)
		}
	}
}

// The second connection of one kind is the one to go: the first works.
func TestTwinOfSameDirectionIsDropped(t *testing.T) {
	r := newRig(t, 4)
	in := func(id PeerID, port uint16) Event {
		return PeerConnected{Peer: id, Addr: netip.AddrPortFrom(addr(1).Addr(), port), Remote: remoteID(1)}
	}
	r.do(in(1, 50000), in(2, 50001)).want("disconnect 2: connected already")
}

// A ban holds also when no more addresses can be remembered.
func TestBanHoldsWithFullBook(t *testing.T) {
	r := newRig(t, 4)
	var known []netip.AddrPort
	for k := range maxKnown + 10 {
		known = append(known, netip.AddrPortFrom(netip.AddrFrom4([4]byte{11, 0, byte(k >> 8), byte(k)}), 1))
	}
	r.do(PeersFound{Addrs: known})
	if r.Known() != maxKnown {
		t.Fatalf("%d addresses known", r.Known())
	}
	r.seed(1).fill()
	bad := wholePiece(r, 1)
	r.take()
	r.do(PieceFailed{Piece: bad, Sums: []uint64{1, 1}}, PeerGone{Peer: 1})
	r.take()
	r.do(PeerConnected{Peer: 2, Addr: addr(1), Remote: remoteID(2)}).want("disconnect 2: banned")
	if r.Stats().Bans != 1 {
		t.Errorf("%d bans", r.Stats().Bans)
	}
}

// wholePiece has peer id deliver what it owes until a piece is all here, and
// returns the piece.
func wholePiece(r *rig, id PeerID) int {
	r.t.Helper()
	for range 100 {
		for _, c := range r.said {
			if v, ok := c.(Verify); ok {
				return v.Piece
			}
		}
		reqs := r.requests()[id]
		r.said = nil
		if len(reqs) == 0 {
			r.wait(tickEvery)
		}
		for _, q := range reqs {
			r.do(BlockReceived{id, q})
		}
	}
	r.t.Fatalf("peer %d was asked for no whole piece", id)
	return -1
}
