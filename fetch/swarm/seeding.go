package swarm

import (
	"fmt"
	"time"
)

// seeding is how we stand to the swarm once we want nothing of it.
type seeding struct {
	said  bool      // the last UploadOnly command
	since time.Time // when it began; zero: never
	bytes int64     // of the pieces that we have
	ended string    // why it is over; "": it is not
}

// uploadOnly reports whether we want nothing of the swarm: we have everything, or
// shall never download the rest. In the words of BEP 21 we are a seed or a partial seed.
func (s *Swarm) uploadOnly() bool { return s.cfg.SeedOnly || s.complete() }

// UploadOnly reports what peers are to be told as upload_only (BEP 21). Who uploads
// nothing does not claim to.
func (s *Swarm) UploadOnly() bool { return s.uploadOnly() && s.serves() }

// serves reports whether anybody can ever be served.
func (s *Swarm) serves() bool { return s.NotServing() == "" }

// NotServing says why nobody is served, "" when peers are.
func (s *Swarm) NotServing() string {
	switch {
	case s.cfg.UploadSlots < 0:
		return "uploading is off"
	case s.uploadOnly():
		return s.seeding.ended
	default:
		return ""
	}
}

// watchSeeding says when we begin or cease to want something, and ends the seeding
// when it has reached what it was to reach.
func (s *Swarm) watchSeeding() {
	if only := s.uploadOnly(); only && s.seeding.since.IsZero() {
		s.seeding.since = s.now
	}
	if why := s.goal(); why != "" && s.serves() {
		s.seeding.ended = why
		s.do(SeedingEnded{why})
	}
	if !s.serves() && len(s.choker.holders) > 0 {
		s.grant(nil)
	}
	if on := s.UploadOnly(); on != s.seeding.said {
		s.seeding.said = on
		s.do(UploadOnly{on})
	}
}

// goal says in words which goal of the seeding is reached, "" when none is.
func (s *Swarm) goal() string {
	if !s.uploadOnly() {
		return ""
	}
	ratio := float64(s.stats.Uploaded) / float64(max(s.seeding.bytes, 1))
	switch {
	case s.cfg.SeedRatio > 0 && ratio >= s.cfg.SeedRatio:
		return fmt.Sprintf("ratio %.2f reached", ratio)
	case s.cfg.SeedTime > 0 && s.now.Sub(s.seeding.since) >= s.cfg.SeedTime:
		return fmt.Sprintf("seeded for %v", s.cfg.SeedTime)
	default:
		return ""
	}
}

// useless reports whether a connection is of no use to either side: neither wants
// anything, or neither has what the other lacks and never will.
func (s *Swarm) useless(p *peer) bool {
	return !p.web && s.uploadOnly() && (p.uploadOnly || s.pick.IsSeed(p.id))
}

// tellLost tells the peers that piece i is not here any more (BEP 54), or will once
// they have said how.
func (s *Swarm) tellLost(i int) {
	for _, id := range s.order {
		switch p := s.peers[id]; {
		case s.pick.IsSeed(id):
		case p.extended:
			s.do(DontHave{id, i})
		case len(p.untold) < maxUntold:
			p.untold = append(p.untold, i)
		}
	}
}

// maxUntold bounds what is kept to be told to a peer that may never say how.
const maxUntold = 256

// tellUntold tells a peer that has just said how what was lost until then.
func (s *Swarm) tellUntold(p *peer) {
	p.extended = true
	for _, i := range p.untold {
		if !s.pick.Has(i) {
			s.do(DontHave{p.id, i})
		}
	}
	p.untold = nil
}

// peerLacks takes in that a peer has lost a piece (BEP 54). What it owes of it, it will
// not deliver; without the fast extension it cannot even say so.
func (s *Swarm) peerLacks(p *peer, i int) {
	s.withdraw(s.pick.Lacks(p.id, i))
	s.updateInterest(p)
	s.dirty = true
}
