package fetch

import (
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/qqbtfs/qqbtfs/cache"
	"github.com/qqbtfs/qqbtfs/fetch/layout"
	"github.com/qqbtfs/qqbtfs/fetch/picker"
)

const (
	// linger is how long the demand of a read that ended without its piece stays.
	linger = 5 * time.Second
	// failedFor is how long reads of a piece that has just timed out fail at once:
	// the kernel asks again, for the page alone, when a read-ahead has failed. A
	// program's next try comes later and waits anew.
	failedFor = 200 * time.Millisecond
)

// waits is who waits for which pieces: readers put themselves in, hashers wake
// them, and the torrent's loop makes the demand of it. The demand is computed
// anew from all that is here whenever anything changed, so that no reader who
// comes or goes can leave a trace.
type waits struct {
	mu      sync.Mutex
	closed  chan struct{} // closed when reads fail from now on
	dirty   bool          // the demand changed
	fill    bool          // what it last said of the fill
	seq     uint64
	pieces  map[int]*wait
	ended   map[int]time.Time // pieces whose readers left without them
	failed  map[int]time.Time // pieces that timed out
	readers map[*Reader]struct{}
	used    bool // there was a reader
	most    int  // pieces in all windows together; 0: no limit

	// partial has the pieces that are not here yet and of which blocks can be read.
	partial map[int]*cache.Partial
	blocks  bool // pieces can be read by the block: v2
}

// wait is the readers that wait for one piece.
type wait struct {
	n     int
	seq   uint64 // order of arrival
	since time.Time
	here  chan struct{} // closed when the piece has come
	more  chan struct{} // closed, and renewed, when more of its blocks can be read
	spans []layout.Span // what of it is waited for
}

func (w *waits) init() {
	w.closed = make(chan struct{})
	w.pieces = map[int]*wait{}
	w.ended = map[int]time.Time{}
	w.failed = map[int]time.Time{}
	w.readers = map[*Reader]struct{}{}
	w.partial = map[int]*cache.Partial{}
}

// read reports whether anybody has opened a file yet.
func (w *waits) read() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.used
}

func (w *waits) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.closed:
	default:
		close(w.closed)
	}
}

// join adds a reader to those who wait for a piece, for the sake of a span of it.
func (w *waits) join(span layout.Span) *wait {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := span.Piece
	x := w.pieces[i]
	if x == nil {
		w.seq++
		x = &wait{seq: w.seq, since: time.Now(), here: make(chan struct{}), more: make(chan struct{})}
		w.pieces[i] = x
		w.dirty = true
	}
	x.n++
	if w.blocks {
		x.spans = append(x.spans, span)
		w.dirty = true
	}
	return x
}

// leave takes a reader out. Without the piece its demand lingers a while.
func (w *waits) leave(span layout.Span, x *wait, got bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := span.Piece
	x.n--
	if k := slices.Index(x.spans, span); k >= 0 {
		x.spans = slices.Delete(x.spans, k, k+1)
		w.dirty = true
	}
	if x.n > 0 || w.pieces[i] != x {
		return
	}
	delete(w.pieces, i)
	w.dirty = true
	if !got {
		w.ended[i] = time.Now()
	}
}

// arrived wakes the readers of piece i.
func (w *waits) arrived(i int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.ended, i)
	delete(w.failed, i)
	if x := w.pieces[i]; x != nil {
		close(x.here)
		delete(w.pieces, i)
		w.dirty = true
	}
}

// timedOut records that the wait for piece i ended; justFailed asks for it.
func (w *waits) timedOut(i int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failed[i] = time.Now()
}

func (w *waits) justFailed(i int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	at, ok := w.failed[i]
	if ok && time.Since(at) > failedFor {
		delete(w.failed, i)
		ok = false
	}
	return ok
}

// demand returns what is wanted now, the fill included or not, that of all files or of
// those chosen, and whether it has changed.
func (w *waits) demand(now time.Time, fill bool, chosen *selection) (picker.Demand, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if fill != w.fill {
		w.fill, w.dirty = fill, true
	}
	for i, at := range w.ended {
		if now.Sub(at) > linger {
			delete(w.ended, i)
			w.dirty = true
		}
	}
	if !w.dirty {
		return picker.Demand{}, false
	}
	w.dirty = false
	d := picker.Demand{Fill: fill && chosen == nil}
	if fill && chosen != nil {
		d.Some = chosen.pieces
	}
	d.Urgent = slices.SortedFunc(maps.Keys(w.pieces), func(a, b int) int {
		return int(w.pieces[a].seq) - int(w.pieces[b].seq)
	})
	share := w.share()
	for r := range w.readers {
		if last := min(r.last, r.first+share-1); r.first <= last {
			d.Readahead = append(d.Readahead, picker.Range{First: r.first, Last: last})
			d.Rest = append(d.Rest, picker.Range{First: r.first, Last: r.tail.Last})
		}
		if r.first <= r.next {
			d.Next = append(d.Next, picker.Range{First: r.first, Last: r.next})
		}
	}
	byFirst := func(a, b picker.Range) int { return a.First - b.First }
	slices.SortFunc(d.Readahead, byFirst)
	slices.SortFunc(d.Next, byFirst)
	slices.SortFunc(d.Rest, byFirst)
	d.Rest = append(d.Rest, w.files(byFirst)...)
	d.Next = append(d.Next, w.tails(byFirst)...)
	d.Blocks = w.firstBlocks(d)
	for _, i := range slices.Sorted(maps.Keys(w.ended)) {
		d.Readahead = append(d.Readahead, picker.Range{First: i, Last: i})
	}
	return d, true
}

// files are those that readers have read of, as a whole: who has read the end of a file,
// as players do, will go on at its beginning. w.mu is held.
func (w *waits) files(byFirst func(a, b picker.Range) int) (list []picker.Range) {
	for r := range w.readers {
		if r.window.Started() {
			list = append(list, r.whole)
		}
	}
	slices.SortFunc(list, byFirst)
	return slices.Compact(list)
}

// bound sets how many pieces all windows may have together; 0: no limit.
func (w *waits) bound(most int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if most != w.most {
		w.most, w.dirty = most, true
	}
}

// share is how many pieces one reader's window may have. w.mu is held.
func (w *waits) share() int {
	if w.most == 0 {
		return math.MaxInt32
	}
	n := 0
	for r := range w.readers {
		if r.first <= r.last {
			n++
		}
	}
	return w.most / max(n, 1)
}

// needs reports whether a reader needs piece i now: it waits for it, copies from
// it, or has it in its window.
func (w *waits) needs(i int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pieces[i] != nil {
		return true
	}
	share := w.share()
	for r := range w.readers {
		if r.recent <= i && i <= min(r.last, r.first+share-1) && r.first <= r.last {
			return true
		}
	}
	return false
}

// awaited returns the pieces that readers wait for.
func (w *waits) awaited() map[int]bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	pieces := make(map[int]bool, len(w.pieces))
	for i := range w.pieces {
		pieces[i] = true
	}
	return pieces
}

// count returns how many pieces readers wait for.
func (w *waits) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.pieces)
}

// tails returns the last pieces of the open files.
func (w *waits) tails(order func(a, b picker.Range) int) []picker.Range {
	var list []picker.Range
	for r := range w.readers {
		if r.tail.First <= r.tail.Last {
			list = append(list, r.tail)
		}
	}
	slices.SortFunc(list, order)
	return slices.Compact(list)
}

// waiting returns the pieces that readers wait for, longest first, with since when.
func (w *waits) waiting() (pieces []int, since []time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	pieces = slices.SortedFunc(maps.Keys(w.pieces), func(a, b int) int {
		return int(w.pieces[a].seq) - int(w.pieces[b].seq)
	})
	for _, i := range pieces {
		since = append(since, w.pieces[i].since)
	}
	return pieces, since
}
