package fetch

import (
	"github.com/qqbtfs/qqbtfs/cache"
	"github.com/qqbtfs/qqbtfs/fetch/layout"
	"github.com/qqbtfs/qqbtfs/fetch/picker"
)

// This is the part of waits that knows of blocks: in a torrent with a v2 part they
// can be read before their piece is complete.

// setPartial tells the view of piece i, nil when it has none any more.
func (w *waits) setPartial(i int, p *cache.Partial) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p == nil {
		delete(w.partial, i)
	} else {
		w.partial[i] = p
	}
}

// readPartial fills p with the bytes of a span if all of its blocks are verified,
// else it returns cache.ErrMiss.
func (w *waits) readPartial(p []byte, span layout.Span) error {
	w.mu.Lock()
	view := w.partial[span.Piece]
	w.mu.Unlock()
	if view == nil {
		return cache.ErrMiss
	}
	return view.ReadAt(p, span.Begin)
}

// progressed wakes the readers of piece i: more of it can be read.
func (w *waits) progressed(i int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.failed, i)
	if x := w.pieces[i]; x != nil {
		close(x.more)
		x.more = make(chan struct{})
	}
}

// news returns the channel that the next progressed closes.
func (w *waits) news(x *wait) <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return x.more
}

// wanted returns the blocks that readers wait for, by piece.
func (w *waits) wanted() map[int][]picker.Range {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := map[int][]picker.Range{}
	for i, x := range w.pieces {
		for _, s := range x.spans {
			out[i] = append(out[i], blocksOf(s))
		}
	}
	return out
}

func blocksOf(s layout.Span) picker.Range {
	return picker.Range{First: s.Begin / picker.BlockSize, Last: (s.Begin + s.Length - 1) / picker.BlockSize}
}

// firstBlocks returns which blocks of pieces in demand to ask for first: those that
// are waited for, and of a window's first piece those where it begins. w.mu is held.
func (w *waits) firstBlocks(d picker.Demand) map[int][]picker.Range {
	if !w.blocks {
		return nil
	}
	out := map[int][]picker.Range{}
	for _, i := range d.Urgent {
		for _, s := range w.pieces[i].spans {
			out[i] = append(out[i], blocksOf(s))
		}
	}
	for r := range w.readers {
		if r.first <= r.last && len(out[r.first]) == 0 {
			out[r.first] = []picker.Range{{First: r.at, Last: r.at}}
		}
	}
	return out
}
