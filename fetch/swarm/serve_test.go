package swarm

import (
	"testing"

	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// server returns a swarm that has everything, with peers that want to be served.
func server(t *testing.T, slots int, ids ...PeerID) *rig {
	cfg := Config{UploadSlots: slots, MaxPeers: 2000}
	cfg.Picker.PieceSize = func(int) int { return 64 * blockSize }
	r := rigOf(t, cfg, 2, 0, 1)
	for _, id := range ids {
		r.do(PeerConnected{Peer: id, Addr: addr(id), Fast: id%2 == 1, Remote: remoteID(id)}, PeerInterested{id, true})
	}
	return r
}

// Blocks on their way to a socket are bounded, whatever the peer asks for.
func TestServeWindow(t *testing.T) {
	r := server(t, 1, 1)
	r.take()
	var asked []wire.Request
	for k := range 60 {
		asked = append(asked, req(0, k))
		r.do(PeerRequests{1, req(0, k)})
	}
	served := len(r.take())
	if served != serveWindow/blockSize {
		t.Errorf("%d blocks on the way", served)
	}
	for k := range 60 { // in order, one for each that was written
		r.do(BlockServed{1, asked[k], true})
		served += len(r.take())
	}
	if served != 60 || r.Stats().Uploaded != 60*blockSize {
		t.Errorf("%d of 60 served, %+v", served, r.Stats())
	}
}

// BEP 6: "every request is guaranteed to result in EXACTLY ONE response which is
// either the corresponding reject or corresponding piece message".
func TestRequestsThatAreNotServed(t *testing.T) {
	r := server(t, 1, 1, 3) // both fast
	r.take()
	r.do(PeerRequests{3, req(0, 0)}).want("send 3 reject 0:0+16384")
	r.do(PieceLost{1}).take()
	r.do(PeerRequests{1, req(1, 0)}).want("send 1 reject 1:0+16384")
	r.do(PeerRequests{1, req(0, 0)}).want("serve 1 0+0:16384")
	r.do(BlockServed{1, req(0, 0), false}).want("send 1 reject 0:0+16384")
	r.do(PeerRequests{7, req(0, 0)}, BlockServed{7, req(0, 0), false}, PeerCancels{7, req(0, 0)}).want()

	old := server(t, 1, 2, 4) // neither: nothing to say it with
	old.take()
	old.do(PeerRequests{4, req(0, 0)}, PeerRequests{2, req(0, 0)}).want("serve 2 0+0:16384")
	old.do(BlockServed{2, req(0, 0), false}).want()
}

// BEP 6: "Even when a request is cancelled, the peer receiving the cancel should
// respond with either the corresponding reject or the corresponding piece:
// requests that are being processed are allowed to complete." The connection has
// rejected it already; here it only must not be served any more.
func TestCancel(t *testing.T) {
	r := server(t, 1, 1)
	for k := range 35 {
		r.do(PeerRequests{1, req(0, k)})
	}
	r.take()
	r.do(PeerCancels{1, req(0, 32)}, PeerCancels{1, req(0, 0)}, PeerCancels{1, req(0, 50)}).want()
	r.do(BlockServed{1, req(0, 0), true}).want("serve 1 0+540672:16384")
	r.do(BlockServed{1, req(0, 1), true}).want("serve 1 0+557056:16384")
	r.do(BlockServed{1, req(0, 2), true}).want()
}

// A choked peer's queue is forgotten (BEP 3); the connection rejects it (BEP 6).
func TestChokeForgetsWhatIsQueued(t *testing.T) {
	r := server(t, 1, 1, 2)
	for k := range 40 {
		r.do(PeerRequests{1, req(0, k)})
	}
	r.take()
	r.wait(rechokeEvery).want("send 1 choke", "send 2 unchoke")
	r.do(BlockServed{1, req(0, 0), true}, BlockServed{1, req(0, 1), false}).want()
	r.wait(rechokeEvery).take()
	r.wantUnchoked(1)
	r.do(BlockServed{1, req(0, 2), true}).want()
}
