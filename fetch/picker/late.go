package picker

import (
	"maps"
	"slices"
	"time"
)

const (
	// lateTick is how often late blocks are looked for while any can matter.
	lateTick = 50 * time.Millisecond
	// stuck is when a block is late whatever its source promised and whatever
	// second copies have cost so far.
	stuck = 3 * time.Second
)

// lateAfter is the grace that a block gets beyond twice the time that its
// source was expected to take.
var lateAfter = [...]time.Duration{
	Idle:       time.Second,
	Background: time.Second,
	Readahead:  300 * time.Millisecond,
	Urgent:     100 * time.Millisecond,
}

// late reports whether a block asked for under class c should be asked of a
// second source at now. One that delivers is not to be blamed for what the limit takes.
func (p *Picker) late(now time.Time, a ask, c Class) bool {
	waited := now.Sub(a.sample.at)
	if p.cfg.Limit > 0 {
		waited = min(waited, now.Sub(p.sources[a.source].pipe.at)) - a.limited
	}
	if waited > stuck {
		return true
	}
	return waited > 2*a.due.Sub(a.sample.at)+lateAfter[c] && p.thrift()
}

// thrift reports whether second copies have been cheap so far: they are bytes
// that the swarm sends for nothing.
func (p *Picker) thrift() bool { return p.seconds <= 32+p.received/256 }

// planLate asks second sources for the late blocks of piece i.
func (p *Picker) planLate(now time.Time, i int, c Class, out []Assignment) []Assignment {
	pc := p.open[i]
	if pc == nil {
		return out
	}
	var servers []*source
	for k := range pc.blocks {
		b := &pc.blocks[k]
		if b.here || b.n != 1 || !p.late(now, b.asks[0], c) {
			continue
		}
		if servers == nil {
			if servers = p.servers(i); len(servers) < 2 {
				return out
			}
		}
		s := p.soonest(now, servers, pc, k)
		if s == nil {
			return out
		}
		out = append(out, p.ask(now, s, pc, k, c))
	}
	return out
}

// endgame reports whether the fill has nothing left to ask for: what is missing
// is all on its way.
func (p *Picker) endgame() bool {
	return p.demand.Fill && len(p.open) > 0 && len(p.partial) == 0 && len(p.rarity.order) == 0
}

// planSeconds gives an idle source the late blocks of others, in the window and
// at the end of a fill (endgame).
func (p *Picker) planSeconds(now time.Time, s *source, queue time.Duration, out []Assignment) []Assignment {
	for _, r := range p.demand.Readahead {
		for i := r.First; i <= min(r.Last, r.First+8) && s.room(now, queue) > 0; i++ {
			out = p.second(now, s, i, queue, Readahead, out)
		}
	}
	if p.endgame() {
		for _, i := range p.openOrder() {
			if s.room(now, queue) <= 0 {
				break
			}
			out = p.second(now, s, i, queue, Background, out)
		}
	}
	return out
}

// openOrder returns the pieces begun, ascending.
func (p *Picker) openOrder() []int { return slices.Sorted(maps.Keys(p.open)) }

// second asks s for the late blocks of piece i that others owe.
func (p *Picker) second(now time.Time, s *source, i int, queue time.Duration, c Class, out []Assignment) []Assignment {
	pc := p.open[i]
	if pc == nil || !s.canServe(i) || pc.barred(s.id) {
		return out
	}
	for k := range pc.blocks {
		if s.room(now, queue) <= 0 {
			break
		}
		b := &pc.blocks[k]
		if !b.here && b.n == 1 && b.find(s.id) < 0 && !s.asked(Block{i, k}) && p.late(now, b.asks[0], c) {
			out = append(out, p.ask(now, s, pc, k, c))
		}
	}
	return out
}

// Deadline returns when Plan should run again although nothing happened: the
// next moment at which a block can be late. Zero: no such moment.
func (p *Picker) Deadline(now time.Time) time.Time {
	if len(p.urgent) == 0 && len(p.demand.Readahead) == 0 && !p.endgame() {
		return time.Time{}
	}
	for _, s := range p.sources {
		if s.pipe.inFlight > 0 {
			return now.Add(lateTick)
		}
	}
	return time.Time{}
}
