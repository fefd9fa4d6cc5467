package swarm

// makeRoom gives up a peer of no use when all connections are taken while
// something is wanted and somebody else could be dialled: peers that have
// nothing for us, or never serve it, could keep everyone else out for ever. A
// peer that we serve stays; others are given up rarely, longest idle first.
func (s *Swarm) makeRoom() {
	if !s.wants || s.complete() || s.room() || s.now.Sub(s.madeRoom) < roomEvery || !s.addrs.due(s.now, false) {
		return
	}
	var idle *peer
	for _, id := range s.order {
		if p := s.peers[id]; p.weChoke || !p.interested {
			if s.now.Sub(p.used) >= dropAfter && (idle == nil || p.used.Before(idle.used)) {
				idle = p
			}
		}
	}
	if idle != nil {
		s.madeRoom = s.now
		s.drop(idle, "makes room")
	}
}

// room reports whether one more peer may be dialled for.
func (s *Swarm) room() bool { return len(s.peers)+len(s.leaving)+s.dials < s.cfg.MaxPeers }
