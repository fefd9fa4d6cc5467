package swarm

import (
	"net/netip"
	"time"
)

const (
	roomEvery = 10 * time.Second // for a peer to make room for another
	// fillPatience and readPatience are how long nothing may come of what a fill wants,
	// or a read waits for, until whoever was never tried goes before whoever gives
	// nothing.
	fillPatience = 10 * time.Second
	readPatience = 3 * time.Second
)

// makeRoom gives up a peer of no use when all connections are taken while
// something is wanted and somebody else could be dialled: peers that have
// nothing for us, or never serve it, could keep everyone else out for ever. They
// are given up rarely and late, longest idle first, for to be unchoked takes its
// time; but one a second for those never tried while nothing comes.
func (s *Swarm) makeRoom() {
	every, after := roomEvery, dropAfter
	if s.stalled() && s.addrs.fresh(s.now) {
		every, after = tickEvery, s.patience()
	}
	if s.need() == NeedsNothing || s.now.Sub(s.began) < after || s.now.Sub(s.madeRoom) < every ||
		s.room() || !s.addrs.due(s.now, false) {
		return
	}
	if idle := s.idlest(after); idle != nil {
		s.madeRoom = s.now
		s.drop(idle, "makes room")
	}
}

// stalled reports whether nothing comes of what is wanted.
func (s *Swarm) stalled() bool {
	patience := s.patience()
	return s.need() != NeedsNothing && s.now.Sub(s.began) >= patience && s.now.Sub(s.came) >= patience
}

func (s *Swarm) patience() time.Duration {
	if len(s.urgent) > 0 {
		return readPatience
	}
	return fillPatience
}

// idlest returns the peer over whose connection nothing useful has gone for longest, in
// either direction; nil when over each something has after that time.
func (s *Swarm) idlest(after time.Duration) *peer {
	var idle *peer
	for _, id := range s.order {
		if p := s.peers[id]; !p.web && s.now.Sub(p.used) >= after && (idle == nil || p.used.Before(idle.used)) {
			idle = p
		}
	}
	return idle
}

// worst returns whom to give up when one peer too many has connected, perhaps that one,
// or, without a newcomer, for another torrent. First goes who is of no use; then, of a
// host with several connections, one of them; else the lowest priority decides (BEP 40),
// which an attacker cannot choose. Who gives us what we want stays: nil when all do.
func (s *Swarm) worst(newcomer *peer) *peer {
	if p := s.idlest(dropAfter); p != nil {
		return p
	}
	hosts := map[netip.Addr]int{}
	for _, id := range s.order {
		hosts[s.peers[id].addr.Addr()]++
	}
	worse := func(a, b *peer) bool {
		several := hosts[a.addr.Addr()] > 1
		if several != (hosts[b.addr.Addr()] > 1) {
			return several
		}
		return s.self.priority(a.addr) < s.self.priority(b.addr)
	}
	worst := newcomer
	for _, id := range s.order {
		p := s.peers[id]
		if p.web || p.merit() > 0 {
			continue
		}
		if worst == nil || worse(p, worst) {
			worst = p
		}
	}
	return worst
}

// room reports whether one more peer may be dialled for. While nothing comes, the places
// of those that would dial us are taken too, or they could fill the others for nothing.
func (s *Swarm) room() bool {
	most := s.cfg.DialPeers
	if s.stalled() {
		most = s.cfg.MaxPeers
	}
	return s.connected()+len(s.leaving)+s.dials < s.bound(most) && s.now.Sub(s.share.full) >= fullFor
}
