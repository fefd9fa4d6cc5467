package picker

import (
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/peerconn/bitfield"
)

// Connections take turns at a limit, however much each was asked for: of a source that
// delivers in its turns nothing is asked of another, of one that does not all is.
func TestLateUnderALimit(t *testing.T) {
	const pieces, limit = 24, 100_000
	for _, delivers := range []bool{true, false} {
		p, now := New(Config{NumPieces: pieces, PieceSize: func(int) int { return BlockSize }, Limit: limit}), time.Unix(1e9, 0)
		set := bitfield.New(pieces)
		set.Fill()
		attach := func(id SourceID) {
			p.Attach(id, true)
			p.SetHas(id, set.Clone())
			p.SetOpen(id, true)
			p.sources[id].pipe.least = pieces
		}
		var d Demand
		for i := range pieces {
			d.Urgent = append(d.Urgent, i)
		}
		p.SetDemand(d)
		attach(1)
		asked := p.Plan(now)
		attach(2)
		seconds := 0
		for _, a := range asked {
			now = now.Add(2 * BlockSize * time.Second / limit) // its turn: 2 has the other half
			seconds += len(p.Plan(now))
			if delivers && p.Received(now, 1, a.Block).Done {
				p.Complete(a.Piece)
			}
		}
		if p.check(t); len(asked) != pieces || (seconds > 0) == delivers {
			t.Errorf("delivers %t: of %d blocks asked for %d were asked for again", delivers, len(asked), seconds)
		}
	}
}
