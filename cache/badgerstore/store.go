package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/qqbtfs/qqbtfs/cache"
)

// closeTimeout bounds Close. What is not done by then (a slow disk that takes
// the dirty pages) goes on in the background; nothing is lost unless the power
// goes too.
const closeTimeout = 500 * time.Millisecond

// Options adjusts a Store. The zero value is fine.
type Options struct {
	// MinFree is how much of the disk stays free, in bytes. Zero means 5 % of
	// the file system, at most 1 GiB; negative means nothing beyond the few MiB
	// that Badger itself needs.
	MinFree int64
	// Quota is how much disk the store may take, garbage included, in bytes: a hard
	// limit. What is beyond Capacity of it is refused, sooner or later, with
	// cache.ErrQuota. Zero or negative means no limit. A larger store of an earlier
	// run shrinks as its pieces are deleted.
	Quota int64
	// Scratch is an existing directory, this user's alone and best not on the same
	// disk, for copies of small files of a store that cannot be written: OpenReadOnly
	// needs it, and Open to read after a crash while the disk is full. "" means none.
	Scratch string
	// Logger gets warnings, and Badger's log at level debug. nil means no log.
	Logger *slog.Logger

	statfs func(dir string) (free, total int64, err error) // nil means the system's
}

// Store is a cache.Store in a Badger database.
type Store struct {
	dir   string
	geo   cache.Geometry
	quota int64
	sizes sizes
	aside string // Options.Scratch
	log   *slog.Logger
	have  *pieceSet
	cool  *cooler
	// readOnly is that of OpenReadOnly: nothing in dir is ever touched.
	readOnly bool

	closing sync.Once
	ctx     context.Context // over when Close begins
	cancel  context.CancelFunc
	kick    chan struct{}  // wakes the janitor
	tending sync.WaitGroup // the goroutines that end when ctx does
	closed  chan struct{}  // closed when everything is released

	// The holder of the token owns what follows. db is also for those inside
	// the gate; it changes only while the gate is paused or closed.
	token    chan struct{}
	use      *gate
	db       *badger.DB // nil: the disk was full at Open, nothing is readable
	writable bool       // db is open for writing
	home     *home      // nil: not even the directory could be made, or readOnly
	scratch  *scratch   // not nil: db is open for reading in there
	guard    guard
	ahead    *ahead
	version  uint64 // timestamp of the last commit
	unsynced bool
	order    []written // the pieces that load has found, until WriteOrder

	state                        atomic.Pointer[string]
	garbage                      atomic.Int64 // bytes deleted since the last reclaim
	diskHits, damaged, writeErrs atomic.Int64
}

var (
	_ cache.Store  = (*Store)(nil)
	_ cache.Cooler = (*Store)(nil)
)

// Open opens or makes the store of the torrent g in the directory dir. What it
// finds there that is not this torrent's cache is moved to dir.bad-N; a damaged
// or older cache is mended or made anew, with a warning; one of a newer version is an
// error. On a full disk it opens
// what can be read; Put returns cache.ErrNoSpace until there is space. It returns
// ErrLocked if dir is open already.
func Open(dir string, g cache.Geometry, opt Options) (*Store, error) {
	s := newStore(dir, g, opt)
	if err := s.start(); err != nil {
		s.home.close()
		return nil, fmt.Errorf("badgerstore: open %s: %w", dir, err)
	}
	s.tend()
	return s, nil
}

// tend starts what goes on besides, until Close.
func (s *Store) tend() {
	s.tending.Go(s.janitor)
	s.tending.Go(func() { s.cool.run(s.ctx, s.log) })
}

// newStore returns a store that has nothing open yet.
func newStore(dir string, g cache.Geometry, opt Options) *Store {
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	if opt.statfs == nil {
		opt.statfs = statfs
	}
	s := &Store{
		dir: dir, geo: g, quota: opt.Quota, sizes: sizesFor(opt.Quota), aside: opt.Scratch, log: opt.Logger,
		have:   newPieceSet(g.NumPieces, g.PieceSize),
		cool:   newCooler(g),
		kick:   make(chan struct{}, 1),
		closed: make(chan struct{}),
		token:  make(chan struct{}, 1),
		use:    newGate(),
		guard:  guard{dir: dir, minFree: opt.MinFree, size: sizesFor(opt.Quota).ballast, statfs: opt.statfs},
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.setState("ok")
	return s
}

// acquire takes the token of the one writer.
func (s *Store) acquire(ctx context.Context) error {
	if s.ctx.Err() != nil {
		return cache.ErrClosed
	}
	select {
	case s.token <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.ctx.Done():
		return cache.ErrClosed
	}
	if s.ctx.Err() != nil {
		s.release()
		return cache.ErrClosed
	}
	return nil
}

func (s *Store) release() { <-s.token }

func (s *Store) setState(words string) { s.state.Store(&words) }

// Has implements cache.Store.
func (s *Store) Has(index int) bool { return s.have.has(index) }

// Pieces implements cache.Store.
func (s *Store) Pieces() iter.Seq[int] { return slices.Values(s.have.snapshot()) }

// Delete implements cache.Store. The keys go later, in the background or with
// the next Flush; the space some time after them.
func (s *Store) Delete(index int) error {
	if s.ctx.Err() != nil {
		return cache.ErrClosed
	}
	if s.have.kill(index) {
		s.garbage.Add(int64(s.geo.PieceSize(index)))
		s.poke()
	}
	return nil
}

// Flush implements cache.Store: it waits until the disk has it.
func (s *Store) Flush(ctx context.Context) error {
	if err := s.acquire(ctx); err != nil {
		return err
	}
	defer s.release()
	if err := s.bury(); err != nil && !errors.Is(err, cache.ErrNoSpace) && !errors.Is(err, cache.ErrReadOnly) {
		return fmt.Errorf("badgerstore: flush: %w", err)
	}
	if !s.unsynced {
		return nil
	}
	if err := errors.Join(syncFiles(s.ahead.unsynced), s.db.Sync()); err != nil {
		return fmt.Errorf("badgerstore: flush: %w", err)
	}
	s.ahead.unsynced, s.unsynced = nil, false
	return nil
}

// Stats implements cache.Store. It looks at every file of the store.
func (s *Store) Stats() cache.Stats {
	st := cache.Stats{
		DiskHits:  s.diskHits.Load(),
		Damaged:   s.damaged.Load(),
		WriteErrs: s.writeErrs.Load(),
		DiskBytes: diskBytes(s.dir),
		DiskLimit: max(0, s.quota),
		State:     *s.state.Load(),
	}
	st.Pieces, st.Bytes = s.have.size()
	return st
}

// Close implements cache.Store.
func (s *Store) Close() error {
	s.closing.Do(func() {
		s.cancel()
		go s.shutDown()
	})
	select {
	case <-s.closed:
	case <-time.After(closeTimeout):
		s.log.Debug("badgerstore: disk is slow, closing goes on in the background", "dir", s.dir)
	}
	return nil
}
