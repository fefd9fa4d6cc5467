package swarm

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/fetch/picker"
	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

const webPeer = 90

var webAddr = netip.MustParseAddrPort("[100::1]:1")

// web connects a web seed.
func (r *rig) web() *rig {
	r.t.Helper()
	set := setOf(r.cfg.Picker.NumPieces)
	set.Fill()
	return r.do(
		PeerConnected{Peer: webPeer, Addr: webAddr, Fast: true, Web: true},
		PeerExtended{Peer: webPeer, UploadOnly: true}, PeerHasSet{webPeer, set}, PeerChokes{webPeer, false},
	)
}

// A web seed takes no place of a peer: as many are let in and dialled for as without it,
// and it does not give way to one.
func TestWebSeedIsNoPeer(t *testing.T) {
	r := rigOf(t, Config{MaxPeers: 2, DialPeers: 1}, 4).web()
	if got := r.connected(); got != 0 || r.dials != 0 {
		t.Fatalf("%d connected, %d dials", got, r.dials)
	}
	r.take()
	r.do(PeersFound{Addrs: []netip.AddrPort{addr(7)}, Source: FromTracker}).says("dial")
	r.do(DialFailed{Addr: addr(7)})
	r.join(1).join(2).silentOn("disconnect")
	r.join(3)
	if r.peers[webPeer] == nil || r.connected() != 2 {
		t.Errorf("%d peers, the web seed is there: %t", r.connected(), r.peers[webPeer] != nil)
	}
	if v := r.Peers()[0]; !v.Web || v.Listen.IsValid() {
		t.Errorf("others would be told of %v", v.Listen)
	}
}

// It is kept when there is nothing to fetch and nothing comes for long: it costs nothing.
func TestIdleWebSeedStays(t *testing.T) {
	r := newRig(t, 2, 0, 1).web().wait(10 * time.Minute)
	if r.peers[webPeer] == nil {
		t.Error("it is gone")
	}
	r.do(PieceLost{Piece: 1}).urgent(1).says("request")
}

// Nor does it make room for a peer, whatever it lacks.
func TestWebSeedMakesNoRoom(t *testing.T) {
	r := rigOf(t, Config{MaxPeers: 2}, 4).web().do(PeerLacks{webPeer, 3}).wait(time.Second)
	r.join(1, 0).join(2, 0).do(PeersFound{Addrs: []netip.AddrPort{addr(3)}}).urgent(3)
	r.wait(dropAfter + time.Second).says("disconnect 1: makes room")
	if r.peers[webPeer] == nil {
		t.Error("it is gone")
	}
}

func TestWebSeedIsBannedByName(t *testing.T) {
	r := newRig(t, 2).web().fill()
	for k := range 2 {
		r.do(BlockReceived{Peer: webPeer, Req: req(0, k)})
	}
	r.take()
	r.do(PieceFailed{Piece: 0}).says("banned")
	r.do(PeerGone{Peer: webPeer})
	r.web()
	if r.peers[webPeer] != nil {
		t.Error("it is back")
	}
	if r.webs != 0 {
		t.Errorf("%d web seeds counted", r.webs)
	}
}

// A wait tells of sources, where not all of them are peers.
func TestWhyNamesSources(t *testing.T) {
	r := newRig(t, 2).web()
	if got := r.Why(0); got != "piece 0: 1 source has it and was asked" {
		t.Error(got)
	}
}

// One that is silent, and asked for a block at a time, is asked for what a read waits for,
// as soon as it may be again, and for nothing before.
func TestSilentWebSeedIsKeptForReads(t *testing.T) {
	r := newRig(t, 100).web().do(Wanted{picker.Demand{Urgent: []int{2}, Fill: true}})
	r.take()
	r.wait(snubAfter + time.Second)
	if asked := r.requests(); len(asked) > 0 {
		t.Errorf("withdrawn, and asked for %v", asked)
	}
	r.says("withdraw")
	r.do(BlockRejected{Peer: webPeer, Req: req(2, 0)}, BlockRejected{Peer: webPeer, Req: req(2, 1)})
	if asked := r.requests()[webPeer]; !slices.Equal(asked, []wire.Request{req(2, 0)}) {
		t.Errorf("asked for %v", asked)
	}
}
