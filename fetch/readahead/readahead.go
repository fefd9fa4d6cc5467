// Package readahead turns the reads of one file handle into a window of bytes
// that the handle will want next.
//
// A handle earns its window by reading on: it is a multiple of what was read in
// one go, and a jump gives it back. So a player soon has seconds of film in
// front of it, while a scanner that reads heads and tails costs nothing beyond
// what it reads. Reads may come a little out of order, as the kernel's
// concurrent requests do.
//
// The package does arithmetic only; it neither reads nor waits.
package readahead

const (
	gain    = 4        // window bytes for a byte read in sequence
	reorder = 12 << 20 // how far behind the front a read still belongs to the run
	skip    = 1 << 20  // how far ahead of it, at least; kernels read ahead concurrently
)

// Window is the read-ahead state of one handle. The zero Window, with Max set,
// is one that nothing was read through.
type Window struct {
	Max int64 // bytes of the largest window

	started    bool
	start, end int64 // the run: from its first byte to its front
	earned     int64 // bytes read in it after its first read
}

// Read records a read of n bytes at off.
func (w *Window) Read(off, n int64) {
	if w.started && off <= w.end+max(skip, w.size()) && off >= max(w.start, w.end-reorder) {
		w.earned += max(off+n-max(off, w.end), 0)
		w.end = max(w.end, off+n)
		return
	}
	*w = Window{Max: w.Max, started: true, start: off, end: off + n}
}

// Started reports whether anything was read.
func (w *Window) Started() bool { return w.started }

// size is how many bytes the handle has earned.
func (w *Window) size() int64 { return min(gain*w.earned, w.Max) }

// Wanted returns the window [from, to): what comes after what was read. It is
// empty for a handle that has not read on.
func (w *Window) Wanted() (from, to int64) { return w.end, w.end + w.size() }
