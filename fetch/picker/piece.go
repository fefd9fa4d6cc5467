package picker

import (
	"slices"
	"time"
)

// piece is a piece that was begun and is not verified yet.
type piece struct {
	index  int
	blocks []block
	free   int       // blocks neither asked for nor here
	left   int       // blocks not here
	next   int       // no block before it is free
	only   *SourceID // when set, nobody else is asked
}

// block is the state of one block of an open piece.
type block struct {
	here bool
	from SourceID // who delivered it, when here
	n    uint8    // how many are asked, asks[:n]
	asks [2]ask
}

type ask struct {
	source  SourceID
	due     time.Time     // when it was expected at the time of asking
	second  bool          // another source owed the block already
	limited time.Duration // what the limit took for it and what it was behind
	sample  sample
}

func (b *block) find(id SourceID) int {
	for k := range b.n {
		if b.asks[k].source == id {
			return int(k)
		}
	}
	return -1
}

func (b *block) drop(k int) {
	if k == 0 {
		b.asks[0] = b.asks[1]
	}
	b.n--
}

func (p *Picker) openPiece(i int) *piece {
	if pc := p.open[i]; pc != nil {
		return pc
	}
	n := p.blocks(i)
	pc := &piece{index: i, blocks: make([]block, n), free: n, left: n}
	p.open[i] = pc
	p.rarity.remove(i)
	p.partial = append(p.partial, pc)
	p.openBytes += int64(p.cfg.PieceSize(i))
	return pc
}

// mayOpen reports whether a piece of class c may be begun now.
func (p *Picker) mayOpen(i int, c Class) bool {
	if p.open[i] != nil || len(p.open) == 0 {
		return true
	}
	limit := p.cfg.MaxOpen
	switch c {
	case Background:
		limit /= 2
	case Readahead:
		limit -= limit / 4
	}
	return p.openBytes+int64(p.cfg.PieceSize(i)) <= limit
}

// closePiece forgets an open piece and returns the requests that are still out.
func (p *Picker) closePiece(i int) []Assignment {
	pc := p.open[i]
	if pc == nil {
		return nil
	}
	var out []Assignment
	for k := range pc.blocks {
		b := &pc.blocks[k]
		for b.n > 0 {
			blk := Block{i, k}
			a := Assignment{Source: b.asks[0].source, Block: blk}
			out = append(out, a)
			p.sources[a.Source].withdrawn(blk, p.blockSize(blk))
			b.drop(0)
		}
	}
	delete(p.open, i)
	p.partial = slices.DeleteFunc(p.partial, func(x *piece) bool { return x == pc })
	p.openBytes -= int64(p.cfg.PieceSize(i))
	p.settled.Remove(i)
	p.rarity.insert(i)
	return out
}

// ask records that s is asked for block k of pc.
func (p *Picker) ask(now time.Time, s *source, pc *piece, k int, c Class) Assignment {
	b := &pc.blocks[k]
	blk := Block{pc.index, k}
	n := p.blockSize(blk)
	a := Assignment{Source: s.id, Block: blk, Class: c, Second: b.n > 0}
	due, sample := s.eta(now, n), s.pipe.sent(now, n)
	b.asks[b.n] = ask{source: s.id, due: due, second: a.Second, limited: p.limited(), sample: sample}
	b.n++
	s.out = append(s.out, blk)
	s.last = pc.index
	if !a.Second {
		pc.free--
		if pc.free == 0 {
			p.settle(pc)
		}
	} else {
		p.seconds++
	}
	return a
}

// settle takes a piece with nothing left to ask out of the partial ones.
func (p *Picker) settle(pc *piece) {
	p.settled.Add(pc.index)
	p.partial = slices.DeleteFunc(p.partial, func(x *piece) bool { return x == pc })
}

// unask frees block blk, which s owed: it will not deliver it, or is told not to.
func (p *Picker) unask(s *source, blk Block, withdraw bool) {
	pc := p.open[blk.Piece]
	if pc == nil {
		return
	}
	b := &pc.blocks[blk.Index]
	k := b.find(s.id)
	if k < 0 {
		return
	}
	b.drop(k)
	if n := p.blockSize(blk); withdraw {
		s.withdrawn(blk, n)
	} else {
		s.forget(blk)
		s.pipe.gone(n)
	}
	if b.n == 0 && !b.here {
		p.freed(pc, blk.Index)
	}
}

func (p *Picker) freed(pc *piece, k int) {
	if pc.free == 0 {
		p.settled.Remove(pc.index)
		p.partial = append(p.partial, pc)
	}
	pc.free++
	pc.next = min(pc.next, k)
	p.epoch++
}

// Receipt tells what a received block was good for.
type Receipt struct {
	Wanted bool         // it was owed and is the first copy
	Second bool         // it was asked for as a second copy: its bytes lie elsewhere
	Done   bool         // with it every block of the piece is here
	Cancel []Assignment // requests for the same block that are not needed any more
}

// Received records a block that a source delivered.
func (p *Picker) Received(now time.Time, id SourceID, blk Block) Receipt {
	s, pc := p.sources[id], p.open[blk.Piece]
	if s == nil || pc == nil {
		return Receipt{}
	}
	b := &pc.blocks[blk.Index]
	k := b.find(id)
	if k < 0 {
		delete(s.ghosts, blk)
		return Receipt{}
	}
	n := p.blockSize(blk)
	s.pipe.received(now, n, b.asks[k].sample)
	r := Receipt{Wanted: true, Second: b.asks[k].second}
	b.drop(k)
	s.forget(blk)
	s.slow = false
	for b.n > 0 {
		o := p.sources[b.asks[0].source]
		r.Cancel = append(r.Cancel, Assignment{Source: o.id, Block: blk})
		o.withdrawn(blk, n)
		b.drop(0)
	}
	b.here, b.from = true, id
	pc.left--
	p.received++
	r.Done = pc.left == 0
	return r
}

// Rejected records that a source will not deliver a block that it owed, or has
// answered for one that was withdrawn.
func (p *Picker) Rejected(id SourceID, blk Block) {
	s := p.sources[id]
	switch {
	case s == nil:
	case s.ghosts[blk]:
		delete(s.ghosts, blk)
		p.epoch++
	default:
		p.unask(s, blk, false)
	}
}

// Sources returns who delivered each block of an open piece that is all here.
func (p *Picker) Sources(i int) []SourceID {
	pc := p.open[i]
	if pc == nil {
		return nil
	}
	ids := make([]SourceID, len(pc.blocks))
	for k := range pc.blocks {
		ids[k] = pc.blocks[k].from
	}
	return ids
}

// Failed begins piece i again after its bytes did not match their hash. With
// only set it is asked of that source alone, so that a further failure has one
// culprit; the restriction ends when that source goes.
func (p *Picker) Failed(i int, only *SourceID) {
	p.closePiece(i)
	pc := p.openPiece(i)
	pc.only = only
	p.epoch++
}
