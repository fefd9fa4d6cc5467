package swarm

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/fetch/picker"
	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// full returns a swarm with room for two peers, both taken, that knows a third, which
// was tried.
func full(t *testing.T, pieces ...int) *rig {
	r := rigOf(t, Config{MaxPeers: 2}, 4, 0)
	r.do(PeersFound{Addrs: []netip.AddrPort{addr(3)}}, DialFailed{Addr: addr(3)})
	r.join(1, pieces...).join(2, pieces...)
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
		owed := map[PeerID][]wire.Request{}
		for r.fill(); r.now.Before(epoch.Add(2 * dropAfter)); r.wait(5 * time.Second) {
			reqs := r.requests()
			r.silentOn("disconnect")
			for id := range PeerID(2) {
				asked := append(owed[id], reqs[id+1]...)
				owed[id] = asked[1:]
				r.do(BlockReceived{id + 1, asked[0]})
			}
		}
	})
	t.Run("one that takes what we serve", func(t *testing.T) {
		r := full(t, 0).do(PeerInterested{1, true}, PeerInterested{2, true}).urgent(3)
		for range 20 {
			r.takes(2, blockSize).wait(5 * time.Second)
		}
		if len(r.peers) != 1 || r.peers[2] == nil {
			t.Errorf("left are %v", r.order)
		}
	})
	t.Run("when nothing is wanted", func(t *testing.T) {
		full(t, 0).wait(5 * time.Minute).silentOn("disconnect")
	})
	t.Run("when nobody else is known", func(t *testing.T) {
		r := rigOf(t, Config{MaxPeers: 2}, 4).join(1, 0).join(2, 0)
		r.urgent(3).wait(5 * time.Minute).silentOn("disconnect")
	})
}

// While nothing comes, peers that give nothing make way for the one that was not tried
// yet within seconds, whatever they say.
func TestDeadWeightMakesWay(t *testing.T) {
	for name, says := range map[string]func(PeerID) []Event{
		"nothing":                     func(PeerID) []Event { return nil },
		"that it has all, and chokes": func(id PeerID) []Event { return []Event{PeerHasSet{id, setOf(4, 0, 1, 2, 3)}} },
		"that it serves us":           func(id PeerID) []Event { return []Event{PeerHasSet{id, setOf(4, 0, 1, 2, 3)}, PeerChokes{id, false}} },
		"that it wants to be served":  func(id PeerID) []Event { return []Event{PeerInterested{id, true}} },
	} {
		for patience, want := range map[time.Duration]picker.Demand{
			fillPatience: {Fill: true},
			readPatience: {Fill: true, Urgent: []int{3}},
		} {
			t.Run(fmt.Sprint(name, " for ", patience), func(t *testing.T) {
				r := rigOf(t, Config{MaxPeers: 3}, 4, 0)
				for id := range PeerID(3) {
					r.arrive(id+1, addr(id+1)).do(says(id + 1)...)
				}
				r.wait(time.Hour).do(Wanted{want}, PeersFound{Addrs: []netip.AddrPort{addr(4), addr(5)}})
				r.wait(patience - tickEvery).silentOn("disconnect")
				r.wait(2 * tickEvery).says("disconnect 1: makes room")
				r.do(PeerGone{Peer: 1}).says("dial 10.0.0.4")
			})
		}
	}
}

// It takes time to be unchoked, so nobody is hurried while something comes, or given less
// than that time.
func TestPatienceWithPeers(t *testing.T) {
	fresh := PeersFound{Addrs: []netip.AddrPort{addr(9)}}
	t.Run("while something comes", func(t *testing.T) {
		r := rigOf(t, Config{MaxPeers: 2}, 4).join(1).seed(2).do(fresh).fill()
		for _, q := range r.requests()[2] {
			r.do(BlockReceived{2, q}).wait(snubAfter - tickEvery)
		}
		if r.now.Sub(epoch) < 2*fillPatience {
			t.Fatal("too little was asked")
		}
		r.silentOn("disconnect")
	})
	t.Run("just connected", func(t *testing.T) {
		r := rigOf(t, Config{MaxPeers: 1}, 4).fill().wait(time.Hour).join(1).do(fresh)
		r.take()
		r.wait(fillPatience - tickEvery).silentOn("disconnect")
	})
	t.Run("while there is room for those that connect to us", func(t *testing.T) {
		r := rigOf(t, Config{MaxPeers: 3, DialPeers: 2}, 4).join(1).join(2).do(fresh).fill()
		r.wait(fillPatience - tickEvery).silentOn("dial")
		r.wait(2 * tickEvery).says("dial 10.0.0.9")
		r.do(DialFailed{Addr: addr(9)}).wait(dropAfter - 2*fillPatience).silentOn("disconnect")
	})
}

// Two that have finished tell each other, so that they can part.
func TestHaveIsSentToAllButSeeds(t *testing.T) {
	r := newRig(t, 4, 1, 2, 3).join(1, 0, 1).join(2)
	r.take()
	r.do(PieceVerified{Piece: 0}).says("send 1 have 0")
	r = newRig(t, 4, 1, 2, 3).join(2)
	r.take()
	r.do(PieceVerified{Piece: 0}).want("completed", "upload-only true")
}

// crowd returns a swarm with room for three peers that knows its address, and three
// peers from a to c that are connected.
func crowd(t *testing.T) *rig {
	r := rigOf(t, Config{MaxPeers: 3}, 4)
	r.self.vote(netip.MustParseAddr("10.0.0.200"))
	for id := range PeerID(3) {
		r.arrive(id+1, addr(id+1))
	}
	r.take()
	return r
}

// serves has connected peers have everything and serve us.
func (r *rig) serves(ids ...PeerID) *rig {
	for _, id := range ids {
		set := setOf(r.cfg.Picker.NumPieces)
		set.Fill()
		r.do(PeerHasSet{id, set}, PeerChokes{id, false})
	}
	return r
}

func (r *rig) arrive(id PeerID, a netip.AddrPort) *rig {
	return r.do(PeerConnected{Peer: id, Addr: a, Fast: true, Remote: remoteID(id)})
}

// BEP 40: "all peers have equal footing on joining swarms".
func TestPriorityDecidesAboutOneTooMany(t *testing.T) {
	r := crowd(t)
	lowest := func() (id PeerID) {
		for _, p := range r.peers {
			if id == 0 || r.self.priority(p.addr) < r.self.priority(r.peers[id].addr) {
				id = p.id
			}
		}
		return id
	}
	higher, lower := PeerID(0), PeerID(0)
	for id := PeerID(4); higher == 0 || lower == 0; id++ {
		if r.self.priority(addr(id)) > r.self.priority(addr(lowest())) {
			higher = id
		} else {
			lower = id
		}
	}
	r.arrive(lower, addr(lower)).says(fmt.Sprintf("disconnect %d: there are better", lower))
	loser := lowest()
	r.arrive(higher, addr(higher)).says(fmt.Sprintf("disconnect %d: there are better", loser))
	if len(r.peers) != 3 {
		t.Errorf("%d peers", len(r.peers))
	}
}

func TestOneTooManyReplacesTheUseless(t *testing.T) {
	r := crowd(t)
	r.wait(dropAfter).fill().serves(1, 3)
	for id, asked := range r.requests() {
		r.do(BlockReceived{id, asked[0]})
	}
	r.take()
	r.arrive(9, addr(9)).says("disconnect 2: there are better")
}

// Whoever opens many connections from one address loses one of them first, and not
// to whom we owe what we have.
func TestHostWithManyConnectionsGivesWay(t *testing.T) {
	r := crowd(t)
	r.do(PeerGone{Peer: 3}).arrive(4, netip.AddrPortFrom(addr(1).Addr(), 40000)).take()
	r.arrive(9, addr(9))
	if r.peers[9] == nil || r.peers[1] != nil && r.peers[4] != nil {
		t.Errorf("left are %v", r.order)
	}
	r = crowd(t)
	for range 3 {
		for id := range PeerID(3) {
			r.do(BlockReceived{id + 1, req(0, 0)})
		}
		r.wait(rechokeEvery)
	}
	r.arrive(9, addr(9)).says("disconnect 9: there are better")
}

// Addresses are dialled by priority, after those that failed less often.
func TestDialsGoByPriority(t *testing.T) {
	r := rigOf(t, Config{MaxDials: 1}, 1)
	r.self.vote(netip.MustParseAddr("10.0.0.200"))
	list := []netip.AddrPort{addr(1), addr(2), addr(3), addr(4)}
	r.do(PeersFound{Addrs: list[:1]}, DialFailed{Addr: addr(1)}, PeersFound{Addrs: list})
	last := uint32(1<<32 - 1)
	for range 3 {
		lines := r.take()
		a := netip.MustParseAddrPort(strings.TrimPrefix(lines[len(lines)-1], "dial "))
		if p := r.self.priority(a); p > last || a == addr(1) {
			t.Fatalf("dialled %v of priority %08x after one of %08x", a, p, last)
		} else {
			last = p
		}
		r.do(DialFailed{Addr: a})
	}
	r.wait(2 * firstRetry).says("dial")
}

// An address that failed waits behind new ones, whatever its priority.
func TestNewAddressesAreDialledFirst(t *testing.T) {
	a := newAddresses()
	byLast := func(x netip.AddrPort) uint32 { return uint32(x.Addr().As4()[3]) }
	for id := range PeerID(3) {
		a.add(addr(id+1), "test", 0)
	}
	a.book[addr(3)].failures = 1
	for _, want := range []PeerID{2, 1, 3} {
		if got, ok := a.next(epoch, false, byLast); !ok || got != addr(want) {
			t.Errorf("dialled %v, want %v", got, addr(want))
		}
	}
}
