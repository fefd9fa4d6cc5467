package swarm

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

const (
	// rechokeEvery is how often it is decided anew whom we serve. BEP 3 says why
	// not more often: "Traditionally this is done by only changing who is choked
	// once every ten seconds".
	rechokeEvery = 10 * time.Second
	// trialTerm is how long a peer that has given us nothing yet is served, to
	// see whether it will: BEP 3, "Thirty seconds is enough time for the upload to
	// get to full capacity, the download to reciprocate".
	trialTerm = 30 * time.Second
	// seedTerm and seedTurn end a peer's turn while others wait and nobody can give
	// us anything. The bytes count for those who take them fast, the time for those
	// who do not.
	seedTerm = 20 * time.Second
	seedTurn = 4 << 20

	fewestSlots, usualSlots, mostSlots = 3, 8, 50
)

// choker decides whom we serve: who gives us something is given to (tit-for-tat),
// a part of the slots is for trying others out, and while there is nothing to be
// had everyone gets turns of equal size.
type choker struct {
	at      time.Time // of the last decision
	holders []*peer   // whom we do not choke, in order of their unchoking
	gave    int64     // Stats.Uploaded at the last decision
	peak    float64   // the upload rate seen lately, bytes per second
	turns   uint64    // begun so far
	// left remembers the last turn of hosts that have gone: a new connection must
	// not be a new turn.
	left map[netip.Addr]uint64
}

// exchange is what we and a peer gave each other.
type exchange struct {
	got, gave  int64   // bytes since the last decision
	take, give float64 // bytes per second before that, from it and to it
	turn       uint64  // number of its last turn to be served, zero: it had none
	taken      int64   // bytes to it in that turn
}

// account closes the time since the last decision. Half of what was known
// before is kept, which makes BEP 3's "rolling 20-second average" of it.
func (x *exchange) account(passed time.Duration) {
	x.take = (x.take + float64(x.got)/passed.Seconds()) / 2
	x.give = (x.give + float64(x.gave)/passed.Seconds()) / 2
	x.got, x.gave = 0, 0
}

// slots returns how many peers are served at a time: so many that the uplink is
// used, so few that each of them feels it.
func (s *Swarm) slots() int {
	switch {
	case !s.serves():
		return 0
	case s.cfg.UploadSlots > 0:
		return s.cfg.UploadSlots
	case s.cfg.UploadLimit > 0:
		return slotsFor(float64(s.cfg.UploadLimit))
	default: // what was measured may be as little as was asked for
		return max(usualSlots, slotsFor(s.choker.peak))
	}
}

// slotsFor returns the slots for an upload rate in bytes per second: 5 for 100
// kB/s, 10 for 1 MB/s, 25 for 10 MB/s.
func slotsFor(rate float64) int {
	return min(fewestSlots+int(math.Sqrt(rate/20e3)), mostSlots)
}

// rechoke decides anew whom we serve, when it is time for that.
func (s *Swarm) rechoke() {
	c := &s.choker
	passed := s.now.Sub(c.at)
	if passed < rechokeEvery {
		return
	}
	c.at = s.now
	c.peak = max(0.9*c.peak, float64(s.stats.Uploaded-c.gave)/passed.Seconds())
	c.gave = s.stats.Uploaded
	var want []*peer
	for _, id := range s.order {
		p := s.peers[id]
		p.account(passed)
		if p.interested {
			want = append(want, p)
		}
	}
	s.grant(s.chosen(want, s.slots()))
}

// chosen returns who of want is to be served, n at most, the order telling
// nothing.
func (s *Swarm) chosen(want []*peer, n int) []*peer {
	if len(want) <= n {
		return want
	}
	var friends []*peer
	if !s.uploadOnly() {
		friends, want = s.reciprocating(want, n-trials(n))
	}
	slices.SortStableFunc(want, s.byTurn)
	return append(friends, want[:n-len(friends)]...)
}

// trials returns how many of n slots are for optimistic unchoking.
func trials(n int) int { return max(1, n/5) }

// reciprocating returns the at most n peers that give us most, and the others. A
// peer that has snubbed us is not among them, whatever it gave (BEP 3,
// anti-snubbing).
func (s *Swarm) reciprocating(want []*peer, n int) (friends, others []*peer) {
	slices.SortStableFunc(want, func(a, b *peer) int { return cmp.Compare(b.merit(), a.merit()) })
	for len(friends) < n && want[len(friends)].merit() > 0 {
		friends = want[:len(friends)+1]
	}
	return slices.Clone(friends), want[len(friends):]
}

// merit is what a peer is worth to us, in bytes per second.
func (p *peer) merit() float64 {
	if p.snubbed {
		return 0
	}
	return p.take
}

// byTurn orders peers that we owe nothing. Whose turn is not over keeps its slot.
// Then come those that wait: first who could end the wait of a read, if we are
// good to it; then who was never served, then who was served longest ago. Last
// are those whose turn is over, the fastest of them first.
func (s *Swarm) byTurn(a, b *peer) int {
	if c := cmp.Compare(s.standing(a), s.standing(b)); c != 0 {
		return c
	}
	if !a.weChoke && !b.weChoke {
		return cmp.Compare(b.give, a.give)
	}
	return cmp.Compare(a.turn, b.turn)
}

func (s *Swarm) standing(p *peer) int {
	switch {
	case !p.weChoke && !s.turnOver(p):
		return 0
	case p.snubbed:
		return 4
	case !p.weChoke:
		return 3
	case p.chokesUs && s.hasUrgent(p):
		return 1
	default:
		return 2
	}
}

// turnOver reports whether a peer that is served has had its turn.
func (s *Swarm) turnOver(p *peer) bool {
	served := s.now.Sub(p.unchoked) + rechokeEvery/2 // rounded, decisions are seldom
	if s.uploadOnly() {
		return served >= seedTerm || p.taken >= seedTurn || served >= rechokeEvery && p.taken == 0
	}
	return served >= trialTerm
}

// hasUrgent reports whether a peer has a piece that a read waits for.
func (s *Swarm) hasUrgent(p *peer) bool {
	return slices.ContainsFunc(s.urgent, func(i int) bool { return s.pick.HasPiece(p.id, i) })
}

// grant serves the peers in chosen and no others, except that a slot nobody waits
// for stays with a peer that is not interested just now.
func (s *Swarm) grant(chosen []*peer) {
	keep := make(map[*peer]bool, len(chosen))
	for _, p := range chosen {
		keep[p] = true
	}
	spare := s.slots() - len(chosen)
	for _, p := range slices.Clone(s.choker.holders) {
		switch {
		case keep[p]:
		case !p.interested && spare > 0:
			spare--
		default:
			s.choke(p)
		}
	}
	for _, p := range chosen {
		if p.weChoke {
			s.unchoke(p)
		} else if s.turnOver(p) {
			s.beginTurn(p)
		}
	}
}

// interestChanged gives a peer that is interested now a slot, if there is one, and
// passes the slot of one that is not any more on to a peer that waits.
func (s *Swarm) interestChanged(p *peer) {
	switch {
	case p.interested && p.weChoke && s.freeSlot():
		s.unchoke(p)
	case !p.interested && !p.weChoke:
		s.passOn(p)
	}
}

// passOn gives a peer's slot to the next that waits, if there is one.
func (s *Swarm) passOn(p *peer) {
	if next := s.firstWaiting(); next != nil {
		s.choke(p)
		s.unchoke(next)
	}
}

// served takes in that a peer got n bytes. While seeding, whoever has had a whole turn
// makes way at once: a fast link goes round a thousand peers in seconds.
func (s *Swarm) served(p *peer, n int64) {
	p.gave += n
	p.taken += n
	p.used = s.now
	if !p.weChoke && p.taken >= seedTurn && s.uploadOnly() {
		s.passOn(p)
	}
}

// freeSlot reports whether a slot is free, or makes it so at the cost of a peer that
// is not interested.
func (s *Swarm) freeSlot() bool {
	if len(s.choker.holders) < s.slots() {
		return true
	}
	for _, p := range s.choker.holders {
		if !p.interested {
			s.choke(p)
			return true
		}
	}
	return false
}

// fillSlots gives slots that have become free to those that wait.
func (s *Swarm) fillSlots() {
	for len(s.choker.holders) < s.slots() {
		p := s.firstWaiting()
		if p == nil {
			return
		}
		s.unchoke(p)
	}
}

// firstWaiting returns the interested peer that is next to be served, nil when
// nobody waits.
func (s *Swarm) firstWaiting() *peer {
	var first *peer
	for _, id := range s.order {
		p := s.peers[id]
		if p.interested && p.weChoke && (first == nil || s.byTurn(p, first) < 0) {
			first = p
		}
	}
	return first
}

func (s *Swarm) beginTurn(p *peer) {
	s.choker.turns++
	p.unchoked, p.turn, p.taken = s.now, s.choker.turns, 0
}

func (s *Swarm) unchoke(p *peer) {
	p.weChoke = false
	s.beginTurn(p)
	s.choker.holders = append(s.choker.holders, p)
	s.do(Send{p.id, wire.Unchoke{}})
}

// choke stops serving a peer and forgets its queue. The connection rejects what
// was in it, as BEP 6 asks for.
func (s *Swarm) choke(p *peer) {
	p.weChoke, p.queue = true, nil
	s.release(p)
	s.do(Send{p.id, wire.Choke{}})
}

// release takes the slot of a peer.
func (s *Swarm) release(p *peer) {
	s.choker.holders = slices.DeleteFunc(s.choker.holders, func(o *peer) bool { return o == p })
}

// rememberTurn notes the last turn of a peer that leaves.
func (s *Swarm) rememberTurn(p *peer) {
	s.release(p)
	if p.turn == 0 {
		return
	}
	if s.choker.left == nil || len(s.choker.left) >= 1000 {
		s.choker.left = map[netip.Addr]uint64{}
	}
	s.choker.left[p.addr.Addr()] = p.turn
}
