package picker

import "iter"

// first yields the free blocks of a piece that the demand names, and those behind
// the last of them, in order.
func (p *Picker) first(pc *piece) iter.Seq[int] {
	return func(yield func(int) bool) {
		ranges := p.demand.Blocks[pc.index]
		for i, r := range ranges {
			last := min(r.Last, len(pc.blocks)-1)
			if i == len(ranges)-1 {
				last = len(pc.blocks) - 1
			}
			for k := max(r.First, pc.next); k <= last && pc.free > 0; k++ {
				if b := &pc.blocks[k]; !b.here && b.n == 0 && !yield(k) {
					return
				}
			}
		}
	}
}

// Here reports whether a block of a piece that is not verified yet lies in its
// buffer.
func (p *Picker) Here(b Block) bool {
	pc := p.open[b.Piece]
	return pc != nil && b.Index < len(pc.blocks) && pc.blocks[b.Index].here
}
