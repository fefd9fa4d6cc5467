package swarm

import (
	"fmt"
	"slices"
)

// trial is the record of a piece whose bytes did not match its hash. When the
// good piece is here, its blocks tell who sent the bad ones.
type trial struct {
	sums    []uint64 // of each block of the bad piece
	sources []PeerID // who sent each
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
	if one, alone := single(sources); alone {
		s.pick.Failed(i, nil)
		s.ban(one, fmt.Sprintf("sent a bad piece %d", i))
		if s.trials[i] == nil {
			return
		}
	} else if s.trials[i] == nil {
		s.trials[i] = &trial{sums: ev.Sums, sources: slices.Clone(sources)}
	}
	s.pick.Failed(i, s.trusted(i, sources))
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

// trusted returns the connected peer to fetch a suspicious piece from: it has
// the piece and serves us, and has the most good pieces to its name; of those
// alike one that sent nothing of the bad piece. nil when there is none.
func (s *Swarm) trusted(i int, suspects []PeerID) *PeerID {
	var best *peer
	better := func(a, b *peer) bool {
		if a.verified != b.verified {
			return a.verified > b.verified
		}
		return !slices.Contains(suspects, a.id) && slices.Contains(suspects, b.id)
	}
	for _, id := range s.order {
		p := s.peers[id]
		if p.chokesUs || p.snubbed || !s.pick.HasPiece(id, i) || s.addrs.banned(p.addr) {
			continue
		}
		if best == nil || better(p, best) {
			best = p
		}
	}
	if best == nil {
		return nil
	}
	return &best.id
}

// acquit credits the sources of a good piece, and if it had been bad before bans
// those whose blocks were not what the good one has.
func (s *Swarm) acquit(i int, sums []uint64) {
	if one, alone := single(s.pick.Sources(i)); alone && s.peers[one] != nil {
		s.peers[one].verified++
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
	if p := s.peers[id]; p != nil {
		s.drop(p, why)
	}
}
