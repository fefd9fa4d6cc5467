package swarm

import (
	"fmt"
	"time"

	"github.com/qqbtfs/qqbtfs/fetch/picker"
)

// Need says how much a torrent wants of its swarm.
type Need int

const (
	NeedsNothing Need = iota
	NeedsFill         // in the background
	NeedsRead         // somebody reads
)

func (n Need) String() string { return []string{"nothing", "fill", "read"}[n] }

const (
	// fullFor is how long no dial is tried after one that found no connection left.
	fullFor = time.Second
	// shareFor is how long a Share holds.
	shareFor = 30 * time.Second
)

// share is our part of the connections that all torrents have together.
type share struct {
	peers int // how many we may have, until then
	until time.Time
	full  time.Time // when a dial last found none left; zero: one has got through since
	asked time.Time // when we claimed one
}

// bound returns how many connections we may have of n.
func (s *Swarm) bound(n int) int {
	if s.now.Before(s.share.until) {
		return min(n, s.share.peers)
	}
	return n
}

// full takes in that a dial found no connection left. It says nothing of the address.
func (s *Swarm) full(ev DialFailed) {
	s.addrs.untried(ev.Addr)
	s.share.full = s.now
	if s.now.Sub(s.share.asked) >= fullFor {
		s.share.asked = s.now
		s.do(Claim{s.need()})
	}
}

// shareChanged takes in our share. Who has more gives up a peer for the torrent that
// claims one, the worst by the usual rule; one that gives us something only to a torrent
// that needs it as much.
func (s *Swarm) shareChanged(ev Share) {
	s.share.peers, s.share.until = ev.Peers, s.now.Add(shareFor)
	if s.connected() <= ev.Peers {
		return
	}
	p := s.worst(nil)
	if p == nil && s.need() <= ev.Need {
		p = s.slowest()
	}
	if p != nil {
		s.drop(p, fmt.Sprintf("makes way for another torrent, which needs %v", ev.Need))
	}
}

// slowest returns the peer that gives us least.
func (s *Swarm) slowest() (slowest *peer) {
	for _, id := range s.order {
		if p := s.peers[id]; !p.web && (slowest == nil || p.merit() < slowest.merit()) {
			slowest = p
		}
	}
	return slowest
}

func needOf(d picker.Demand) Need {
	switch {
	case len(d.Urgent)+len(d.Readahead) > 0:
		return NeedsRead
	case d.Fill || len(d.Some) > 0:
		return NeedsFill
	default:
		return NeedsNothing
	}
}

// need is how much we want.
func (s *Swarm) need() Need {
	if s.uploadOnly() {
		return NeedsNothing
	}
	return s.wants
}
