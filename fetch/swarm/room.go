package swarm

import "net/netip"

// makeRoom gives up a peer of no use when all connections are taken while
// something is wanted and somebody else could be dialled: peers that have
// nothing for us, or never serve it, could keep everyone else out for ever. A
// peer that we serve stays; others are given up rarely, longest idle first.
func (s *Swarm) makeRoom() {
	if s.need() == NeedsNothing || s.room() || s.now.Sub(s.madeRoom) < roomEvery || !s.addrs.due(s.now, false) {
		return
	}
	if idle := s.idlest(); idle != nil {
		s.madeRoom = s.now
		s.drop(idle, "makes room")
	}
}

// idlest returns the peer that has been of no use for longest, nil when none has been
// for dropAfter.
func (s *Swarm) idlest() *peer {
	var idle *peer
	for _, id := range s.order {
		if p := s.peers[id]; s.idle(p) && (idle == nil || p.used.Before(idle.used)) {
			idle = p
		}
	}
	return idle
}

// idle reports whether for a long time nothing useful has gone over a connection in
// either direction.
func (s *Swarm) idle(p *peer) bool {
	return !p.web && (p.weChoke || !p.interested) && s.now.Sub(p.used) >= dropAfter
}

// worst returns whom to give up when one peer too many has connected, perhaps that one,
// or, without a newcomer, for another torrent. First goes who is of no use; then, of a
// host with several connections, one of them; else the lowest priority decides (BEP 40),
// which an attacker cannot choose. Who gives us what we want stays: nil when all do.
func (s *Swarm) worst(newcomer *peer) *peer {
	if p := s.idlest(); p != nil {
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

// room reports whether one more peer may be dialled for.
func (s *Swarm) room() bool {
	return s.connected()+len(s.leaving)+s.dials < s.bound(s.cfg.DialPeers) && s.now.Sub(s.share.full) >= fullFor
}
