package swarm

import (
	"fmt"
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// server returns a swarm that has everything, with peers that want to be served.
func server(t *testing.T, slots int, ids ...PeerID) *rig {
	cfg := Config{UploadSlots: slots}
	cfg.Picker.PieceSize = func(int) int { return 64 * blockSize }
	r := rigOf(t, cfg, 2, 0, 1)
	for _, id := range ids {
		r.do(PeerConnected{Peer: id, Addr: addr(id), Fast: id%2 == 1, Remote: remoteID(id)}, PeerInterested{id, true})
	}
	return r
}

func (r *rig) unchoked() (ids []PeerID) {
	for _, id := range r.order {
		if !r.peers[id].weChoke {
			ids = append(ids, id)
		}
	}
	return ids
}

func (r *rig) wantUnchoked(ids ...PeerID) {
	r.t.Helper()
	if got := r.unchoked(); fmt.Sprint(got) != fmt.Sprint(ids) {
		r.t.Fatalf("unchoked %v, want %v", got, ids)
	}
}

func TestSlots(t *testing.T) {
	r := server(t, 2, 1, 2, 3)
	r.wantUnchoked(1, 2)
	r.do(PeerInterested{1, false}).wantUnchoked(2, 3)
	r.do(PeerInterested{1, true}).wantUnchoked(2, 3)
	r.do(PeerGone{Peer: 2}).wantUnchoked(1, 3)
	r.do(PeerInterested{3, false}).wantUnchoked(1, 3) // nobody waits for the slot
	server(t, -1, 1, 2).wait(time.Minute).wantUnchoked()
}

// A peer that only waits gets a slot in the end, and who had it longest gives
// it.
func TestRotation(t *testing.T) {
	r := server(t, 2, 1, 2, 3, 4, 5)
	turns := map[PeerID]int{}
	before := map[PeerID]bool{1: true, 2: true}
	for range 20 {
		r.wait(rotateEvery)
		now := map[PeerID]bool{}
		for _, id := range r.unchoked() {
			now[id] = true
			if !before[id] {
				turns[id]++
			}
		}
		if len(now) != 2 {
			t.Fatalf("%d unchoked", len(now))
		}
		before = now
	}
	for id := range PeerID(5) {
		if n := turns[id+1]; n < 3 || n > 5 {
			t.Errorf("peer %d had %d turns of 20 for five", id+1, n)
		}
	}
	r = server(t, 2, 1, 2)
	r.take()
	r.wait(time.Minute).want()
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
	r.wait(rotateEvery).want("send 1 choke", "send 2 unchoke")
	r.do(BlockServed{1, req(0, 0), true}, BlockServed{1, req(0, 1), false}).want()
	r.wait(rotateEvery).take()
	r.wantUnchoked(1)
	r.do(BlockServed{1, req(0, 2), true}).want()
}
