package swarm

import (
	"net/netip"
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/fetch/picker"
	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// BEP 3: "Interest state must be kept up to date at all times".
func TestInterestFollowsWhatThePeerHas(t *testing.T) {
	r := newRig(t, 4, 0, 3)
	r.join(1, 0).silentOn("send 1 interested")
	r.do(PeerHas{1, 0}).want()
	r.do(PeerHas{1, 2}).want("send 1 interested")
	r.do(PeerHas{1, 1}).want()
	r.do(PieceVerified{Piece: 2}).take()
	r.wait(tickEvery).silentOn("send 1 not interested")
	r.do(PieceVerified{Piece: 1}).take()
	r.wait(tickEvery).says("send 1 not interested")
	r.do(PieceLost{1}).says("send 1 interested")
}

// BEP 6, Have All and Have None, stand in for a bitfield; without them, BEP 3:
// "Downloaders which don't have anything yet may skip the 'bitfield' message."
func TestGreeting(t *testing.T) {
	for _, tc := range []struct {
		name string
		have []int
		fast bool
		want []string
	}{
		{"nothing, fast", nil, true, []string{"send 1 have none"}},
		{"nothing, old", nil, false, nil},
		{"all, fast", []int{0, 1, 2}, true, []string{"send 1 have all"}},
		{"all, old", []int{0, 1, 2}, false, []string{"send 1 " + wire.Bitfield{Bits: []byte{0xe0}}.String()}},
		{"some, fast", []int{1}, true, []string{"send 1 " + wire.Bitfield{Bits: []byte{0x40}}.String()}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, 3, tc.have...)
			r.do(PeerConnected{Peer: 1, Addr: addr(1), Fast: tc.fast, Remote: remoteID(1)}).want(tc.want...)
		})
	}
}

func TestOurselvesAreNotAPeer(t *testing.T) {
	r := newRig(t, 1)
	r.do(PeersFound{Addrs: []netip.AddrPort{addr(1)}}).want("dial 10.0.0.1:6881")
	r.do(PeerConnected{Peer: 1, Addr: addr(1), Outgoing: true, Remote: remoteID(0)}).want("disconnect 1: it is ourselves")
	r.do(PeerGone{Peer: 1}).wait(time.Hour).silentOn("dial")

	r = newRig(t, 1)
	r.do(PeersFound{Addrs: []netip.AddrPort{addr(1)}}, DialFailed{Addr: addr(1), Self: true}).take()
	r.wait(time.Hour).silentOn("dial")
	if r.Stats().Bans != 0 {
		t.Error("to be ourselves counts as a ban")
	}
}

// A peer is asked for no more than it queues (BEP 10, reqq).
func TestReqQBoundsWhatIsOwed(t *testing.T) {
	r := newRig(t, 100).join(1).do(PeerExtended{Peer: 1, ReqQ: 1, Client: "small"}, PeerChokes{1, false}).fill()
	if n := len(r.requests()[1]); n != 1 {
		t.Errorf("%d requests at once of a peer that queues one", n)
	}
	if got := r.Peers()[0].Client; got != "small" {
		t.Errorf("client %q", got)
	}
}

// BEP 6, Allowed Fast: "if you ask for this piece, I'll give it to you even if
// you're choked".
func TestAllowedFastIsAskedWhileChoked(t *testing.T) {
	r := newRig(t, 4).join(1).fill()
	r.silentOn("request")
	r.do(PeerAllows{1, 2}).want("request 1 2+0:16384 2+16384:16384")
}

// BEP 6: "Choke no longer implicitly rejects all pending requests": what is owed
// stays owed, and what is rejected is asked again, elsewhere if need be.
func TestChokeAndReject(t *testing.T) {
	r := newRig(t, 1).seed(1).fill()
	r.says("request 1 0+0:16384 0+16384:16384")
	r.do(PeerChokes{1, true}).want()
	r.do(BlockReceived{1, req(0, 0)}).want()
	r.do(BlockRejected{1, req(0, 1)}).want()
	r.seed(2).says("request 2 0+16384:16384")
	r.do(BlockReceived{2, req(0, 1)}).want("verify 0")
	r.do(PieceVerified{Piece: 0}).says("completed")
	if st := r.Stats(); st.Downloaded != 2*blockSize || st.Wasted != 0 {
		t.Errorf("%+v", st)
	}
}

// A peer that owes and is silent is snubbed: what it owes is asked elsewhere. If
// it stays silent it goes.
func TestSnubAndDrop(t *testing.T) {
	r := newRig(t, 2).seed(1).fill()
	r.take()
	r.wait(snubAfter - time.Second).silentOn("withdraw")
	r.wait(time.Second).says("withdraw 1")
	if !r.peers[1].snubbed {
		t.Fatal("not snubbed")
	}
	r.seed(2)
	if len(r.requests()[2]) == 0 {
		t.Error("the other is asked for nothing")
	}
	r.silentOn("disconnect")
	r.wait(dropAfter + snubAfter).says("disconnect 1: delivers nothing")
}

func TestSnubEndsWithABlock(t *testing.T) {
	cfg := Config{Picker: picker.Config{PieceSize: func(int) int { return 64 * blockSize }}}
	r := rigOf(t, cfg, 2).seed(1).fill()
	r.wait(snubAfter)
	var last wire.Request
	for _, q := range r.requests()[1] {
		last = q // asked after the snub
	}
	r.do(BlockReceived{1, last})
	if r.peers[1].snubbed {
		t.Error("snubbed although it delivers")
	}
}

// A liar that owes nothing but answers to withdrawn requests, which it will
// never give, must not stay for ever.
func TestLiarOfOneBlockIsDropped(t *testing.T) {
	for _, fast := range []bool{true, false} {
		cfg := Config{Picker: picker.Config{PieceSize: func(int) int { return 100 }}}
		r := rigOf(t, cfg, 1)
		r.do(PeerConnected{Peer: 1, Addr: addr(1), Fast: fast, Remote: remoteID(1)}, PeerHasSet{1, setOf(1, 0)}, PeerChokes{1, false})
		r.urgent(0).wait(dropAfter + snubAfter + time.Second).says("disconnect 1: delivers nothing")
	}
}

// A second copy of a late block lies in memory of its own until it is adopted;
// the one that comes second is withdrawn.
func TestLateUrgentBlockIsAskedOfASecond(t *testing.T) {
	r := newRig(t, 1).seed(1).urgent(0)
	r.says("request 1 0+0:16384 0+16384:16384")
	r.seed(2).silentOn("request")
	r.wait(4 * time.Second).says("request 2 0+0:16384(second)")
	r.do(BlockReceived{2, req(0, 0)}).says("withdraw 1 0+0:16384")
	r.do(BlockWasted{Peer: 1, Req: req(0, 0)})
	r.do(BlockReceived{1, req(0, 1)})
	if st := r.Stats(); st.Wasted != blockSize || st.Downloaded != 2*blockSize {
		t.Errorf("%+v", st)
	}
}

// Endgame: when all that is missing is asked for, idle peers are asked for what
// is late.
func TestEndgame(t *testing.T) {
	r := newRig(t, 1).seed(1).fill()
	r.take()
	r.seed(2).wait(4 * time.Second).says("request 2 0+0:16384(second)")
	r.do(BlockReceived{2, req(0, 0)}).says("adopt 2 0+0:16384")
	r.do(BlockReceived{1, req(0, 1)}).says("verify 0")
}

// Without the fast extension nothing answers a withdrawn request, so a block that
// comes late says nothing of what is asked by now. To take it for an answer would
// have two peers write to one place.
func TestLateBlockIsNoAnswer(t *testing.T) {
	r := newRig(t, 1)
	r.do(PeerConnected{Peer: 1, Addr: addr(1), Remote: remoteID(1)}, PeerHasSet{1, setOf(1, 0)}, PeerChokes{1, false}).fill()
	r.says("request 1 0+0:16384")
	r.seed(2).take()
	r.do(BlockWasted{Peer: 1, Req: req(0, 0)}).silentOn("request")
	if owes := r.Peers()[0].Owes; owes != 2 {
		t.Errorf("it owes %d", owes)
	}
	r = newRig(t, 1).seed(1).fill()
	r.do(BlockWasted{Peer: 1, Req: req(0, 0), Unasked: true})
	if owes := r.Peers()[0].Owes; owes != 2 {
		t.Errorf("with the fast extension it owes %d", owes)
	}
}

func TestDroppedPieceIsFetchedAgain(t *testing.T) {
	r := newRig(t, 1).seed(1).fill()
	r.take()
	r.do(BlockReceived{1, req(0, 0)}, BlockReceived{1, req(0, 1)}).want("verify 0")
	r.do(PieceDropped{0}).want("request 1 0+0:16384 0+16384:16384")
	if r.Stats().HashFailures != 0 {
		t.Error("a good piece counts as bad")
	}
}

func TestCompletion(t *testing.T) {
	r := newRig(t, 2, 1).seed(1).join(2, 1).fill()
	r.take()
	r.do(BlockReceived{1, req(0, 0)}, BlockReceived{1, req(0, 1)}).take()
	r.do(PieceVerified{Piece: 0}).want("send 2 have 0", "completed", "upload-only true")
	r.wait(tickEvery).says("disconnect 1: neither wants anything")
	if r.peers[2] == nil {
		t.Error("a peer that lacks something was dropped")
	}
	r.do(PieceVerified{Piece: 0}).silentOn("completed")
	r.wait(time.Hour).silentOn("find-peers")
}

// With everything had and the seeds long dropped, a piece that is lost must find
// peers: they are dialled at once, and more are looked for.
func TestLostPieceRevivesDialling(t *testing.T) {
	r := newRig(t, 1)
	r.do(PeersFound{Addrs: []netip.AddrPort{addr(1)}}).want("dial 10.0.0.1:6881")
	r.do(PeerConnected{Peer: 1, Addr: addr(1), Outgoing: true, Fast: true, Remote: remoteID(1)}, PeerHasSet{1, setOf(1, 0)}, PeerChokes{1, false}).fill()
	r.do(BlockReceived{1, req(0, 0)}, BlockReceived{1, req(0, 1)}, PieceVerified{Piece: 0})
	r.wait(2 * tickEvery).says("disconnect 1: neither wants anything")
	r.do(PeerGone{Peer: 1}).wait(time.Hour).silentOn("dial")
	r.do(PieceLost{0}).want("upload-only false", "dial 10.0.0.1:6881", "find-peers")
}

func TestLookingForPeers(t *testing.T) {
	r := newRig(t, 2)
	r.wait(2 * time.Second).want("find-peers")
	r.wait(findEvery - 2*time.Second).want()
	r.wait(2 * time.Second).want("find-peers")
	for id := range PeerID(fewPeers) {
		r.join(id + 1)
	}
	r.take()
	r.wait(3 * findEvery).silentOn("find-peers")
}

func TestDialBackOff(t *testing.T) {
	r := newRig(t, 1).join(9)
	r.do(PeersFound{Addrs: []netip.AddrPort{addr(1)}}).says("dial")
	for k := range 12 {
		r.do(DialFailed{Addr: addr(1)}).take()
		wait := min(firstRetry<<min(k, 8), longestWait)
		r.wait(wait - tickEvery).silentOn("dial")
		r.wait(2 * tickEvery).says("dial 10.0.0.1:6881")
	}
}

// A connection that was good for something starts the back-off anew.
func TestBackOffForgivesTheUseful(t *testing.T) {
	r := newRig(t, 100)
	r.do(PeersFound{Addrs: []netip.AddrPort{addr(1)}})
	for range 5 {
		r.do(DialFailed{Addr: addr(1)}).wait(longestWait)
	}
	r.take()
	r.do(PeerConnected{Peer: 1, Addr: addr(1), Outgoing: true, Remote: remoteID(1)}, PeerHasSet{1, setOf(100, 5)}, PeerChokes{1, false}).fill()
	r.do(BlockReceived{1, req(5, 0)}, PeerGone{Peer: 1}).take()
	r.wait(firstRetry + tickEvery).says("dial 10.0.0.1:6881")
}

// When nobody at all is connected it may be our own network that was away.
func TestBackOffIsShortWhileAlone(t *testing.T) {
	r := newRig(t, 1)
	r.do(PeersFound{Addrs: []netip.AddrPort{addr(1)}})
	for range 12 {
		r.do(DialFailed{Addr: addr(1)}).wait(longestWait)
	}
	r.do(DialFailed{Addr: addr(1)}).take()
	r.wait(time.Minute + tickEvery).says("dial 10.0.0.1:6881")
}

func TestLimitsOfDialling(t *testing.T) {
	r := rigOf(t, Config{MaxPeers: 5, MaxDials: 3}, 1)
	var addrs []netip.AddrPort
	for id := range PeerID(10) {
		addrs = append(addrs, addr(id+1))
	}
	addrs = append(addrs, addrs[0], netip.AddrPort{}, netip.AddrPortFrom(addr(1).Addr(), 0))
	r.do(PeersFound{Addrs: addrs}).want("dial 10.0.0.1:6881", "dial 10.0.0.2:6881", "dial 10.0.0.3:6881")
	if r.Known() != 10 || r.Dialling() != 3 {
		t.Errorf("%d known, %d dials", r.Known(), r.Dialling())
	}
	for id := range PeerID(3) {
		r.do(PeerConnected{Peer: id + 1, Addr: addr(id + 1), Outgoing: true, Remote: remoteID(id + 1)})
	}
	r.take()
	r.wait(tickEvery).says("dial 10.0.0.4:6881")
	if r.Dialling() != 2 {
		t.Errorf("%d dials beside 3 peers with room for 5", r.Dialling())
	}
}

func TestWhy(t *testing.T) {
	r := newRig(t, 3, 0)
	why := func(want string) {
		t.Helper()
		if got := r.Why(1); got != want {
			t.Errorf("why: %q, want %q", got, want)
		}
	}
	r.do(PeersFound{Addrs: []netip.AddrPort{addr(9)}})
	why("piece 1: no peer connected, 1 known")
	if got := r.Why(0); got != "piece 0: here" {
		t.Errorf("why: %q", got)
	}
	r.join(1, 0)
	why("piece 1: the only peer does not have it")
	r.join(2, 1)
	why("piece 1: 1 peer has it, it chokes us")
	r.join(3, 1)
	why("piece 1: 2 peers have it, all choke us")
	r.do(PeerChokes{2, false}, PeerChokes{3, false}).urgent(1)
	why("piece 1: 2 peers have it, 2 of them asked")
	r.wait(snubAfter + tickEvery)
	why("piece 1: 2 peers have it, none of them delivers")
	r.do(PeerChokes{3, true}, PeerGone{Peer: 3})
	why("piece 1: 1 peer has it, but does not deliver")
}
