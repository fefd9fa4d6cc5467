package fetch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/qqbtfs/qqbtfs/cache"
	"github.com/qqbtfs/qqbtfs/fetch/layout"
	"github.com/qqbtfs/qqbtfs/fetch/picker"
	"github.com/qqbtfs/qqbtfs/fetch/readahead"
)

// Reader reads one file of a torrent, with a read-ahead window of its own. It is
// safe for concurrent use.
type Reader struct {
	t    *Torrent
	file int
	size int64

	// Guarded by t.waits.mu.
	window      readahead.Window
	first, last int // pieces of the window; empty when last < first
	at          int // block of the first piece where the window begins
	next        int // last of the pieces to fill first; none when next < first
	recent      int // first of the pieces that reads under way may still copy from

	whole, tail picker.Range // the file's pieces, and the last of them; fixed
}

// ahead is how many bytes behind the last read a fill turns to first, whether
// the handle has earned a window or not: the fill needs them anyway.
const ahead = 4 << 20

// tail is how many bytes at the end of an open file a fill turns to next: many
// containers have their index there, and a player reads it before all else.
const tail = 256 << 10

// copying is how many bytes before its window a reader may still copy: a few
// requests of the kernel, the largest of which are 1 MiB.
const copying = 2 << 20

// NewReader returns a reader of a file, by its index in the metainfo. Close it.
func (t *Torrent) NewReader(file int) *Reader {
	r := &Reader{t: t, file: file, size: t.lay.Files[file].Length, last: -1, next: -1}
	r.window.Max = t.s.cfg.ReadAhead
	r.whole.First, r.whole.Last = r.pieces(0, r.size)
	r.tail.First, r.tail.Last = r.pieces(max(r.size-tail, 0), r.size)
	t.waits.mu.Lock()
	defer t.waits.mu.Unlock()
	t.waits.readers[r] = struct{}{}
	t.waits.dirty, t.waits.used = true, true
	return r
}

// Close gives the reader's window back. Reads under way go on.
func (r *Reader) Close() error {
	w := &r.t.waits
	w.mu.Lock()
	delete(w.readers, r)
	w.dirty = true
	w.mu.Unlock()
	r.t.in.ring()
	return nil
}

// Read returns the bytes [off, off+len(buf)), which are in the file, in parts: pieces that
// are in memory are lent, not copied, and the rest lies in buf. It waits for pieces that
// are not here until they are, ctx ends, the session's ReadTimeout has passed
// (os.ErrDeadlineExceeded) or the torrent closes (ErrClosed).
func (r *Reader) Read(ctx context.Context, buf []byte, off int64) (Data, error) {
	if off < 0 || off+int64(len(buf)) > r.size {
		return Data{}, fmt.Errorf("fetch: read of %d bytes at %d of a file of %d", len(buf), off, r.size)
	}
	if len(buf) == 0 {
		return Data{}, nil
	}
	r.note(off, int64(len(buf)))
	return r.read(ctx, buf, off)
}

// Data are bytes of a file, valid until Release.
type Data struct {
	Parts  [][]byte // in order, read-only
	pieces []cache.Piece
}

// Release gives back what was borrowed.
func (d *Data) Release() {
	for _, p := range d.pieces {
		p.Release()
	}
	*d = Data{}
}

// note records a read in the window and tells the torrent when the window moved
// over a piece's border.
func (r *Reader) note(off, n int64) {
	w := &r.t.waits
	w.mu.Lock()
	defer w.mu.Unlock()
	r.window.Read(off, n)
	from, to := r.window.Wanted()
	first, last := r.pieces(from, to)
	r.recent, _ = r.pieces(max(from-copying, 0), from)
	_, next := r.pieces(from, max(to, from+ahead))
	r.at = int((r.t.lay.Files[r.file].Offset+from)%r.t.lay.PieceLength) / layout.BlockSize
	if first != r.first || last != r.last || next != r.next {
		r.first, r.last, r.next = first, last, next
		w.dirty = true
	}
}

// pieces returns the first and the last piece with bytes [from, to) of the
// file; the last is before the first when there are none.
func (r *Reader) pieces(from, to int64) (first, last int) {
	base := r.t.lay.Files[r.file].Offset
	first = int((base + from) / r.t.lay.PieceLength)
	if to = min(to, r.size); to <= from {
		return first, first - 1
	}
	return first, int((base + to - 1) / r.t.lay.PieceLength)
}

// read takes from the cache and waits for what it lacks. All missing pieces are
// asked for before the first is waited for. What nobody lends is copied into p.
func (r *Reader) read(ctx context.Context, p []byte, off int64) (d Data, err error) {
	a := &attempt{r: r, ctx: ctx, waiting: map[layout.Span]*wait{}, end: time.Now().Add(r.t.s.cfg.ReadTimeout)}
	defer a.leave()
	var spans []layout.Span
	for span := range r.t.lay.Spans(r.file, off, int64(len(p))) {
		if !r.t.store.Has(span.Piece) {
			a.join(span)
		}
		spans = append(spans, span)
	}
	r.t.ringIfDirty()
	for _, span := range spans {
		part := p[:span.Length]
		if piece, ok := r.t.borrow(span); ok {
			part = piece.Bytes()[span.Begin:][:span.Length]
			d.pieces = append(d.pieces, piece)
		} else if err := a.span(part, span); err != nil {
			d.Release()
			return Data{}, err
		}
		d.Parts = append(d.Parts, part)
		p = p[span.Length:]
	}
	return d, nil
}

// borrow returns the span's piece if the store lends it.
func (t *Torrent) borrow(span layout.Span) (cache.Piece, bool) {
	if lender, ok := t.store.(cache.Lender); ok {
		return lender.Lend(span.Piece, span.Length)
	}
	return cache.Piece{}, false
}

// attempt is one read on its way.
type attempt struct {
	r       *Reader
	ctx     context.Context
	waiting map[layout.Span]*wait // one for a piece
	end     time.Time             // of its patience
	timer   *time.Timer           // for end; nil while nothing was waited for
	still   time.Duration         // how long the program had stood still when timer was set
}

func (a *attempt) join(span layout.Span) {
	if a.waiting[span] == nil {
		a.waiting[span] = a.r.t.waits.join(span)
	}
}

// leave ends all waiting.
func (a *attempt) leave() {
	t := a.r.t
	for span, x := range a.waiting {
		t.waits.leave(span, x, t.store.Has(span.Piece))
	}
	if len(a.waiting) > 0 {
		t.in.ring()
	}
	if a.timer != nil {
		a.timer.Stop()
	}
}

// deadline returns the channel of the read's deadline, nil when it has none.
func (a *attempt) deadline() <-chan time.Time {
	if a.r.t.s.cfg.ReadTimeout <= 0 {
		return nil
	}
	if a.timer == nil {
		a.timer, a.still = time.NewTimer(time.Until(a.end)), a.r.t.s.network.stoodStill(time.Now())
	}
	return a.timer.C
}

// putOff puts the deadline off by the time in which the program stood still, and
// reports whether there was any.
func (a *attempt) putOff() bool {
	still := a.r.t.s.network.stoodStill(time.Now())
	more := still - a.still
	a.still, a.end = still, a.end.Add(more)
	a.timer.Reset(time.Until(a.end))
	return more > 0
}

// ringIfDirty wakes the torrent when the demand changed.
func (t *Torrent) ringIfDirty() {
	t.waits.mu.Lock()
	dirty := t.waits.dirty
	t.waits.mu.Unlock()
	if dirty {
		t.in.ring()
	}
}

// span fills p with the bytes of a span. The piece may be gone again whenever it
// is looked at: damaged on disk, or evicted.
func (a *attempt) span(p []byte, span layout.Span) error {
	t := a.r.t
	for {
		x := a.waiting[span]
		var more <-chan struct{}
		if x != nil {
			more = t.waits.news(x) // before looking, so that nothing is missed
		}
		err := t.store.ReadAt(p, span.Piece, span.Begin)
		if errors.Is(err, cache.ErrMiss) {
			err = t.waits.readPartial(p, span)
		}
		if !errors.Is(err, cache.ErrMiss) {
			return err
		}
		if x == nil {
			a.join(span)
			t.in.ring()
			continue // it may have come before we joined
		}
		if t.waits.justFailed(span.Piece) {
			return timeout(span.Piece)
		}
		select {
		case <-more:
		case <-x.here:
			// It came; a store that lost it again makes us join anew.
			t.waits.leave(span, x, true)
			delete(a.waiting, span)
		case <-a.deadline():
			if !a.putOff() {
				return a.r.timedOut(span.Piece)
			}
		case <-a.ctx.Done():
			return a.ctx.Err()
		case <-t.waits.closed:
			return ErrClosed
		}
	}
}

func timeout(piece int) error {
	return fmt.Errorf("fetch: waiting for piece %d: %w", piece, os.ErrDeadlineExceeded)
}

// timedOut says what the read waited for.
func (r *Reader) timedOut(piece int) error {
	t := r.t
	t.waits.timedOut(piece)
	var why string
	t.ask(func() { why = t.swarm.Why(piece) })
	t.log.Warn("read timed out", "file", r.path(), "after", t.s.cfg.ReadTimeout, "waiting_for", why)
	return timeout(piece)
}

func (r *Reader) path() string {
	f := r.t.meta.Info.Files[r.file]
	s := ""
	for i, c := range f.Path {
		if i > 0 {
			s += "/"
		}
		s += c
	}
	return s
}
