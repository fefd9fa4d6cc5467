package swarm

import (
	"fmt"
	"slices"
	"time"
)

// trial is the record of a piece whose bytes did not match its hash. When the
// good piece is here, its blocks tell who sent the bad ones.
type trial struct {
	sums    []uint64 // of each block of the bad piece
	sources []PeerID // who sent each

	tried []PeerID  // to whom the piece was left alone, the last one perhaps still
	until time.Time // when that ends; zero: it has ended
}

// alone is how long a suspicious piece is left to one peer: what a slow one
// needs.
func alone(size int) time.Duration {
	const start, rate = 20 * time.Second, 20 << 10 // bytes per second
	return start + time.Duration(size)*time.Second/rate
}

// pieceFailed asks whose fault it is. One source: it. Several: the piece is
// fetched again from the most trusted of the peers alone, which either gives the
// good bytes to compare with or one culprit.
func (s *Swarm) pieceFailed(ev PieceFailed) {
	i := ev.Piece
	s.stats.HashFailures++
	s.stats.Downloaded -= int64(s.cfg.Picker.PieceSize(i))
	s.stats.Wasted += int64(s.cfg.Picker.PieceSize(i))
	s.dirty = true
	sources := s.pick.Sources(i)
	s.pick.Failed(i, nil)
	if one, ok := single(sources); ok {
		s.ban(one, fmt.Sprintf("sent a bad piece %d", i))
		if s.trials[i] == nil {
			return
		}
	} else if s.trials[i] == nil {
		s.trials[i] = &trial{sums: ev.Sums, sources: slices.Clone(sources)}
	}
	s.leaveAlone(i, s.trials[i])
}

// leaveAlone has a suspicious piece asked of one peer, if there is one to trust.
func (s *Swarm) leaveAlone(i int, t *trial) {
	t.until = time.Time{}
	if p := s.trusted(i, t); p != nil {
		t.tried = append(t.tried, p.id)
		t.until = s.now.Add(alone(s.cfg.Picker.PieceSize(i)))
		s.pick.Failed(i, &p.id)
	}
}

// endAlone lets everybody be asked for a suspicious piece again: the one that it
// was left to does not deliver it.
func (s *Swarm) endAlone(t *trial) {
	t.until = time.Time{}
	if id := t.tried[len(t.tried)-1]; s.peers[id] != nil {
		s.pick.SetSlow(id)
	}
	s.dirty = true
}

// watchTrials ends what has been left to one peer for too long.
func (s *Swarm) watchTrials() {
	for _, t := range s.trials {
		if !t.until.IsZero() && s.now.After(t.until) {
			s.endAlone(t)
		}
	}
}

// blockRejected takes in that a peer will not send a block.
func (s *Swarm) blockRejected(ev BlockRejected) {
	s.pick.Rejected(ev.Peer, blockOf(ev.Req))
	s.heard(ev.Peer)
	s.dirty = true
	t := s.trials[int(ev.Req.Index)]
	if t != nil && !t.until.IsZero() && t.tried[len(t.tried)-1] == ev.Peer {
		s.endAlone(t)
	}
}

func single(ids []PeerID) (PeerID, bool) {
	if len(ids) == 0 {
		return 0, false
	}
	for _, id := range ids {
		if id != ids[0] {
			return 0, false
		}
	}
	return ids[0], true
}

// trusted returns the connected peer to leave a suspicious piece to: it has the
// piece, serves us and was not tried before, and has the most good pieces to its
// name; of those alike one that sent nothing of the bad piece. nil when there is
// none.
func (s *Swarm) trusted(i int, t *trial) *peer {
	var best *peer
	better := func(a, b *peer) bool {
		if a.verified != b.verified {
			return a.verified > b.verified
		}
		return !slices.Contains(t.sources, a.id) && slices.Contains(t.sources, b.id)
	}
	for _, id := range s.order {
		p := s.peers[id]
		if p.chokesUs || p.snubbed || !s.pick.HasPiece(id, i) || slices.Contains(t.tried, id) {
			continue
		}
		if best == nil || better(p, best) {
			best = p
		}
	}
	return best
}

// acquit credits the sources of a good piece, and if it had been bad before bans
// those whose blocks were not what the good one has.
func (s *Swarm) acquit(i int, sums []uint64) {
	if one, ok := single(s.pick.Sources(i)); ok && s.peers[one] != nil {
		s.peers[one].verified++
		s.goodIPs[s.peers[one].addr.Addr()] = true
	}
	t := s.trials[i]
	if t == nil {
		return
	}
	delete(s.trials, i)
	for k, id := range t.sources {
		if k < len(sums) && sums[k] != t.sums[k] {
			s.ban(id, fmt.Sprintf("sent a bad block of piece %d", i))
		}
	}
}

// ban ends the dealings with a peer, by its address and port: others may live
// behind the same address.
func (s *Swarm) ban(id PeerID, why string) {
	addr, known := s.addrOf(id)
	if !known || s.addrs.banned(addr) {
		return
	}
	s.addrs.ban(addr)
	s.banIPs[addr.Addr()]++
	s.stats.Bans++
	s.do(Banned{addr, why})
	for _, id := range slices.Clone(s.order) { // it may have come back since
		if p := s.peers[id]; p.addr == addr {
			s.drop(p, why)
		}
	}
}
