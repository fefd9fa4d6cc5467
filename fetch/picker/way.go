package picker

import "time"

// makeWay lets pieces go until the piece i, for which a read waits, may be begun, and
// reports whether it may. Without that, pieces that a read waits for and that a liar
// says to have, or whose sources have left, would fill the bound on bytes for ever, and
// no other read would end.
func (p *Picker) makeWay(i int) bool {
	for !p.mayOpen(i, Urgent) {
		pc := p.idle()
		if pc == nil {
			return false
		}
		p.closePiece(pc.index)
		p.gaveWay = append(p.gaveWay, pc.index)
		p.epoch++
	}
	return true
}

// idle returns a piece of which nothing is on its way, nil when there is none. One of
// which blocks are here is not idle as long as somebody has the rest.
func (p *Picker) idle() *piece {
	var begun *piece
	for _, pc := range p.partial {
		switch {
		case pc.free < pc.left || pc.only != nil:
		case pc.left == len(pc.blocks):
			return pc
		case begun == nil && p.Availability(pc.index) == 0:
			begun = pc
		}
	}
	return begun
}

// GaveWay returns the pieces that Plan has let go since the last call: their blocks are
// lost, and nothing is asked for of them.
func (p *Picker) GaveWay() []int {
	out := p.gaveWay
	p.gaveWay = nil
	return out
}

// mayAsk reports whether any of the sources may be asked for a block of piece i, which is
// not begun, for a read that waits.
func (p *Picker) mayAsk(now time.Time, servers []*source, i int) bool {
	for _, s := range servers {
		if s.roomForReads(now) <= 0 {
			continue
		}
		for k := range p.blocks(i) {
			if !s.asked(Block{i, k}) {
				return true
			}
		}
	}
	return false
}
