package picker

import (
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/peerconn/bitfield"
)

// With seeds alone the fill goes on from where the reader is; with anybody else there it
// takes what is rare.
func TestRest(t *testing.T) {
	const pieces, from = 100, 40
	for _, onlySeeds := range []bool{true, false} {
		now := time.Unix(1e9, 0)
		p := New(Config{NumPieces: pieces, PieceSize: func(int) int { return 2 * BlockSize }, Seed: 1})
		all := bitfield.New(pieces)
		all.Fill()
		attach := func(id SourceID, has bitfield.Set) {
			p.Attach(id, true)
			p.SetHas(id, has)
			p.SetOpen(id, true)
		}
		attach(1, all)
		attach(2, all)
		if !onlySeeds {
			some := all.Clone()
			some.Remove(3)
			attach(3, some)
		}
		p.SetDemand(Demand{Fill: true, Rest: []Range{{First: from, Last: pieces - 1}}})
		inOrder, rest := true, map[int]bool{}
		for len(rest) < pieces-from {
			for _, a := range p.Plan(now) {
				if a.Piece < from {
					inOrder = inOrder && len(rest) == pieces-from
				} else {
					rest[a.Piece] = true
				}
				now = now.Add(20 * time.Millisecond)
				if p.Received(now, a.Source, a.Block).Done {
					p.Complete(a.Piece)
				}
			}
		}
		if inOrder != onlySeeds {
			t.Errorf("only seeds: %v, in order: %v", onlySeeds, inOrder)
		}
	}
}
