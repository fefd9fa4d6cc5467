package swarm

import (
	"net/netip"
	"testing"
	"time"
)

// full returns a swarm with room for two peers, both taken, that knows a third.
func full(t *testing.T, pieces ...int) *rig {
	r := rigOf(t, Config{MaxPeers: 2}, 4)
	r.join(1, pieces...).join(2, pieces...)
	r.do(PeersFound{Addrs: []netip.AddrPort{addr(3)}})
	r.take()
	return r
}

// Peers that are of no use, whatever the reason, must not keep out the one that
// has what is wanted.
func TestUselessPeersMakeRoom(t *testing.T) {
	for name, prepare := range map[string]func(*rig){
		"have nothing for us": func(r *rig) { r.do(PeerChokes{1, false}, PeerChokes{2, false}) },
		"choke us":            func(r *rig) { r.do(PeerHas{1, 3}, PeerHas{2, 3}) },
	} {
		t.Run(name, func(t *testing.T) {
			r := full(t, 0)
			prepare(r)
			r.urgent(3).wait(dropAfter - time.Second).silentOn("disconnect")
			r.wait(2 * time.Second).says("disconnect 1: makes room")
			r.do(PeerGone{Peer: 1}).says("dial 10.0.0.3:6881")
			r.wait(time.Minute).silentOn("disconnect")
		})
	}
}

func TestUsefulPeersStay(t *testing.T) {
	t.Run("one that delivers", func(t *testing.T) {
		cfg := Config{MaxPeers: 2}
		cfg.Picker.PieceSize = func(int) int { return 64 * blockSize }
		r := rigOf(t, cfg, 4).seed(1, 2).do(PeersFound{Addrs: []netip.AddrPort{addr(3)}})
		for r.fill(); r.now.Before(epoch.Add(2 * dropAfter)); r.wait(5 * time.Second) {
			reqs := r.requests()
			r.silentOn("disconnect")
			for id := range PeerID(2) {
				if len(reqs[id+1]) > 0 {
					r.do(BlockReceived{id + 1, reqs[id+1][0]})
				}
			}
		}
	})
	t.Run("one that is served", func(t *testing.T) {
		r := full(t, 0).do(PeerInterested{1, true}, PeerInterested{2, true})
		r.urgent(3).wait(5 * time.Minute).silentOn("disconnect")
	})
	t.Run("when nothing is wanted", func(t *testing.T) {
		full(t, 0).wait(5 * time.Minute).silentOn("disconnect")
	})
	t.Run("when nobody else is known", func(t *testing.T) {
		r := rigOf(t, Config{MaxPeers: 2}, 4).join(1, 0).join(2, 0)
		r.urgent(3).wait(5 * time.Minute).silentOn("disconnect")
	})
}

// Two that have finished tell each other, so that they can part.
func TestHaveIsSentToAllButSeeds(t *testing.T) {
	r := newRig(t, 4, 1, 2, 3).join(1, 0, 1).join(2)
	r.take()
	r.do(PieceVerified{Piece: 0}).says("send 1 have 0")
	r = newRig(t, 4, 1, 2, 3).join(2)
	r.take()
	r.do(PieceVerified{Piece: 0}).want("completed")
}
