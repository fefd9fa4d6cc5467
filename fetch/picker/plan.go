package picker

import (
	"math"
	"slices"
	"time"
)

const (
	// A peer answers in order, so what is queued there beyond the link's own delay
	// is latency for the next read, and too little of it leaves the link idle.
	//
	// deepQueue is how much waiting a block may find in front of it at its source
	// when it is wanted, or when nobody reads. shallowQueue is that of a fill while
	// reads come and go, briefQueue while one waits. No queue at all, not even for
	// answers in pulses, is left to a fill beside who reads here and there: each of
	// his reads has to go behind it.
	deepQueue    = 150 * time.Millisecond
	shallowQueue = 30 * time.Millisecond
	briefQueue   = time.Millisecond
	noQueue      = 0

	// calmAfter is how long no read has to wait for the fill to go deep.
	calmAfter = 3 * time.Second

	// manyJumps in a row are more than a player makes when it opens a film: it reads
	// the head, the index at the end, and on from the head.
	manyJumps = 3

	// scanLimit bounds how many pieces one source's search for the rarest looks
	// at before it takes any piece that the source has.
	scanLimit = 2048
)

// Plan returns the requests to make now. They count as made.
func (p *Picker) Plan(now time.Time) []Assignment {
	var out []Assignment
	out = p.planUrgent(now, out)
	p.budget = p.allowance()
	ahead, fill := p.queues(now)
	for _, id := range p.ids {
		s := p.sources[id]
		if !s.open && len(s.allowed) == 0 || s.room(now, deepQueue) <= 0 || s.slow && p.awaits(s) {
			continue
		}
		if s.dry != p.epoch+1 {
			out = p.planRanges(now, s, p.demand.Readahead, ahead, Readahead, out)
			out = p.planBackground(now, s, fill, out)
		}
		if s.room(now, fill) > 0 {
			if !p.full() {
				s.dry = p.epoch + 1
			}
			out = p.planSeconds(now, s, fill, out)
		}
	}
	return out
}

// awaits reports whether a read waits for what s could be asked for. A slow source is asked
// for one block at a time, so that it has to be that one, as soon as it may be asked again.
func (p *Picker) awaits(s *source) bool {
	return slices.ContainsFunc(p.demand.Urgent, func(i int) bool {
		pc := p.open[i]
		return !p.have.Has(i) && s.canServe(i) && (pc == nil || pc.free > 0 && !pc.barred(s.id))
	})
}

// queues returns how much waiting readahead and the fill may put into the sources' queues.
func (p *Picker) queues(now time.Time) (ahead, fill time.Duration) {
	wait := len(p.urgent) > 0
	if wait {
		p.lastUrgent = now
	}
	switch {
	case len(p.demand.Readahead) > 0:
		p.jumps = 0
	case wait && !p.waited:
		p.jumps++
	}
	p.waited = wait
	recent := !p.lastUrgent.IsZero() && now.Sub(p.lastUrgent) < calmAfter
	switch {
	case recent && p.jumps >= manyJumps:
		return deepQueue, noQueue
	case wait:
		return deepQueue, briefQueue
	case recent:
		return deepQueue, shallowQueue
	case len(p.demand.Rest) > 0:
		// Somebody reads on and has enough in front of him. He may jump.
		return shallowQueue, shallowQueue
	default:
		return deepQueue, deepQueue
	}
}

// limitQueue is how long a limit's queue may be.
const limitQueue = 500 * time.Millisecond

// allowance returns how many more bytes may be asked for that no read waits for.
func (p *Picker) allowance() int64 {
	if p.cfg.Limit == 0 {
		return math.MaxInt64
	}
	return max(int64(float64(p.cfg.Limit)*limitQueue.Seconds()), initialDepth*BlockSize) - p.inFlight()
}

// inFlight returns how many bytes all sources owe.
func (p *Picker) inFlight() (bytes int64) {
	for _, s := range p.sources {
		bytes += s.pipe.bytes
	}
	return bytes
}

// limited returns how long the limit takes for all that was asked for.
func (p *Picker) limited() time.Duration {
	if p.cfg.Limit == 0 {
		return 0
	}
	return time.Duration(float64(p.inFlight()) / float64(p.cfg.Limit) * float64(time.Second))
}

// full reports whether pieces are kept from being begun by a bound on bytes,
// which can change without anything becoming free to ask.
func (p *Picker) full() bool {
	return p.budget <= 0 || len(p.open) > 0 && 2*(p.openBytes+int64(p.longest)) > p.cfg.MaxOpen
}

func (p *Picker) planUrgent(now time.Time, out []Assignment) []Assignment {
	for _, i := range p.demand.Urgent {
		if p.have.Has(i) {
			continue
		}
		if pc := p.open[i]; pc == nil || pc.free > 0 {
			out = p.planPiece(now, i, out)
		}
		out = p.planLate(now, i, Urgent, out)
	}
	return out
}

// planPiece asks for the free blocks of an urgent piece, each from the source
// that will deliver it first.
func (p *Picker) planPiece(now time.Time, i int, out []Assignment) []Assignment {
	servers := p.servers(i)
	if len(servers) == 0 {
		return out
	}
	if p.open[i] == nil && !(p.mayAsk(now, servers, i) && p.makeWay(i)) {
		return out
	}
	pc := p.openPiece(i)
	for k := range p.first(pc) {
		s := p.soonest(now, servers, pc, k)
		if s == nil {
			return out
		}
		out = append(out, p.ask(now, s, pc, k, Urgent))
	}
	for ; pc.free > 0 && pc.next < len(pc.blocks); pc.next++ {
		b := &pc.blocks[pc.next]
		if b.here || b.n > 0 {
			continue
		}
		s := p.soonest(now, servers, pc, pc.next)
		if s == nil {
			break
		}
		out = append(out, p.ask(now, s, pc, pc.next, Urgent))
	}
	return out
}

// servers returns the sources that answer requests for piece i.
func (p *Picker) servers(i int) []*source {
	var list []*source
	for _, id := range p.ids {
		if s := p.sources[id]; s.canServe(i) {
			list = append(list, s)
		}
	}
	return list
}

// soonest returns the source among servers with room that will deliver block k
// of pc first, nil when none has room. Sources that were asked already are left
// out.
func (p *Picker) soonest(now time.Time, servers []*source, pc *piece, k int) *source {
	var best *source
	var at time.Time
	blk := Block{pc.index, k}
	n := p.blockSize(blk)
	for _, s := range servers {
		if s.roomForReads(now) <= 0 || pc.barred(s.id) || s.asked(blk) || pc.blocks[k].find(s.id) >= 0 {
			continue
		}
		if eta := s.eta(now, n); best == nil || eta.Before(at) {
			best, at = s, eta
		}
	}
	return best
}

// barred reports whether the piece must not be asked of the source.
func (pc *piece) barred(id SourceID) bool { return pc.only != nil && *pc.only != id }

// planRanges asks s for what is free in ranges of pieces, in order.
func (p *Picker) planRanges(now time.Time, s *source, ranges []Range, queue time.Duration, c Class, out []Assignment) []Assignment {
	for _, r := range ranges {
		for i := p.settled.NextClear(r.First); i >= 0 && i <= r.Last; i = p.settled.NextClear(i + 1) {
			if p.budget <= 0 || s.room(now, queue) <= 0 {
				return out
			}
			if !s.canServe(i) {
				continue
			}
			if !p.mayOpen(i, c) {
				return out
			}
			out = p.take(now, s, p.openPiece(i), queue, c, out)
		}
	}
	return out
}

// take asks s for free blocks of pc, in order, while it has room.
func (p *Picker) take(now time.Time, s *source, pc *piece, queue time.Duration, c Class, out []Assignment) []Assignment {
	if pc.barred(s.id) {
		return out
	}
	for k := range p.first(pc) {
		if s.room(now, queue) <= 0 {
			return out
		}
		if !s.asked(Block{pc.index, k}) {
			out = append(out, p.ask(now, s, pc, k, c))
		}
	}
	skipped := false
	for k := pc.next; pc.free > 0 && k < len(pc.blocks) && p.budget > 0 && s.room(now, queue) > 0; k++ {
		switch b := &pc.blocks[k]; {
		case b.here || b.n > 0:
		case s.asked(Block{pc.index, k}):
			skipped = true
		default:
			out = append(out, p.ask(now, s, pc, k, c))
			p.budget -= BlockSize
		}
		if !skipped {
			pc.next = k + 1
		}
	}
	return out
}

func (p *Picker) planBackground(now time.Time, s *source, queue time.Duration, out []Assignment) []Assignment {
	if p.demand.Fill {
		out = p.planRanges(now, s, p.demand.Next, queue, Background, out)
		if p.seeds == len(p.sources) { // nobody is there to whom a rare piece is of use
			out = p.planRanges(now, s, p.demand.Rest, queue, Background, out)
		}
		out = p.planScarce(now, s, queue, out)
	}
	out = p.planRanges(now, s, p.demand.Some, queue, Background, out)
	// What is begun is finished first, also when nobody wants it any more: its
	// bytes are spent already.
	out = p.planPartial(now, s, queue, out, func(int) bool { return true })
	for p.demand.Fill && s.room(now, queue) > 0 && !p.full() {
		i := p.next(s)
		if i < 0 {
			break
		}
		out = p.take(now, s, p.openPiece(i), queue, Background, out)
	}
	return out
}

// planScarce asks a seed for what only seeds have, so that the next to want it can
// have it of us. What is begun and others have too is left to them: a swarm lives on
// what is new from its seed.
func (p *Picker) planScarce(now time.Time, s *source, queue time.Duration, out []Assignment) []Assignment {
	if !s.seed || !s.open {
		return out
	}
	out = p.planPartial(now, s, queue, out, p.scarce)
	for s.room(now, queue) > 0 && !p.full() && len(p.rarity.order) > 0 && p.scarce(int(p.rarity.order[0])) {
		before, i := len(out), int(p.rarity.order[0])
		if next, ok := p.following(s); ok && p.scarce(next) {
			i = next
		}
		if out = p.take(now, s, p.openPiece(i), queue, Background, out); len(out) == before {
			break
		}
	}
	return out
}

// scarce reports whether nobody but seeds has piece i.
func (p *Picker) scarce(i int) bool { return p.rarity.count[i] == 0 }

// planPartial asks s for what is free in pieces that are begun, those that are
// meant.
func (p *Picker) planPartial(now time.Time, s *source, queue time.Duration, out []Assignment, meant func(i int) bool) []Assignment {
	for at := 0; at < len(p.partial) && s.room(now, queue) > 0; at++ {
		pc := p.partial[at]
		if !s.canServe(pc.index) || !meant(pc.index) {
			continue
		}
		out = p.take(now, s, pc, queue, Background, out)
		if pc.free == 0 { // it left the list
			at--
		}
	}
	return out
}

// next returns the piece not begun that s is to be asked for next, or -1.
func (p *Picker) next(s *source) int {
	if i, ok := p.following(s); ok {
		return i
	}
	return p.rarest(s)
}

// following returns the piece that follows on what a source was asked for last, if it
// delivers in order and that piece is not begun.
func (p *Picker) following(s *source) (i int, ok bool) {
	i = s.last + 1
	return i, s.inOrder && i < p.cfg.NumPieces && p.rarity.pos[i] >= 0 && s.canServe(i)
}

// rarest returns the rarest piece not begun that s serves, or -1.
func (p *Picker) rarest(s *source) int {
	for at, i := range p.rarity.order {
		if at == scanLimit {
			break
		}
		if s.canServe(int(i)) {
			return int(i)
		}
	}
	if len(p.rarity.order) > scanLimit {
		for i := range s.has.Ones() {
			if p.rarity.pos[i] >= 0 && s.canServe(i) {
				return i
			}
		}
	}
	return -1
}
