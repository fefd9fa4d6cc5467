package picker

import (
	"slices"
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/peerconn/bitfield"
)

// The blocks that the demand names are asked for first, then those behind them, then
// the rest of the piece, each once.
func TestBlocksFirst(t *testing.T) {
	const blocks = 20
	for name, d := range map[string]Demand{
		"urgent":    {Urgent: []int{1}},
		"readahead": {Readahead: []Range{{1, 1}}},
	} {
		d.Blocks = map[int][]Range{1: {{12, 13}, {5, 6}, {18, 30}}}
		p := New(Config{NumPieces: 2, PieceSize: func(int) int { return blocks * BlockSize }, Seed: 1})
		set := bitfield.New(2)
		set.Fill()
		p.Attach(1, true)
		p.SetHas(1, set)
		p.SetOpen(1, true)
		p.SetDemand(d)
		now := time.Unix(1e9, 0)
		var got []int
		for range 10 * blocks {
			now = now.Add(time.Millisecond)
			for _, a := range p.Plan(now) {
				got = append(got, a.Index)
				if a.Second {
					t.Fatalf("%s: block %d twice", name, a.Index)
				}
				now = now.Add(time.Millisecond)
				if p.Received(now, 1, a.Block); !p.Here(a.Block) {
					t.Fatalf("%s: block %d is not here", name, a.Index)
				}
			}
		}
		want := []int{12, 13, 5, 6, 18, 19, 0, 1, 2, 3, 4, 7, 8, 9, 10, 11, 14, 15, 16, 17}
		if !slices.Equal(got, want) {
			t.Errorf("%s: asked for\n%v, want\n%v", name, got, want)
		}
	}
}
