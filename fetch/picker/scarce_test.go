package picker

import (
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/peerconn/bitfield"
)

// What a swarm's only seed sends once, the others can send on. It is asked for
// nothing that they have, while there is anything else.
func TestSeedIsAskedForWhatOnlyItHas(t *testing.T) {
	const pieces = 6
	now := time.Unix(1e9, 0)
	p := New(Config{NumPieces: pieces, PieceSize: func(int) int { return 8 * BlockSize }, Seed: 1})
	attach := func(id SourceID, has ...int) {
		set := bitfield.New(pieces)
		for _, i := range has {
			set.Add(i)
		}
		p.Attach(id, true)
		p.SetHas(id, set)
		p.SetOpen(id, true)
	}
	attach(1, 0, 1)
	p.SetDemand(Demand{Fill: true})
	begun := p.Plan(now)
	if len(begun) == 0 || begun[0].Piece > 1 {
		t.Fatalf("asked of the first: %v", begun)
	}
	attach(2, 0, 1, 2, 3, 4, 5)
	asked := map[int]int{}
	for range 100 {
		for _, a := range p.Plan(now) {
			if a.Source != 2 {
				continue
			}
			asked[a.Piece]++
			if others := p.Availability(a.Piece) - 1; others > 0 && len(asked) < 5 {
				t.Fatalf("the seed is asked for piece %d, which another has, after %v", a.Piece, asked)
			}
			now = now.Add(20 * time.Millisecond)
			if p.Received(now, 2, a.Block).Done {
				p.Complete(a.Piece)
			}
		}
	}
	if len(asked) != 6 || p.Count() != 5 {
		t.Errorf("asked for %v in the end, %d pieces here", asked, p.Count())
	}
}
