package fetch

import (
	"slices"
	"time"

	"github.com/qqbtfs/qqbtfs/fetch/swarm"
)

// claimEvery is how often torrents give up peers for another one, unless one comes that
// needs them more.
const claimEvery = time.Second

// claims is what was granted last.
type claims struct {
	last time.Time
	need swarm.Need
}

// sharer is a torrent as far as it has connections: a Torrent or a Pending.
type sharer interface{ connections() int }

// claim has the torrents that have more than their share of Config.MaxConns give up a
// peer each: there is none left for one that has less. One that has its share is told
// that this is all.
func (s *Session) claim(by sharer, need swarm.Need) {
	var others []int
	torrents := s.all()
	for _, t := range torrents {
		if t != by {
			others = append(others, t.connections())
		}
	}
	for _, p := range s.allPending() {
		if p != by {
			others = append(others, p.connections())
		}
	}
	share := fairShare(s.cfg.MaxConns, others)
	if mine := by.connections(); mine >= share { // what the division leaves over would go to and fro
		torrents = slices.DeleteFunc(torrents, func(t *Torrent) bool { return t != by })
		share = mine
	} else if !s.grant(need) {
		return
	}
	for _, t := range torrents {
		t.in.post(swarm.Share{Peers: share, Need: need})
	}
}

// grant reports whether it is time to grant a claim, and notes that.
func (s *Session) grant(need swarm.Need) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if now.Sub(s.claims.last) < claimEvery && need <= s.claims.need {
		return false
	}
	s.claims = claims{now, need}
	return true
}

// fairShare returns how much of total each may have at most, so that all get what they
// want up to that (max-min fairness), if one wants all it can get and the others what
// they have. It is one at least.
func fairShare(total int, others []int) int {
	slices.Sort(others)
	for i, n := range others {
		if share := total / (len(others) - i + 1); n >= share {
			return max(share, 1)
		}
		total -= n
	}
	return max(total, 1)
}

func (t *Torrent) connections() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.peers)
}

func (p *Pending) connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns)
}
