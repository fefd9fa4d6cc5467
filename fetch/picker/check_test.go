package picker

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/peerconn/bitfield"
)

// check panics when the picker's state contradicts itself.
func (p *Picker) check(t *testing.T) {
	t.Helper()
	p.rarity.check()
	var openBytes int64
	owed := map[SourceID]int{}
	partial := map[int]bool{}
	for _, pc := range p.partial {
		partial[pc.index] = true
	}
	for i, pc := range p.open {
		openBytes += int64(p.cfg.PieceSize(i))
		free, left := 0, 0
		for k := range pc.blocks {
			b := &pc.blocks[k]
			if !b.here {
				left++
				if b.n == 0 {
					free++
					if k < pc.next {
						t.Fatalf("piece %d: block %d is free before next %d", i, k, pc.next)
					}
				}
			} else if b.n != 0 {
				t.Fatalf("piece %d: block %d is here and owed", i, k)
			}
			for a := range b.n {
				owed[b.asks[a].source]++
			}
		}
		if free != pc.free || left != pc.left {
			t.Fatalf("piece %d: free %d left %d, counted %d %d", i, pc.free, pc.left, free, left)
		}
		if p.have.Has(i) || p.settled.Has(i) != (free == 0) || partial[i] != (free > 0) || p.rarity.pos[i] >= 0 {
			t.Fatalf("piece %d: have %t settled %t partial %t free %d", i, p.have.Has(i), p.settled.Has(i), partial[i], free)
		}
	}
	if openBytes != p.openBytes || len(partial) != len(p.partial) {
		t.Fatalf("open bytes %d, counted %d", p.openBytes, openBytes)
	}
	for id, s := range p.sources {
		if owed[id] != len(s.out) || s.pipe.inFlight != len(s.out) {
			t.Fatalf("source %d: owes %d, out %d, in flight %d", id, owed[id], len(s.out), s.pipe.inFlight)
		}
	}
	for i := range p.cfg.NumPieces {
		avail := 0
		for _, s := range p.sources {
			if s.has.Has(i) {
				avail++
			}
		}
		if p.Availability(i) != avail {
			t.Fatalf("piece %d: availability %d, counted %d", i, p.Availability(i), avail)
		}
		if missing := !p.have.Has(i) && p.open[i] == nil; missing != (p.rarity.pos[i] >= 0) {
			t.Fatalf("piece %d: missing %t, in rarity %t", i, missing, p.rarity.pos[i] >= 0)
		}
	}
}

// world drives a picker with random events, as a swarm would.
type world struct {
	*Picker
	t    *testing.T
	rnd  *rand.Rand
	now  time.Time
	next SourceID
	owed map[Assignment]bool // by source and block
	done map[int]bool        // pieces that are all here and not judged yet
}

func key(a Assignment) Assignment { return Assignment{Source: a.Source, Block: a.Block} }

func (w *world) plan() {
	for _, a := range w.Plan(w.now) {
		s := w.sources[a.Source]
		if !s.has.Has(a.Piece) || !s.open || w.have.Has(a.Piece) || w.done[a.Piece] {
			w.t.Fatalf("asked %+v of a source that cannot or need not serve it", a)
		}
		if w.owed[key(a)] {
			w.t.Fatalf("asked %+v twice of one source", a)
		}
		w.owed[key(a)] = true
	}
}

func (w *world) drop(list []Assignment) {
	for _, a := range list {
		delete(w.owed, key(a))
	}
}

func (w *world) any() (SourceID, bool) {
	if len(w.ids) == 0 {
		return 0, false
	}
	return w.ids[w.rnd.IntN(len(w.ids))], true
}

func (w *world) step() {
	w.now = w.now.Add(time.Duration(w.rnd.IntN(200)) * time.Millisecond)
	id, some := w.any()
	n := w.cfg.NumPieces
	switch op := w.rnd.IntN(20); {
	case op == 0 && len(w.ids) < 6 || !some:
		w.next++
		w.Attach(w.next, false)
		set := bitfield.New(n)
		for i := range n {
			if w.rnd.IntN(3) > 0 {
				set.Add(i)
			}
		}
		w.SetHas(w.next, set)
		w.SetOpen(w.next, true)
	case op == 1 && w.rnd.IntN(4) == 0:
		for a := range w.owed {
			if a.Source == id {
				delete(w.owed, a)
			}
		}
		w.Detach(id)
	case op == 2:
		w.Have(id, w.rnd.IntN(n))
	case op == 3:
		w.drop(w.Release(id))
		w.SetSlow(id)
	case op == 4:
		d := Demand{Fill: w.rnd.IntN(3) > 0}
		for range w.rnd.IntN(3) {
			d.Urgent = append(d.Urgent, w.rnd.IntN(n))
			first := w.rnd.IntN(n)
			d.Readahead = append(d.Readahead, Range{first, min(first+w.rnd.IntN(5), n-1)})
		}
		w.SetDemand(d)
	case op == 5 && w.have.Count() > 0:
		for i := range w.have.Ones() {
			w.Lost(i)
			break
		}
	case op == 6:
		for i := range w.done { // bad
			delete(w.done, i)
			w.Failed(i, &id)
			break
		}
	case op < 9:
		for i := range w.done { // good
			delete(w.done, i)
			w.drop(w.Complete(i))
			break
		}
	default:
		w.answer(op == 9)
	}
}

// answer has some source deliver or reject what it owes longest.
func (w *world) answer(reject bool) {
	id, some := w.any()
	if !some || len(w.sources[id].out) == 0 {
		return
	}
	b := w.sources[id].out[0]
	delete(w.owed, Assignment{Source: id, Block: b})
	if reject {
		w.Rejected(id, b)
		return
	}
	r := w.Received(w.now, id, b)
	if !r.Wanted {
		w.t.Fatalf("block %+v was owed and is not wanted", b)
	}
	w.drop(r.Cancel)
	if r.Done {
		w.done[b.Piece] = true
	}
}

func TestRandomEventsKeepInvariants(t *testing.T) {
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		n := 1 + rnd.IntN(40)
		size := 1 + rnd.IntN(5*BlockSize)
		w := &world{
			Picker: New(Config{NumPieces: n, PieceSize: func(i int) int {
				if i == n-1 {
					return 1 + size/2
				}
				return size
			}, Seed: seed, MaxOpen: int64(10 * size)}),
			t: t, rnd: rnd, now: time.Unix(1e9, 0), owed: map[Assignment]bool{}, done: map[int]bool{},
		}
		for range 1500 {
			w.step()
			w.check(t)
			w.plan()
			w.check(t)
		}
	}
}

// TestDrains proves liveness: once all others are gone, a source that has
// everything and delivers completes a fill, whatever happened before.
func TestDrains(t *testing.T) {
	for seed := range uint64(30) {
		rnd := rand.New(rand.NewPCG(seed, 8))
		n := 1 + rnd.IntN(40)
		w := &world{
			Picker: New(Config{NumPieces: n, PieceSize: func(int) int { return 3 * BlockSize }, Seed: seed, MaxOpen: 6 * 3 * BlockSize}),
			t:      t, rnd: rnd, now: time.Unix(1e9, 0), owed: map[Assignment]bool{}, done: map[int]bool{},
		}
		for range 300 {
			w.step()
			w.plan()
		}
		for len(w.ids) > 0 { // the swarm drops those who do not deliver
			w.Detach(w.ids[0])
		}
		clear(w.owed)
		w.next++
		w.Attach(w.next, false)
		all := bitfield.New(n)
		all.Fill()
		w.SetHas(w.next, all)
		w.SetOpen(w.next, true)
		w.SetDemand(Demand{Fill: true})
		for range 100 * n {
			w.now = w.now.Add(100 * time.Millisecond)
			w.plan()
			for i := range w.done {
				delete(w.done, i)
				w.drop(w.Complete(i))
			}
			s := w.sources[w.next]
			if len(s.out) == 0 {
				continue
			}
			b := s.out[0]
			delete(w.owed, Assignment{Source: s.id, Block: b})
			r := w.Received(w.now, s.id, b)
			w.drop(r.Cancel)
			if r.Done {
				w.done[b.Piece] = true
			}
		}
		if w.Count() != n {
			t.Fatalf("seed %d: %d of %d pieces after all", seed, w.Count(), n)
		}
	}
}
