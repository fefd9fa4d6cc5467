// Package filestore keeps pieces in plain files, laid out as any client would
// put them into its download directory.
//
// It is where `get` downloads to and what `seed` serves from. The torrent's
// files lie end to end in one stream of bytes that the pieces divide; a piece is
// written to and read from every file that it touches. What is on disk at Open
// is hashed with all cores, so an interrupted download goes on where it was.
// Files appear when the first of their bytes arrives and grow from there,
// sparse; padding files (BEP 47) are zeros that never exist. Every path goes
// through an os.Root, so that neither a name in the torrent nor a symbolic link
// in the directory leads out of it.
//
// The package does not notice when somebody else changes a file while it is
// open, unless the file gets too short: who needs that reads through a
// cache.Cache over badgerstore. Delete only forgets: the bytes stay in the file.
package filestore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/qqbtfs/qqbtfs/cache"
)

// closeTimeout bounds the syncing of files in Close.
const closeTimeout = 10 * time.Second

// ErrReadOnly is returned by Put to a store that was opened read-only.
var ErrReadOnly = errors.New("filestore: opened read-only")

// File is one file of the torrent.
type File struct {
	// Path has the components below the store's directory, torrent name
	// included where it is part of the path.
	Path   []string
	Length int64 // in bytes
	Pad    bool  // a padding file: Length zeros, never on disk (BEP 47, attr p)
	Exec   bool  // executable (BEP 47, attr x)
	// Symlink is the target, as a path below the store's directory; nil means a
	// regular file (BEP 47, attr l). The Length of a link is zero.
	Symlink []string
}

// Options are the optional parts of Open.
type Options struct {
	// ReadOnly refuses to change anything on disk. The directory must exist.
	ReadOnly bool
	// Check is told how many bytes of those found on disk have been hashed, from
	// the goroutine of Open; nil means that nobody watches.
	Check func(done, total int64)
	// Context ends Open early with its error; nil means never.
	Context context.Context
	// ModTime is given to files when they are complete; zero leaves it to the
	// system.
	ModTime time.Time
}

// Store is a cache.Store over plain files, safe for concurrent use.
type Store struct {
	geo     cache.Geometry
	opt     Options
	layout  layout
	handles handles

	mu      sync.Mutex
	closed  bool
	have    []bool // by piece
	missing []int  // by file: pieces not had
	dirty   map[int]bool
	stats   cache.Stats
}

var _ cache.Store = (*Store)(nil)

// Open opens the files below dir and hashes what is there. dir itself is
// trusted: it is created if need be, and it may be a symbolic link. A file that
// is longer than the torrent says, or is none, is an error: it is not ours.
func Open(dir string, files []File, g cache.Geometry, opt Options) (*Store, error) {
	lay, err := newLayout(files, g)
	if err != nil {
		return nil, err
	}
	if !opt.ReadOnly {
		if err := os.MkdirAll(dir, 0o777); err != nil {
			return nil, fmt.Errorf("filestore: %w", err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("filestore: %w", err)
	}
	if opt.Context == nil {
		opt.Context = context.Background()
	}
	s := &Store{
		geo: g, opt: opt, layout: lay,
		handles: handles{root: root, readOnly: opt.ReadOnly, files: files},
		have:    make([]bool, g.NumPieces),
		missing: lay.piecesPerFile(),
		dirty:   make(map[int]bool),
		stats:   cache.Stats{State: "ok"},
	}
	if err := s.prepare(files); err != nil {
		s.handles.close()
		return nil, err
	}
	return s, nil
}

// prepare checks what is on disk and makes what has no bytes.
func (s *Store) prepare(files []File) error {
	sizes, err := s.handles.sizes()
	if err != nil {
		return err
	}
	if err := s.check(sizes); err != nil {
		return err
	}
	if s.opt.ReadOnly {
		return nil
	}
	for i, f := range files {
		if f.Pad || f.Length > 0 || sizes[i] >= 0 {
			continue
		}
		if err := s.handles.makeEmpty(i); err != nil {
			return err
		}
	}
	return nil
}

// check hashes every piece whose bytes may all be on disk, one piece per core
// at a time.
func (s *Store) check(sizes []int64) error {
	todo, total := s.layout.present(sizes)
	work, results := make(chan int), make(chan checked)
	ctx, cancel := context.WithCancel(s.opt.Context)
	defer cancel()
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(todo)) {
		wg.Go(func() {
			for i := range work {
				results <- checked{i, cache.Check(s.geo.Sum(i), s.geo.PieceSize(i), s.reader(i))}
			}
		})
	}
	wg.Go(func() {
		defer close(work)
		for _, i := range todo {
			select {
			case work <- i:
			case <-ctx.Done():
				return
			}
		}
	})
	go func() { wg.Wait(); close(results) }()
	return s.collect(cancel, results, total)
}

// checked is the result of hashing a piece.
type checked struct {
	index int
	err   error
}

// collect books results until there are no more. An error of the file system
// other than a file that is too short would repeat in use: it fails Open.
func (s *Store) collect(cancel func(), results <-chan checked, total int64) error {
	var done int64
	var failed error
	for r := range results {
		switch {
		case r.err == nil:
			s.setHave(r.index, true)
		case !errors.Is(r.err, cache.ErrHash) && !errors.Is(r.err, io.ErrUnexpectedEOF):
			failed = r.err
			cancel()
		}
		done += int64(s.geo.PieceSize(r.index))
		if s.opt.Check != nil {
			s.opt.Check(done, total)
		}
	}
	if failed != nil {
		return failed
	}
	return s.opt.Context.Err()
}

// setHave books piece i as had or not. s.mu is held, or Open runs. It returns
// the files that it completed.
func (s *Store) setHave(i int, have bool) (complete []int) {
	if s.have[i] == have {
		return nil
	}
	s.have[i] = have
	sign := 1
	if !have {
		sign = -1
	}
	s.stats.Pieces += sign
	s.stats.Bytes += int64(sign * s.geo.PieceSize(i))
	for seg := range s.layout.segments(i, 0, s.geo.PieceSize(i)) {
		if seg.pad {
			continue
		}
		s.stats.DiskBytes += int64(sign * seg.n)
		if s.missing[seg.file] -= sign; s.missing[seg.file] == 0 {
			complete = append(complete, seg.file)
		}
	}
	return complete
}

// Put implements cache.Store.
func (s *Store) Put(ctx context.Context, pieces ...cache.Piece) error {
	var errs []error
	for _, p := range pieces {
		if err := s.put(ctx, p); err != nil {
			errs = append(errs, fmt.Errorf("filestore: put piece %d: %w", p.Index(), err))
		}
		p.Release()
	}
	return errors.Join(errs...)
}

func (s *Store) put(ctx context.Context, p cache.Piece) error {
	if err := s.geo.CheckPiece(p); err != nil {
		return err
	}
	if s.opt.ReadOnly {
		return ErrReadOnly
	}
	s.mu.Lock()
	closed, had := s.closed, s.have[p.Index()]
	s.mu.Unlock()
	switch {
	case closed:
		return cache.ErrClosed
	case had:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	}
	if err := s.write(p); err != nil {
		return err
	}
	s.mu.Lock()
	complete := s.setHave(p.Index(), true)
	s.mu.Unlock()
	return s.stamp(complete)
}

// write writes p to its files.
func (s *Store) write(p cache.Piece) error {
	for seg := range s.layout.segments(p.Index(), 0, p.Len()) {
		data := p.Bytes()[seg.at : seg.at+seg.n]
		if seg.pad {
			if slices.ContainsFunc(data, func(b byte) bool { return b != 0 }) {
				return errors.New("padding is not zero")
			}
			continue
		}
		s.mu.Lock()
		s.dirty[seg.file] = true
		s.mu.Unlock()
		if err := s.handles.writeAt(seg.file, data, seg.off); err != nil {
			return noSpace(err)
		}
	}
	return nil
}

// noSpace makes the system's ways to say so a cache.ErrNoSpace.
func noSpace(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", cache.ErrNoSpace, err)
	}
	return err
}

// stamp gives complete files their modification time.
func (s *Store) stamp(files []int) error {
	if s.opt.ModTime.IsZero() {
		return nil
	}
	for _, i := range files {
		if err := s.handles.setModTime(i, s.opt.ModTime); err != nil {
			return err
		}
	}
	return nil
}

// reader returns a function that reads from piece i.
func (s *Store) reader(i int) func(dst []byte, off int) error {
	return func(dst []byte, off int) error {
		for seg := range s.layout.segments(i, off, len(dst)) {
			part := dst[seg.at : seg.at+seg.n]
			if seg.pad {
				clear(part)
			} else if err := s.handles.readAt(seg.file, part, seg.off); err != nil {
				return err
			}
		}
		return nil
	}
}

// ReadAt implements cache.Store.
func (s *Store) ReadAt(dst []byte, index, off int) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return cache.ErrClosed
	}
	if err := s.geo.CheckRange(index, off, len(dst)); err != nil {
		s.mu.Unlock()
		return err
	}
	have := s.have[index]
	if have {
		s.stats.DiskHits++
	}
	s.mu.Unlock()
	if !have {
		return cache.ErrMiss
	}
	err := s.reader(index)(dst, off)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.ErrUnexpectedEOF):
		s.mu.Lock()
		defer s.mu.Unlock()
		s.setHave(index, false)
		s.stats.Damaged++
		return cache.ErrMiss
	default:
		return fmt.Errorf("filestore: read piece %d: %w", index, err)
	}
}

// Has implements cache.Store.
func (s *Store) Has(index int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.closed && index >= 0 && index < len(s.have) && s.have[index]
}

// Pieces implements cache.Store.
func (s *Store) Pieces() iter.Seq[int] {
	s.mu.Lock()
	defer s.mu.Unlock()
	var is []int
	for i, have := range s.have {
		if have && !s.closed {
			is = append(is, i)
		}
	}
	return slices.Values(is)
}

// Delete implements cache.Store. The piece's bytes stay where they are, and if
// they are right, the next Open finds them.
func (s *Store) Delete(index int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return cache.ErrClosed
	}
	if index >= 0 && index < len(s.have) {
		s.setHave(index, false)
	}
	return nil
}

// Flush implements cache.Store: it syncs every file written since the last one.
func (s *Store) Flush(ctx context.Context) error {
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return cache.ErrClosed
	}
	return s.sync(ctx)
}

// sync syncs the dirty files. Those that it can't stay dirty.
func (s *Store) sync(ctx context.Context) error {
	s.mu.Lock()
	dirty := s.dirty
	s.dirty = make(map[int]bool)
	s.mu.Unlock()
	var errs []error
	for i := range dirty {
		err := ctx.Err()
		if err == nil {
			err = s.handles.sync(i)
		}
		if err != nil {
			errs = append(errs, err)
			s.mu.Lock()
			s.dirty[i] = true
			s.mu.Unlock()
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("filestore: flush of %d files: %w", len(errs), errs[0])
	}
	return nil
}

// Stats implements cache.Store.
func (s *Store) Stats() cache.Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// Close implements cache.Store.
func (s *Store) Close() error {
	s.mu.Lock()
	closed := s.closed
	s.closed = true
	s.stats.State = "closed"
	s.mu.Unlock()
	if closed {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	return errors.Join(s.sync(ctx), s.handles.close())
}

// name returns the path of f for the root's methods.
func (f File) name() string { return filepath.Join(f.Path...) }
