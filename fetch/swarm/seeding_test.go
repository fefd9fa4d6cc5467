package swarm

import (
	"net/netip"
	"testing"
	"time"
)

// Who never unchokes says so, and does not claim to upload only.
func TestNoUpload(t *testing.T) {
	r := server(t, -1, 1, 2)
	r.take()
	r.do(PeerRequests{1, req(0, 0)}).want("send 1 reject 0:0+16384")
	r.do(PeersFound{Addrs: []netip.AddrPort{addr(9)}}).wait(time.Hour).wantUnchoked()
	r.silentOn("dial")
	if r.UploadOnly() || r.NotServing() == "" {
		t.Errorf("upload only %t, not serving %q", r.UploadOnly(), r.NotServing())
	}
}

func TestSeedingEndsAtItsGoal(t *testing.T) {
	const size = 64 * blockSize // of each of two pieces
	for name, tc := range map[string]struct {
		ratio   float64
		time    time.Duration
		earlier Seeding
		bytes   int
		after   time.Duration
	}{
		"ratio":                   {ratio: 0.5, bytes: size},
		"time":                    {time: time.Hour, after: time.Hour},
		"ratio over several runs": {ratio: 1.5, earlier: Seeding{Uploaded: 2 * size}, bytes: size},
		"time over several runs":  {time: 3 * time.Hour, earlier: Seeding{Time: 2 * time.Hour}, after: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := Config{UploadSlots: 2, SeedRatio: tc.ratio, SeedTime: tc.time, Seeding: tc.earlier}
			cfg.Picker.PieceSize = func(int) int { return size }
			r := rigOf(t, cfg, 2, 0, 1)
			r.do(PeerConnected{Peer: 1, Addr: addr(1), Fast: true, Remote: remoteID(1)}, PeerInterested{1, true})
			r.takes(1, tc.bytes-blockSize).wait(max(tc.after-2*time.Second, 0)).silentOn("seeding-ended")
			r.do(PeerRequests{1, req(0, 0)}, BlockServed{1, req(0, 0), true}).wait(2 * time.Second).says("seeding-ended")
			r.wantUnchoked()
			r.wait(time.Minute).wantUnchoked()
			r.do(PeerRequests{1, req(0, 0)}).says("send 1 reject")

			// To fetch a piece that was lost, peers are served again.
			r.do(PieceLost{1}).wait(rechokeEvery).wantUnchoked(1)
			r.do(PieceVerified{Piece: 1}).wantUnchoked()
		})
	}
}

// What is on its way counts for the ratio, and is given to others if it does not arrive.
func TestRatioIsExact(t *testing.T) {
	const blocks = 64
	cfg := Config{UploadSlots: 2, SeedRatio: 0.5}
	cfg.Picker.PieceSize = func(int) int { return blocks * blockSize }
	r := rigOf(t, cfg, 1, 0)
	for id := range PeerID(2) {
		r.do(PeerConnected{Peer: id + 1, Addr: addr(id + 1), Fast: true, Remote: remoteID(id + 1)}, PeerInterested{id + 1, true})
	}
	r.take()
	for k := range blocks {
		r.do(PeerRequests{1, req(0, k)}, PeerRequests{2, req(0, k)})
	}
	r.do(PeerGone{Peer: 1})
	sent, way := 0, r.said
	for i := 0; i < len(way); i++ {
		s := way[i].(Serve)
		r.said = nil
		r.do(BlockServed{s.Peer, s.Req, s.Peer == 2})
		if s.Peer == 2 {
			sent++
		} else {
			way = append(way, r.said...) // to 2 instead
			r.said = nil
		}
		if ended := len(r.take()) > 0; ended != (sent == blocks/2) {
			t.Fatalf("ended %t after %d blocks", ended, sent)
		}
	}
	if sent != blocks/2 {
		t.Errorf("%d blocks were sent", sent)
	}
}

// BEP 21: 'upload_only' "indicates that this peer is not interested in downloading
// anything". Two such have nothing to do with each other.
func TestPartialSeeds(t *testing.T) {
	r := rigOf(t, Config{SeedOnly: true}, 4, 0, 1)
	if !r.UploadOnly() {
		t.Error("a partial seed does not say so")
	}
	r.do(PeersFound{Addrs: []netip.AddrPort{addr(1)}}).says("dial")
	r.do(PeerConnected{Peer: 1, Addr: addr(1), Outgoing: true, Fast: true, Remote: remoteID(1)}).silentOn("send 1 interested")
	r.join(2, 2, 3).silentOn("send 2 interested")
	r.do(PeerExtended{Peer: 1, UploadOnly: true}).wait(tickEvery).want("disconnect 1: neither wants anything")
	r.do(PeerGone{Peer: 1}).wait(time.Hour).silentOn("dial")
	r.join(3).wait(tickEvery).says("disconnect 3: neither wants anything") // a seed
	if len(r.peers) != 1 {
		t.Errorf("%d peers left", len(r.peers))
	}
	// A downloader keeps a partial seed.
	r = newRig(t, 4).join(1, 0).do(PeerExtended{Peer: 1, UploadOnly: true})
	r.take()
	r.wait(time.Hour).silentOn("disconnect")
}

func TestUploadOnlyFollowsWhatIsHere(t *testing.T) {
	r := newRig(t, 2, 0)
	r.do(PieceVerified{Piece: 1}).says("upload-only true")
	r.do(PieceLost{0}).says("upload-only false")
	r.do(PieceLost{0}).silentOn("upload-only")
}

// BEP 54: "a previously advertised piece is no longer available".
func TestLostPiecesAreTold(t *testing.T) {
	r := newRig(t, 3, 0, 1).join(1, 0).join(2).do(PeerExtended{Peer: 1}, PeerExtended{Peer: 2})
	r.take()
	r.do(PieceLost{1}).says("dont-have 1 1") // a seed does not mind
	r.do(PieceLost{1}).want()

	// To whom it cannot be told yet it is told later, if it still holds.
	r = newRig(t, 4, 0, 1).join(1, 0)
	r.do(PieceLost{0}, PieceLost{1}).silentOn("dont-have")
	r.do(PieceVerified{Piece: 0}).take()
	r.do(PeerExtended{Peer: 1}).want("dont-have 1 1")
	r.do(PeerExtended{Peer: 1}).want()
}

func TestPeerLosesPieces(t *testing.T) {
	r := newRig(t, 2).seed(1).urgent(0)
	r.says("request 1 0+0:16384 0+16384:16384")
	r.do(PeerLacks{1, 0}).want("withdraw 1 0+0:16384", "withdraw 1 0+16384:16384")
	r.do(PeerLacks{1, 0}, PeerLacks{7, 0}).want()
	r.do(PeerLacks{1, 1}).want("send 1 not interested")
	r.do(PeerHas{1, 0}, BlockRejected{1, req(0, 0)}, BlockRejected{1, req(0, 1)}).says("request 1 0+0:16384 0+16384:16384")
	if got := r.Peers()[0].Pieces; got != 1 {
		t.Errorf("the peer has %d pieces", got)
	}
}
