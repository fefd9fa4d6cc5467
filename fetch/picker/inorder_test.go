package picker

import (
	"slices"
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/peerconn/bitfield"
)

// inOrder is a picker of pieces of four blocks with one source that has everything and
// delivers in order.
func inOrder(pieces int) *Picker {
	p := New(Config{NumPieces: pieces, PieceSize: func(int) int { return 4 * BlockSize }, Seed: 1})
	set := bitfield.New(pieces)
	set.Fill()
	p.Attach(1, true)
	p.SetInOrder(1)
	p.SetHas(1, set)
	p.SetOpen(1, true)
	return p
}

// The fill asks a web server for one piece behind the other, for several at first, and
// goes on behind what a read has asked for.
func TestFillGoesInOrder(t *testing.T) {
	now := time.Unix(1e9, 0)
	p := inOrder(100)
	p.SetDemand(Demand{Fill: true})
	var order []int
	deliver := func(list []Assignment) {
		for _, a := range list {
			if len(order) == 0 || order[len(order)-1] != a.Piece {
				order = append(order, a.Piece)
			}
			now = now.Add(time.Millisecond)
			if p.Received(now, 1, a.Block).Done {
				p.Complete(a.Piece)
			}
		}
		p.check(t)
	}
	first := p.Plan(now)
	if len(first) != runDepth {
		t.Errorf("%d blocks asked for at first", len(first))
	}
	deliver(first)
	if !slices.Equal(order, []int{0, 1, 2, 3}) {
		t.Errorf("asked for %v", order)
	}
	p.SetDemand(Demand{Fill: true, Urgent: []int{50}})
	deliver(p.Plan(now))
	p.SetDemand(Demand{Fill: true})
	now = now.Add(calmAfter)
	order = nil
	deliver(p.Plan(now))
	if len(order) == 0 || order[0] != 51 {
		t.Errorf("after the read of piece 50 asked for %v", order)
	}
	for p.Count() < 100 {
		deliver(p.Plan(now))
	}
}

// So it does where what it has is nothing that only seeds have.
func TestFillGoesInOrderBesidePeers(t *testing.T) {
	now := time.Unix(1e9, 0)
	p := inOrder(100)
	has := bitfield.New(100)
	has.Fill()
	has.Remove(99)
	p.Attach(2, true)
	p.SetHas(2, has)
	p.SetDemand(Demand{Fill: true, Urgent: []int{50}})
	for _, a := range p.Plan(now) {
		if p.Received(now, 1, a.Block).Done {
			p.Complete(a.Piece)
		}
	}
	p.Complete(99)
	p.SetDemand(Demand{Fill: true})
	var order []int
	for _, a := range p.Plan(now.Add(calmAfter)) {
		order = append(order, a.Piece)
	}
	if order = slices.Compact(order); !slices.Equal(order, []int{51, 52, 53, 54}) {
		t.Errorf("asked for %v", order)
	}
}

// A read that comes gets its blocks asked for although the fill has taken all room: at a
// web server they do not stand in one queue. While reads come the fill takes little.
func TestReadsHaveRoomBesideRuns(t *testing.T) {
	now := time.Unix(1e9, 0)
	p := inOrder(100)
	p.SetDemand(Demand{Fill: true})
	p.Plan(now)
	p.SetDemand(Demand{Fill: true, Urgent: []int{50, 51, 52, 53, 54, 55}})
	asked := p.Plan(now)
	if len(asked) != runDepth || asked[0].Piece != 50 || asked[len(asked)-1].Class != Urgent {
		t.Errorf("asked for %v", asked)
	}
	if more := p.Plan(now); len(more) > 0 {
		t.Errorf("without bound: %v", more)
	}
	p = inOrder(100)
	p.SetDemand(Demand{Fill: true, Urgent: []int{50}})
	if asked := p.Plan(now); len(asked) > 4 {
		t.Errorf("beside a read the fill asks for %v", asked)
	}
}
