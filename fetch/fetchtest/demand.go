package fetchtest

import (
	"maps"
	"slices"
	"time"

	"github.com/qqbtfs/qqbtfs/fetch/picker"
	"github.com/qqbtfs/qqbtfs/fetch/readahead"
)

// linger is how long the demand of a read that was given up stays, ahead how many bytes
// behind a read a fill turns to first.
const (
	linger = 5 * time.Second
	ahead  = 4 << 20
)

// demand is who reads what on a client; the client's fetch.waits.
type demand struct {
	c       *Client
	have    map[int]bool // verified, the swarm may not know yet
	waiting map[int][]*Read
	order   []int // of waiting, in order of arrival
	ended   map[int]time.Duration
	handles []*Handle
	fill    bool
	dirty   bool
}

func (d *demand) init(c *Client) {
	d.c = c
	d.have = map[int]bool{}
	d.waiting = map[int][]*Read{}
	d.ended = map[int]time.Duration{}
	for i := range c.w.torrent.NumPieces() {
		if c.swarm.Has(i) {
			d.have[i] = true
		}
	}
}

// Fill switches the background fill.
func (c *Client) Fill(on bool) {
	c.demand.fill = on
	c.demand.change()
}

func (d *demand) change() {
	d.dirty = true
	d.c.wake()
}

// Handle is an open file, with a read-ahead window. The torrent is one file.
type Handle struct {
	d           *demand
	window      readahead.Window
	first, last int
	next        picker.Range // to fill first
}

// Open opens the file. Max bounds the read-ahead window in bytes.
func (c *Client) Open(max int64) *Handle {
	h := &Handle{d: &c.demand, last: -1, next: picker.Range{Last: -1}}
	h.window.Max = max
	c.demand.handles = append(c.demand.handles, h)
	return h
}

// Close gives the window back.
func (h *Handle) Close() {
	h.d.handles = slices.DeleteFunc(h.d.handles, func(x *Handle) bool { return x == h })
	h.d.change()
}

// Read is a read that waits for its pieces.
type Read struct {
	First, Last int // pieces
	Begun       time.Duration
	left        int
	done        func(took time.Duration)
}

// ReadAt reads n bytes at off and calls done when they are here, perhaps at once.
func (h *Handle) ReadAt(off, n int64, done func(took time.Duration)) *Read {
	d := h.d
	t := d.c.w.torrent
	n = min(n, t.Total-off)
	h.window.Read(off, n)
	from, to := h.window.Wanted()
	to = min(to, t.Total)
	first, last := 0, -1
	if from < to {
		first, last = int(from/t.PieceLength), int((to-1)/t.PieceLength)
	}
	end := min(max(to, from+ahead), t.Total)
	next := picker.Range{First: int(from / t.PieceLength), Last: int((end - 1) / t.PieceLength)}
	if first != h.first || last != h.last || next != h.next {
		h.first, h.last, h.next = first, last, next
		d.change()
	}
	r := &Read{First: int(off / t.PieceLength), Last: int((off + n - 1) / t.PieceLength), Begun: d.c.w.clock.now, done: done}
	d.join(r)
	return r
}

func (d *demand) join(r *Read) {
	for i := r.First; i <= r.Last; i++ {
		if d.have[i] {
			continue
		}
		if d.waiting[i] == nil {
			d.order = append(d.order, i)
		}
		d.waiting[i] = append(d.waiting[i], r)
		r.left++
	}
	if r.left > 0 {
		d.change()
	} else {
		d.c.w.clock.after(0, func() { r.done(0) })
	}
}

// Cancel gives a read up. Its demand lingers.
func (h *Handle) Cancel(r *Read) {
	d := h.d
	for i := r.First; i <= r.Last; i++ {
		list := slices.DeleteFunc(d.waiting[i], func(x *Read) bool { return x == r })
		if d.waiting[i] == nil {
			continue
		}
		if len(list) > 0 {
			d.waiting[i] = list
			continue
		}
		d.leave(i)
		d.ended[i] = d.c.w.clock.now
		d.c.w.clock.after(linger, func() {
			delete(d.ended, i)
			d.change()
		})
	}
	d.change()
}

func (d *demand) leave(i int) {
	delete(d.waiting, i)
	d.order = slices.DeleteFunc(d.order, func(x int) bool { return x == i })
}

// arrived ends the waits for piece i.
func (d *demand) arrived(i int) {
	d.have[i] = true
	delete(d.ended, i)
	list := d.waiting[i]
	if list == nil {
		return
	}
	d.leave(i)
	d.change()
	for _, r := range list {
		if r.left--; r.left == 0 {
			r.done(d.c.w.clock.now - r.Begun)
		}
	}
}

// take returns the demand of now and whether it changed.
func (d *demand) take() (picker.Demand, bool) {
	if !d.dirty {
		return picker.Demand{}, false
	}
	d.dirty = false
	out := picker.Demand{Urgent: slices.Clone(d.order), Fill: d.fill}
	for _, h := range d.handles {
		if h.first <= h.last {
			out.Readahead = append(out.Readahead, picker.Range{First: h.first, Last: h.last})
			out.Rest = append(out.Rest, picker.Range{First: h.first, Last: d.c.w.torrent.NumPieces() - 1})
		}
		out.Next = append(out.Next, h.next)
	}
	byFirst := func(a, b picker.Range) int { return a.First - b.First }
	slices.SortStableFunc(out.Readahead, byFirst)
	slices.SortStableFunc(out.Rest, byFirst)
	if slices.ContainsFunc(d.handles, func(h *Handle) bool { return h.window.Started() }) { // the torrent is one file
		out.Rest = append(out.Rest, picker.Range{First: 0, Last: d.c.w.torrent.NumPieces() - 1})
	}
	slices.SortStableFunc(out.Next, byFirst)
	for _, i := range slices.Sorted(maps.Keys(d.ended)) {
		out.Readahead = append(out.Readahead, picker.Range{First: i, Last: i})
	}
	return out, true
}
