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

// While somebody reads on, no more is queued at the sources than keeps them busy: a jump
// has to go behind it.
func TestQueuesAreShortBesideReaders(t *testing.T) {
	now := time.Unix(1e9, 0)
	p := New(Config{NumPieces: 9, PieceSize: func(int) int { return BlockSize }})
	says := func(when string, ahead, fill time.Duration) {
		t.Helper()
		if a, f := p.queues(now); a != ahead || f != fill {
			t.Errorf("%s: %v for readahead, %v for the fill", when, a, f)
		}
	}
	says("nobody reads", deepQueue, deepQueue)
	p.SetDemand(Demand{Fill: true, Rest: []Range{{0, 8}}})
	says("somebody reads on", shallowQueue, shallowQueue)
	p.SetDemand(Demand{Fill: true, Rest: []Range{{0, 8}}, Urgent: []int{3}})
	says("and waits", deepQueue, briefQueue)
	p.SetDemand(Demand{Fill: true, Rest: []Range{{0, 8}}})
	now = now.Add(calmAfter / 2)
	says("and has just waited", deepQueue, shallowQueue)
	now = now.Add(calmAfter)
	says("and has waited once", shallowQueue, shallowQueue)
}

// Whoever reads here and there has each of his reads behind the queues of the fill, so
// there are none; until somebody reads on, or nobody reads.
func TestNoQueuesBesideJumps(t *testing.T) {
	now := time.Unix(1e9, 0)
	p := New(Config{NumPieces: 9, PieceSize: func(int) int { return BlockSize }})
	jump := func(piece int) (waiting, then time.Duration) {
		p.SetDemand(Demand{Fill: true, Urgent: []int{piece}})
		_, waiting = p.queues(now)
		p.SetDemand(Demand{Fill: true})
		_, then = p.queues(now)
		return waiting, then
	}
	for n := 1; n <= manyJumps+1; n++ {
		wantWaiting, wantThen := time.Duration(briefQueue), time.Duration(shallowQueue)
		if n >= manyJumps {
			wantWaiting, wantThen = noQueue, noQueue
		}
		if waiting, then := jump(n); waiting != wantWaiting || then != wantThen {
			t.Errorf("jump %d: a queue of %v while it waits, %v then", n, waiting, then)
		}
	}
	p.SetDemand(Demand{Fill: true, Urgent: []int{3}, Readahead: []Range{{4, 6}}})
	if _, fill := p.queues(now); fill != briefQueue {
		t.Errorf("%v when he reads on", fill)
	}
	jump(5)
	now = now.Add(calmAfter)
	if _, fill := p.queues(now); fill != deepQueue {
		t.Errorf("%v when nobody has read for long", fill)
	}
}

// Without a queue not even answers in pulses have more on the way than the link holds.
func TestNoQueueNoBurst(t *testing.T) {
	now := time.Unix(1e9, 0)
	p := pipeline{rate: 10 * BlockSize, rtt: 500 * time.Millisecond, rttAt: now, burst: 7}
	if n := p.depth(now, noQueue); n != 5 {
		t.Errorf("%d blocks in flight without a queue, want 5", n)
	}
	if n := p.depth(now, briefQueue); n != 12 {
		t.Errorf("%d blocks in flight with a brief one, want 12", n)
	}
}
