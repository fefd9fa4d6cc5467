package swarm

import (
	"fmt"
	"time"
)

// Seeding is what a torrent has given to its swarm.
type Seeding struct {
	Uploaded int64         // blocks served, in bytes
	Time     time.Duration // that peers were served while we wanted nothing
}

// seeding is how we stand to the swarm once we want nothing of it.
type seeding struct {
	said    bool          // the last UploadOnly command
	time    time.Duration // of this run, see Seeding
	bytes   int64         // of the pieces that we have
	serving int64         // given to Serve and not written yet, in bytes
	held    bool          // requests wait for what becomes of that
	ended   string        // why it is over; "": it is not
}

// Seeding returns what was given in this run and in the earlier ones.
func (s *Swarm) Seeding() Seeding {
	return Seeding{s.cfg.Seeding.Uploaded + s.stats.Uploaded, s.cfg.Seeding.Time + s.seeding.time}
}

// Ratio returns how many times the bytes that are here were uploaded, in this run and in
// the earlier ones.
func (s *Swarm) Ratio() float64 { return s.ratio(s.Seeding().Uploaded) }

func (s *Swarm) ratio(uploaded int64) float64 {
	return float64(uploaded) / float64(max(s.seeding.bytes, 1))
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
	if why := s.goal(); why != "" && s.serves() {
		s.seeding.ended = why
		s.do(SeedingEnded{why})
	}
	if !s.serves() && len(s.choker.holders) > 0 {
		s.grant(nil)
	}
	if s.seeding.held && s.mayServe() {
		s.seeding.held = false
		for _, id := range s.order {
			s.serve(s.peers[id])
		}
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
	switch {
	case s.cfg.SeedRatio > 0 && s.Ratio() >= s.cfg.SeedRatio:
		return fmt.Sprintf("ratio %.2f reached", s.Ratio())
	case s.cfg.SeedTime > 0 && s.Seeding().Time >= s.cfg.SeedTime:
		return fmt.Sprintf("seeded for %v", s.cfg.SeedTime)
	default:
		return ""
	}
}

// mayServe reports whether one more block may go out. What is on its way counts for the
// ratio: full pipes would carry the seeding far beyond its goal.
func (s *Swarm) mayServe() bool {
	return s.cfg.SeedRatio == 0 || !s.uploadOnly() || s.ratio(s.Seeding().Uploaded+s.seeding.serving) < s.cfg.SeedRatio
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
