package picker

import (
	"slices"
	"time"

	"github.com/qqbtfs/qqbtfs/peerconn/bitfield"
)

// slowPenalty is how much later a snubbed source is expected to deliver than its
// past says.
const slowPenalty = 30 * time.Second

// source is one attached source.
type source struct {
	id      SourceID
	has     bitfield.Set
	seed    bool         // has everything; counted in Picker.seeds, not in rarity
	open    bool         // answers requests (has unchoked us)
	allowed map[int]bool // pieces it answers although not open (BEP 6, allowed fast)
	slow    bool         // snubbed: one block at a time
	pipe    pipeline
	out     []Block        // asked and not answered, oldest first
	acks    bool           // answers a withdrawn request too (BEP 6)
	ghosts  map[Block]bool // withdrawn and not answered yet: not to be asked again
	dry     uint64         // the epoch in which it had nothing to offer, plus one
	inOrder bool           // delivers long runs best
	last    int            // the piece that it was asked for last
}

func (s *source) canServe(i int) bool {
	return (s.open || s.allowed[i]) && s.has.Has(i)
}

// asked reports whether a request for b may not be made of s: it has one out.
func (s *source) asked(b Block) bool { return len(s.ghosts) > 0 && s.ghosts[b] }

// withdrawn records that the request for b is not wanted any more.
func (s *source) withdrawn(b Block, n int) {
	s.forget(b)
	s.pipe.gone(n)
	if s.acks {
		if s.ghosts == nil {
			s.ghosts = map[Block]bool{}
		}
		s.ghosts[b] = true
	}
}

// eta is when a block of n bytes asked for now would be here.
func (s *source) eta(now time.Time, n int) time.Time {
	at := s.pipe.eta(now, n)
	if s.slow {
		at = at.Add(slowPenalty)
	}
	return at
}

// room returns how many more blocks s may be asked for when up to queue of
// waiting time there is acceptable.
func (s *source) room(now time.Time, queue time.Duration) int {
	if s.slow {
		return 1 - s.pipe.inFlight
	}
	return s.pipe.depth(now, queue) - s.pipe.inFlight
}

// roomForReads is room for blocks that reads wait for. What is in flight is not in their
// way at a source that delivers in runs: those come side by side.
func (s *source) roomForReads(now time.Time) int {
	room := s.room(now, deepQueue)
	if s.inOrder && !s.slow {
		room += s.pipe.depth(now, deepQueue)
	}
	return room
}

func (s *source) forget(b Block) {
	if at := slices.Index(s.out, b); at >= 0 {
		s.out = slices.Delete(s.out, at, at+1)
	}
}

// Attach adds a source that has nothing and answers nothing yet. With acks it
// answers every request in the end, also one that was withdrawn.
func (p *Picker) Attach(id SourceID, acks bool) {
	if p.sources[id] != nil {
		panic("BUG: picker: source attached twice")
	}
	p.sources[id] = &source{id: id, has: bitfield.New(p.cfg.NumPieces), acks: acks}
	p.ids = append(p.ids, id)
}

// Detach removes a source. What it owed is free to be asked elsewhere.
func (p *Picker) Detach(id SourceID) {
	p.Release(id)
	p.unreserve(id)
	s := p.sources[id]
	p.setHas(s, bitfield.New(p.cfg.NumPieces))
	delete(p.sources, id)
	p.ids = slices.DeleteFunc(p.ids, func(x SourceID) bool { return x == id })
}

// Release frees all that the source owes to be asked elsewhere and returns it.
func (p *Picker) Release(id SourceID) []Assignment {
	return p.releaseIf(p.sources[id], func(Block) bool { return true })
}

// releaseIf frees what s owes of the blocks that are meant.
func (p *Picker) releaseIf(s *source, meant func(Block) bool) []Assignment {
	var out []Assignment
	for _, b := range slices.Clone(s.out) {
		if meant(b) {
			out = append(out, Assignment{Source: s.id, Block: b})
			p.unask(s, b, true)
		}
	}
	return out
}

// SetQueue tells how many requests the source queues for us (BEP 10, reqq).
func (p *Picker) SetQueue(id SourceID, reqq int) { p.sources[id].pipe.reqq = reqq }

// SetInOrder tells that the source delivers long runs of pieces best, and several of them
// at a time, as web servers do. The fill takes what follows on what it was asked for last,
// in runs unless a read is in the way.
func (p *Picker) SetInOrder(id SourceID) {
	s := p.sources[id]
	s.inOrder, s.last = true, -1
	s.pipe.least = runDepth
}

// SetOpen tells whether the source answers requests now. It changes nothing
// about what the source owes.
func (p *Picker) SetOpen(id SourceID, open bool) {
	s := p.sources[id]
	s.open, s.dry = open, 0
}

// SetSlow marks a source that does not deliver: until its next block it gets
// one at a time, and no piece is kept for it alone.
func (p *Picker) SetSlow(id SourceID) {
	p.sources[id].slow = true
	p.unreserve(id)
}

// unreserve frees the pieces that were to be asked of one source alone.
func (p *Picker) unreserve(id SourceID) {
	for _, pc := range p.open {
		if pc.only != nil && *pc.only == id {
			pc.only = nil
			p.epoch++
		}
	}
}

// Allow tells that the source answers requests for piece i at all times.
func (p *Picker) Allow(id SourceID, i int) {
	s := p.sources[id]
	if s.allowed == nil {
		s.allowed = map[int]bool{}
	}
	s.allowed[i], s.dry = true, 0
}

// SetHas replaces what the source has. The picker keeps set.
func (p *Picker) SetHas(id SourceID, set bitfield.Set) { p.setHas(p.sources[id], set) }

func (p *Picker) setHas(s *source, set bitfield.Set) {
	p.uncount(s)
	s.has, s.dry = set, 0
	p.count(s)
}

func (p *Picker) count(s *source) {
	if s.has.Len() > 0 && s.has.All() {
		s.seed = true
		p.seeds++
		return
	}
	for i := range s.has.Ones() {
		p.rarity.inc(i)
	}
}

func (p *Picker) uncount(s *source) {
	if s.seed {
		s.seed = false
		p.seeds--
		return
	}
	for i := range s.has.Ones() {
		p.rarity.dec(i)
	}
}

// Have records one more piece of a source.
func (p *Picker) Have(id SourceID, i int) {
	s := p.sources[id]
	if !s.has.Add(i) {
		return
	}
	s.dry = 0
	p.rarity.inc(i)
	if s.has.All() { // it is a seed now: count it as one
		for k := range s.has.Ones() {
			p.rarity.dec(k)
		}
		s.seed = true
		p.seeds++
	}
}

// Lacks records that a source has lost piece i. What it owes of it is free to be asked
// elsewhere, and returned.
func (p *Picker) Lacks(id SourceID, i int) []Assignment {
	s := p.sources[id]
	if !s.has.Has(i) {
		return nil
	}
	if s.seed { // it is counted with its pieces now
		s.seed = false
		p.seeds--
		for k := range s.has.Ones() {
			p.rarity.inc(k)
		}
	}
	s.has.Remove(i)
	delete(s.allowed, i)
	p.rarity.dec(i)
	return p.releaseIf(s, func(b Block) bool { return b.Piece == i })
}

// HasPiece reports whether the source has piece i.
func (p *Picker) HasPiece(id SourceID, i int) bool { return p.sources[id].has.Has(i) }

// IsSeed reports whether the source has everything.
func (p *Picker) IsSeed(id SourceID) bool { return p.sources[id].seed }

// Progress returns how many pieces the source has.
func (p *Picker) Progress(id SourceID) int { return p.sources[id].has.Count() }

// Useful reports whether the source has a piece that is not verified here.
func (p *Picker) Useful(id SourceID) bool {
	s := p.sources[id]
	if p.have.Count() == p.cfg.NumPieces {
		return false
	}
	return s.seed || s.has.HasOutside(p.have)
}

// Owes returns how many blocks the source owes, and since when it has delivered
// nothing while it owed something.
func (p *Picker) Owes(id SourceID) (blocks int, since time.Time) {
	s := p.sources[id]
	return len(s.out), s.pipe.at
}

// Rate returns the source's delivery rate in bytes per second and the shortest
// time it took to answer, both zero while unknown.
func (p *Picker) Rate(id SourceID) (rate float64, rtt time.Duration) {
	s := p.sources[id]
	return s.pipe.rate, s.pipe.rtt
}
