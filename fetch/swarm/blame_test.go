package swarm

import (
	"net/netip"
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/fetch/picker"
)

var (
	badSums  = []uint64{10, 66} // of a piece whose block 1 is bad
	goodSums = []uint64{10, 11}
)

// suspect has peer 1 deliver block 0 of piece 0 and peer 2 a bad block 1. More
// peers join before that is known.
func suspect(t *testing.T, more ...PeerID) *rig {
	r := newRig(t, 1000).seed(1, 2).urgent(0)
	r.says("request 1 0+0:16384")
	r.do(BlockReceived{1, req(0, 0)}, BlockReceived{2, req(0, 1)}).says("verify 0")
	r.seed(more...)
	r.take()
	return r.do(PieceFailed{Piece: 0, Sums: badSums})
}

// sole returns the only peer that was asked for something.
func (r *rig) sole() PeerID {
	r.t.Helper()
	m := r.requests()
	r.said = nil
	if len(m) != 1 {
		r.t.Fatalf("%d peers were asked", len(m))
	}
	for id := range m {
		return id
	}
	return 0
}

// again has peer id deliver piece 0 alone.
func (r *rig) again(id PeerID) *rig {
	r.t.Helper()
	return r.do(BlockReceived{id, req(0, 0)}, BlockReceived{id, req(0, 1)}).says("verify 0")
}

func TestSingleSourceIsBannedAtOnce(t *testing.T) {
	r := newRig(t, 2).seed(1).urgent(0)
	r.do(BlockReceived{1, req(0, 0)}, BlockReceived{1, req(0, 1)}).take()
	r.do(PieceFailed{Piece: 0, Sums: badSums}).want(
		"banned 10.0.0.1:6881: sent a bad piece 0",
		"disconnect 1: sent a bad piece 0",
	)
	if st := r.Stats(); st.HashFailures != 1 || st.Bans != 1 || st.Downloaded != 0 || st.Wasted != 2*blockSize {
		t.Errorf("%+v", st)
	}
	r.do(PeerGone{Peer: 1}).do(PeersFound{Addrs: []netip.AddrPort{addr(1)}}).wait(time.Hour).silentOn("dial")
}

// With the same bytes from a third, the blocks of the bad piece tell who lied.
func TestOnlyThePoisonerOfAMixedPieceIsBanned(t *testing.T) {
	r := suspect(t, 3)
	third := r.sole()
	if third != 3 {
		t.Fatalf("peer %d is asked, which is a suspect", third)
	}
	r.again(3)
	r.do(PieceVerified{Piece: 0, Sums: goodSums}).says("banned 10.0.0.2:6881: sent a bad block of piece 0")
	if r.Stats().Bans != 1 || r.peers[1] == nil || r.peers[3] == nil {
		t.Errorf("%d bans", r.Stats().Bans)
	}
}

// Without a third a suspect is asked alone: the honest one gives the proof, the
// poisoner gives itself away, and the proof against the other still counts.
func TestSuspectsAreToldApart(t *testing.T) {
	for _, poisoner := range []PeerID{1, 2} {
		r := newRig(t, 2).seed(1, 2).urgent(0)
		r.do(BlockReceived{1, req(0, 0)}, BlockReceived{2, req(0, 1)}).take()
		sums := []uint64{10, 66}
		if poisoner == 1 {
			sums = []uint64{66, 11}
		}
		r.do(PieceFailed{Piece: 0, Sums: sums})
		for first := r.sole(); ; {
			r.again(first)
			if first != poisoner {
				break
			}
			r.do(PieceFailed{Piece: 0, Sums: sums})
			first = r.sole()
		}
		r.do(PieceVerified{Piece: 0, Sums: goodSums})
		if r.Stats().Bans != 1 || r.peers[poisoner] != nil || r.peers[3-poisoner] == nil {
			t.Errorf("poisoner %d: %d bans, peers %v", poisoner, r.Stats().Bans, r.Peers())
		}
	}
}

// A poisoner is found out although it has left meanwhile.
func TestBlameReachesThoseWhoLeft(t *testing.T) {
	r := suspect(t, 3).do(PeerGone{Peer: 2})
	r.take()
	r.again(3).do(PieceVerified{Piece: 0, Sums: goodSums}).says("banned 10.0.0.2:6881")
}

// One that left and came back is not safe from what it did before.
func TestBlameReachesThoseWhoCameBack(t *testing.T) {
	r := suspect(t, 3).do(PeerGone{Peer: 2})
	r.do(PeerConnected{Peer: 7, Addr: addr(2), Fast: true, Remote: remoteID(2)}).take()
	r.again(3).do(PieceVerified{Piece: 0, Sums: goodSums}).says("disconnect 7: sent a bad block of piece 0")
}

func TestBanIsByAddressAndPort(t *testing.T) {
	r := newRig(t, 2).seed(1).urgent(0)
	r.do(BlockReceived{1, req(0, 0)}, BlockReceived{1, req(0, 1)}, PieceFailed{Piece: 0, Sums: badSums}).take()
	neighbour := netip.AddrPortFrom(addr(1).Addr(), 7000)
	r.do(PeerConnected{Peer: 2, Addr: neighbour, Remote: remoteID(2)}).silentOn("disconnect")
	r.do(PeerConnected{Peer: 3, Addr: addr(1), Remote: remoteID(3)}).want("disconnect 3: banned")
}

// poisoned lets a peer at port of host 1 come in and send a bad piece.
func (r *rig) poisoned(id PeerID, port uint16) {
	r.t.Helper()
	r.do(PeerConnected{Peer: id, Addr: netip.AddrPortFrom(addr(1).Addr(), port), Remote: remoteID(id)},
		PeerHasSet{id, setOf(2, 0, 1)}, PeerChokes{id, false})
	r.do(BlockReceived{id, req(0, 0)}, BlockReceived{id, req(0, 1)}, PieceFailed{Piece: 0, Sums: badSums})
	r.says("banned")
	r.do(PeerGone{Peer: id})
}

func TestHostThatReturnsThreeTimesIsRefused(t *testing.T) {
	r := newRig(t, 2).urgent(0)
	for k := range 3 {
		r.poisoned(PeerID(k+2), 40000+uint16(k))
	}
	back := netip.AddrPortFrom(addr(1).Addr(), 50000)
	r.do(PeerConnected{Peer: 9, Addr: back, Remote: remoteID(9)}).want("disconnect 9: banned")
}

// An honest peer may live behind the same address as poisoners, and is the only
// one: it must be reached, whether it was here before or not.
func TestHonestNeighbourOfPoisonersIsReached(t *testing.T) {
	r := newRig(t, 2).urgent(0)
	for k := range 3 {
		r.poisoned(PeerID(k+2), 40000+uint16(k))
	}
	r.do(PeersFound{Addrs: []netip.AddrPort{addr(1)}}).want("dial 10.0.0.1:6881")
	r.do(PeerConnected{Peer: 9, Addr: addr(1), Outgoing: true, Remote: remoteID(9)}).silentOn("disconnect")
	r.do(PeerHasSet{9, setOf(2, 0, 1)}, PeerChokes{9, false}).again(9)
	r.do(PieceVerified{Piece: 0, Sums: goodSums}, PeerGone{Peer: 9})
	in := netip.AddrPortFrom(addr(1).Addr(), 51000)
	r.take()
	r.do(PeerConnected{Peer: 10, Addr: in, Remote: remoteID(9)}).silentOn("disconnect")
}

// othersAsked reports whether anybody but peer id was asked for piece 0.
func (r *rig) othersAsked(id PeerID) bool {
	for o, reqs := range r.requests() {
		if o != id && reqs[0].Index == 0 {
			return true
		}
	}
	return false
}

// A piece that is kept for one peer alone must not wait for it for ever.
func TestReservationEnds(t *testing.T) {
	for name, refuse := range map[string]func(r *rig, id PeerID){
		"it rejects": func(r *rig, id PeerID) { r.do(BlockRejected{id, req(0, 0)}, BlockRejected{id, req(0, 1)}) },
		"it chokes and rejects": func(r *rig, id PeerID) {
			r.do(PeerChokes{id, true}, BlockRejected{id, req(0, 0)}, BlockRejected{id, req(0, 1)})
		},
		"it is silent": func(r *rig, id PeerID) { r.wait(snubAfter + 2*time.Second) },
		"it leaves":    func(r *rig, id PeerID) { r.do(PeerGone{Peer: id}) },
		"it answers other requests only": func(r *rig, id PeerID) {
			r.do(Wanted{picker.Demand{Urgent: []int{0}, Fill: true}})
			for k := 0; k < 60 && !r.othersAsked(id); k++ {
				all := r.requests()
				r.said = nil
				for _, id := range r.order {
					for _, q := range all[id] {
						if q.Index != 0 {
							r.do(BlockReceived{id, q})
						}
					}
				}
				r.wait(time.Second)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := suspect(t, 3)
			only := r.sole()
			refuse(r, only)
			if !r.othersAsked(only) {
				t.Fatalf("nobody but peer %d is asked", only)
			}
		})
	}
}

// One that did not deliver a piece kept for it is not trusted with it again.
func TestReservationIsTriedOnceOfEach(t *testing.T) {
	r := suspect(t, 3, 4, 5)
	seen := map[PeerID]bool{}
	for range 3 {
		only := r.sole()
		if seen[only] {
			t.Fatalf("peer %d is asked again", only)
		}
		seen[only] = true
		r.do(BlockRejected{only, req(0, 0)}, BlockRejected{only, req(0, 1)})
		for done := map[uint32]bool{}; len(done) < 2; {
			for id, reqs := range r.requests() {
				for _, q := range reqs {
					done[q.Begin] = true
					r.do(BlockReceived{id, q})
				}
			}
		}
		r.take()
		r.do(PieceFailed{Piece: 0, Sums: badSums})
	}
}

func TestFlooderIsBanned(t *testing.T) {
	r := newRig(t, 2).seed(1)
	r.do(PeerGone{Peer: 1, Broke: true, Flood: true}).says("banned 10.0.0.1:6881: sent a flood of messages")
	r.wait(time.Hour).silentOn("dial")
	r.do(PeerConnected{Peer: 2, Addr: addr(1), Remote: remoteID(1)}).says("disconnect 2: banned")
}
