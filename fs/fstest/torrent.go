// Package fstest helps to test what stands on a mount: a torrent whose pieces appear
// when the test says so, and mounts that cannot outlive their test.
package fstest

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/qqbtfs/qqbtfs/fs"
)

// Config describes a fake torrent.
type Config struct {
	Name    string
	Files   []fs.File // empty: one file of Length, named Name, not in a directory
	Length  int64
	ModTime time.Time
	// InfoHash is the extended attribute that orders torrents of one name.
	InfoHash string
	// PieceLength is in bytes; zero means 16 KiB.
	PieceLength int64
	// ReadTimeout ends a waiting read with os.ErrDeadlineExceeded; zero means never.
	ReadTimeout time.Duration
}

// Torrent is a fake fs.Torrent. It begins without any piece; a read waits until all
// pieces that it touches have arrived. Its content is a function of file and offset.
type Torrent struct {
	cfg     Config
	dir     bool
	offsets []int64 // of the files in the stream of pieces

	mu      sync.Mutex
	has     []bool
	failure error // of every read, once set
	state   State
	changed chan struct{} // closed at the next change
}

// State counts what the mount does to a torrent.
type State struct {
	Open    int // handles that are open now
	Opened  int // handles that were ever opened
	Waiting int // reads that wait for a piece now
	Reads   int // reads that have ended
	Largest int // size of the largest read in bytes
	Lent    int // answers that have not been released
}

// New makes a torrent.
func New(cfg Config) *Torrent {
	if cfg.PieceLength == 0 {
		cfg.PieceLength = 16 << 10
	}
	t := &Torrent{cfg: cfg, dir: len(cfg.Files) > 0, changed: make(chan struct{})}
	if !t.dir {
		t.cfg.Files = []fs.File{{Path: []string{cfg.Name}, Length: cfg.Length}}
	}
	var total int64
	for _, f := range t.cfg.Files {
		t.offsets = append(t.offsets, total)
		total += f.Length
	}
	t.has = make([]bool, (total+cfg.PieceLength-1)/cfg.PieceLength)
	return t
}

func (t *Torrent) Name() string       { return t.cfg.Name }
func (t *Torrent) Dir() bool          { return t.dir }
func (t *Torrent) Files() []fs.File   { return t.cfg.Files }
func (t *Torrent) ModTime() time.Time { return t.cfg.ModTime }

// Xattrs gives the torrent "info-hash" and each file "path".
func (t *Torrent) Xattrs(file int) map[string]string {
	if file < 0 {
		return map[string]string{fs.InfoHashXattr: t.cfg.InfoHash}
	}
	return map[string]string{fs.InfoHashXattr: t.cfg.InfoHash, "path": t.cfg.Files[file].Path[0]}
}

// LocalBytes counts the bytes of the pieces that have arrived.
func (t *Torrent) LocalBytes(file int) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	var n int64
	from, to := t.offsets[file], t.offsets[file]+t.cfg.Files[file].Length
	for p := from / t.cfg.PieceLength; p*t.cfg.PieceLength < to; p++ {
		if t.has[p] {
			n += min(to, (p+1)*t.cfg.PieceLength) - max(from, p*t.cfg.PieceLength)
		}
	}
	return n
}

// Next looks for a piece that has arrived, or has not.
func (t *Torrent) Next(file int, off int64, local bool) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	start, size := t.offsets[file], t.cfg.Files[file].Length
	for off < size && t.has[(start+off)/t.cfg.PieceLength] != local {
		off = ((start+off)/t.cfg.PieceLength+1)*t.cfg.PieceLength - start
	}
	return min(off, size)
}

// Open counts the handle.
func (t *Torrent) Open(file int) (fs.Handle, error) {
	t.update(func() { t.state.Open++; t.state.Opened++ })
	return &handle{t: t, file: file}, nil
}

// Pieces is the number of pieces.
func (t *Torrent) Pieces() int { return len(t.has) }

// Arrive makes pieces local.
func (t *Torrent) Arrive(pieces ...int) { t.set(true, pieces) }

// Lose takes pieces away.
func (t *Torrent) Lose(pieces ...int) { t.set(false, pieces) }

func (t *Torrent) set(has bool, pieces []int) {
	t.update(func() {
		for _, p := range pieces {
			t.has[p] = has
		}
	})
}

// Complete makes all pieces local.
func (t *Torrent) Complete() *Torrent {
	t.update(func() {
		for p := range t.has {
			t.has[p] = true
		}
	})
	return t
}

// Fail ends all waiting reads, and every later one, with err.
func (t *Torrent) Fail(err error) { t.update(func() { t.failure = err }) }

func (t *Torrent) update(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f()
	close(t.changed)
	t.changed = make(chan struct{})
}

// Await waits until the state is as wanted.
func (t *Torrent) Await(ctx context.Context, wanted func(State) bool) error {
	for {
		t.mu.Lock()
		s, changed := t.state, t.changed
		t.mu.Unlock()
		if wanted(s) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// State is the present state.
func (t *Torrent) State() State {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.state
}

// Content is the content of a whole file.
func (t *Torrent) Content(file int) []byte {
	p := make([]byte, t.cfg.Files[file].Length)
	t.fill(p, file, 0)
	return p
}

// noise repeats with a period that no block or page size divides.
var noise = func() []byte {
	r := rand.New(rand.NewPCG(1, 2))
	p := make([]byte, 1<<20+4099)
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	return p
}()

// start is where in the noise a file begins. It depends on the torrent and the file.
func (t *Torrent) start(file int) int64 {
	h := fnv.New64a()
	fmt.Fprint(h, t.cfg.Name, t.cfg.InfoHash, file)
	return int64(h.Sum64() % uint64(len(noise)))
}

func (t *Torrent) fill(p []byte, file int, off int64) {
	at := (t.start(file) + off) % int64(len(noise))
	for len(p) > 0 {
		p = p[copy(p, noise[at:]):]
		at = 0
	}
}

type handle struct {
	t    *Torrent
	file int
	once sync.Once
}

// Read waits for its pieces. It lends two thirds of what it returns.
func (h *handle) Read(ctx context.Context, p []byte, off int64) (fs.Data, error) {
	if err := h.t.wait(ctx, h.file, off, int64(len(p))); err != nil {
		return fs.Data{}, err
	}
	h.t.fill(p, h.file, off)
	h.t.update(func() {
		h.t.state.Reads++
		h.t.state.Lent++
		h.t.state.Largest = max(h.t.state.Largest, len(p))
	})
	lent := slices.Clone(p[len(p)/3:])
	clear(p[len(p)/3:])
	return fs.Data{Parts: [][]byte{p[:len(p)/3], lent}, Release: func() {
		clear(lent)
		h.t.update(func() { h.t.state.Lent-- })
	}}, nil
}

func (t *Torrent) wait(ctx context.Context, file int, off, n int64) error {
	first := (t.offsets[file] + off) / t.cfg.PieceLength
	last := (t.offsets[file] + off + n - 1) / t.cfg.PieceLength
	var timeout <-chan time.Time
	waiting := false
	defer func() {
		if waiting {
			t.update(func() { t.state.Waiting-- })
		}
	}()
	for {
		t.mu.Lock()
		missing, failure, changed := slices.Contains(t.has[first:last+1], false), t.failure, t.changed
		t.mu.Unlock()
		switch {
		case failure != nil:
			return failure
		case !missing:
			return nil
		case !waiting:
			waiting = true
			if t.cfg.ReadTimeout > 0 {
				timer := time.NewTimer(t.cfg.ReadTimeout)
				defer timer.Stop()
				timeout = timer.C
			}
			t.update(func() { t.state.Waiting++ })
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-timeout:
			return os.ErrDeadlineExceeded
		}
	}
}

// Close panics if it is called twice.
func (h *handle) Close() error {
	closed := false
	h.once.Do(func() { closed = true })
	if !closed {
		panic("BUG: handle closed twice")
	}
	h.t.update(func() { h.t.state.Open-- })
	return nil
}
