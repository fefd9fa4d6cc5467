package picker

import (
	"slices"
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/peerconn/bitfield"
)

// crowded is a picker with room for two of its four pieces, both of which are asked of
// source 1, because reads wait for them. Source 2 has pieces 2 and 3 alone.
func crowded(t *testing.T, now time.Time) *Picker {
	t.Helper()
	p := New(Config{NumPieces: 4, PieceSize: func(int) int { return 2 * BlockSize }, Seed: 1, MaxOpen: 4 * BlockSize})
	for id, pieces := range map[SourceID][]int{1: {0, 1}, 2: {2, 3}} {
		set := bitfield.New(4)
		for _, i := range pieces {
			set.Add(i)
		}
		p.Attach(id, true)
		p.SetHas(id, set)
	}
	p.SetOpen(1, true)
	p.SetDemand(Demand{Urgent: []int{0, 1, 2}})
	for range 4 {
		p.Plan(now)
	}
	if len(p.open) != 2 || p.open[2] != nil {
		t.Fatalf("%d pieces are begun", len(p.open))
	}
	p.SetOpen(2, true)
	return p
}

// asks reports whether Plan asks for a piece, and which pieces give way.
func asks(t *testing.T, p *Picker, now time.Time, piece int) (asked bool, gaveWay []int) {
	t.Helper()
	asked = slices.ContainsFunc(p.Plan(now), func(a Assignment) bool { return a.Piece == piece })
	p.check(t)
	return asked, p.GaveWay()
}

// Pieces that a liar does not deliver do not fill the bound on bytes for ever.
func TestIdlePiecesMakeWay(t *testing.T) {
	now := time.Unix(1e9, 0)
	p := crowded(t, now)
	if asked, gone := asks(t, p, now, 2); asked || gone != nil {
		t.Errorf("while pieces are on their way, another is begun: %v, and gone are %v", asked, gone)
	}
	p.Release(1)
	p.SetSlow(1)
	if asked, gone := asks(t, p, now, 2); !asked || len(gone) != 1 {
		t.Errorf("asked: %v, gone are %v", asked, gone)
	}
	if _, gone := asks(t, p, now, 2); gone != nil {
		t.Errorf("what gave way takes the place back: gone are %v", gone)
	}
}

// What is here of a piece is kept as long as somebody has the rest.
func TestBegunPiecesMakeWayWhenNobodyHasThem(t *testing.T) {
	now := time.Unix(1e9, 0)
	p := crowded(t, now)
	for i := range 2 {
		now = now.Add(20 * time.Millisecond)
		p.Received(now, 1, Block{i, 0})
	}
	p.Release(1)
	p.SetOpen(1, false)
	if asked, gone := asks(t, p, now, 2); asked || gone != nil {
		t.Errorf("of a source that chokes: asked %v, gone are %v", asked, gone)
	}
	p.Detach(1)
	if asked, gone := asks(t, p, now, 2); !asked || len(gone) != 1 {
		t.Errorf("of a source that is gone: asked %v, gone are %v", asked, gone)
	}
}
