package cache

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"time"
)

const (
	defaultRAM   = 48 << 20
	batchBytes   = 4 << 20          // handed to the disk at once
	aheadBytes   = 8 << 20          // checked ahead of a sequential reader
	retryEvery   = 5 * time.Second  // between attempts on a disk that refuses
	closeTimeout = 10 * time.Second // for the last pieces to reach the disk
)

// Config says what a Cache consists of. Its callbacks are called without locks
// and may call the Cache, but must not wait for it.
type Config struct {
	Geometry

	// Disk is the tier below, empty or with pieces of an earlier run. It belongs
	// to the Cache, which closes it. nil means RAM only.
	Disk Store
	// ReadOnly says that Disk takes no pieces: those that are put stay in RAM until
	// newer ones need the room, as without a Disk.
	ReadOnly bool
	// RAM is the size of the RAM tier in bytes; zero means 48 MiB. A single
	// piece larger than that still passes through.
	RAM int64
	// Pool is where buffers for pieces read from disk come from; nil means one
	// of its own.
	Pool *Pool

	// Quota limits the bytes of the pieces on disk; zero means no limit. Pieces
	// are evicted in the order in which they were written, as a Disk that is
	// WriteOrdered tells it of those of an earlier run.
	Quota int64
	// Pinned reports whether a reader needs the piece now, so that the quota
	// must not evict it; nil means that none is.
	Pinned func(index int) bool

	// OnLost is told of every piece that was had and is not any more, unless it
	// was deleted by Delete: damaged, evicted, or pushed out of RAM by newer
	// pieces while the disk refuses. By the time of the call it may have been put
	// again. nil means that nobody cares.
	OnLost func(index int, err error)
	// Logger gets a line when the disk starts or stops refusing and for every
	// damaged piece; nil means none.
	Logger *slog.Logger
}

// Cache is a Store with a RAM tier in front of a disk tier.
//
// A piece that is put is readable at once and dirty until a background writer
// has handed it to the disk; then it is clean and stays in RAM until newer ones
// need the room, the least recently read going first. Dirty pieces are never
// dropped while the disk takes them: Put waits instead. While the disk refuses
// (full, broken), the Cache goes on from RAM, drops the oldest pieces when that
// is full, reports them to OnLost, and tries the disk again every few seconds.
//
// Pieces from an earlier run are hashed when they are first read, and ahead of
// a reader that goes through them in sequence.
type Cache struct {
	cfg     Config
	pool    *Pool
	longest int             // bytes of the longest piece
	ctx     context.Context // of the background work; ends in Close
	cancel  context.CancelFunc
	wg      sync.WaitGroup // the background work
	close   func() error

	mu     sync.Mutex // guards all below; held for bookkeeping only
	closed bool
	slots  []slot        // by piece
	count  int           // pieces had
	bytes  int64         // their bytes
	moved  chan struct{} // closed and renewed when room, durability or closed changes
	stats  Stats         // the counters of it

	// The RAM tier.
	used  int64     // memory of resident pieces and of loads in progress
	clean list.List // of *resident, most recently read first
	dirty list.List // of *resident, oldest first
	seq   uint64    // of the last dirty piece

	// The disk tier and its writer.
	onDisk   int64 // bytes of the pieces on disk
	writing  bool  // the writer runs
	wake     chan struct{}
	deletes  []deletion
	failing  error     // of the last write; nil means that the disk takes pieces
	stuck    bool      // the last write stored nothing
	failures int       // failed writes so far
	retryAt  time.Time // when to try again while failing
	force    bool      // try now
	trim     bool      // an earlier run left more than the quota
	written  []writeMark

	// Reading ahead.
	recent  [8]int // pieces read last
	recentI int
	ahead   window
	loaders int
}

// slot is what the Cache knows of one piece.
type slot struct {
	onDisk  bool      // the disk has it
	checked bool      // its bytes on disk are known to be right
	read    uint32    // bytes that were read of it, again ones too
	ram     *resident // nil means not in RAM
	load    *load     // nil means that nobody reads it from disk to check it
	mark    uint64    // of its newest entry in written
}

func (s *slot) had() bool { return s.onDisk || s.ram != nil }

// resident is a piece in the RAM tier. It is in one of the lists.
type resident struct {
	Piece
	elem    *list.Element
	dirty   bool
	writing bool   // the writer has it in its hands
	seq     uint64 // order of dirty pieces
}

// New returns a Cache over cfg.Disk and finds the pieces that it has.
func New(cfg Config) *Cache {
	if cfg.RAM <= 0 {
		cfg.RAM = defaultRAM
	}
	if cfg.OnLost == nil {
		cfg.OnLost = func(int, error) {}
	}
	if cfg.Pinned == nil {
		cfg.Pinned = func(int) bool { return false }
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Cache{
		cfg:     cfg,
		pool:    cfg.Pool,
		longest: cfg.MaxPiece(),
		slots:   make([]slot, cfg.NumPieces),
		moved:   make(chan struct{}),
		wake:    make(chan struct{}, 1),
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.close = sync.OnceValue(c.shutdown)
	if c.pool == nil && cfg.NumPieces > 0 {
		c.pool = NewPool(c.longest, min(16, max(1, aheadBytes/c.longest)))
	}
	for i := range c.recent {
		c.recent[i] = -2
	}
	if cfg.Disk != nil {
		c.adopt(cfg.Disk)
	}
	return c
}

// WriteOrdered is what a disk tier may implement besides: the pieces that it has,
// the one that was put first in front.
type WriteOrdered interface{ WriteOrder() []int }

// Cooler is what a disk tier may implement besides. It is told of a piece that is not in
// RAM and has been read as a whole. Behind a mount the kernel keeps what was read from
// it: a second copy, of the disk's files, is of little use, and memory that is used again
// at once is cheaper than memory that was never touched.
type Cooler interface {
	// Cool reports whether the piece leaves memory: then its hash is checked again when
	// it is next read. It does not wait for the disk.
	Cool(index int) bool
}

// adopt takes in what an earlier run left, and begins to trim it to the quota.
func (c *Cache) adopt(disk Store) {
	pieces := disk.Pieces()
	if o, ok := disk.(WriteOrdered); ok {
		pieces = slices.Values(o.WriteOrder())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range pieces {
		c.setOnDisk(i, false)
	}
	c.trim = c.cfg.Quota > 0 && c.onDisk > c.cfg.Quota
	c.startWriter()
}

// Has implements Store.
func (c *Cache) Has(index int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.closed && index >= 0 && index < len(c.slots) && c.slots[index].had()
}

// Pieces implements Store.
func (c *Cache) Pieces() iter.Seq[int] {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return func(func(int) bool) {}
	}
	had := make([]int, 0, c.count)
	for i := range c.slots {
		if c.slots[i].had() {
			had = append(had, i)
		}
	}
	return slices.Values(had)
}

// Full reports whether another piece would push out one that is had: whoever
// fetches pieces that no reader asked for should stop while it is true.
func (c *Cache) Full() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.slots) == 0 {
		return false
	}
	size := int64(c.longest)
	switch {
	case !c.writes():
		return c.used+size > c.cfg.RAM
	case c.failing != nil:
		return true
	default:
		return c.cfg.Quota > 0 && c.bytes+size > c.cfg.Quota
	}
}

// Keeps returns how many bytes of pieces that are put from now on stay until newer ones
// push them out: the RAM tier without a disk, or while it refuses. Zero means that they go
// to disk, where Config.Quota bounds them.
func (c *Cache) Keeps() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.writes() || c.failing != nil && !errors.Is(c.failing, ErrQuota) {
		return c.cfg.RAM
	}
	return 0
}

// writes reports whether what is put goes to disk.
func (c *Cache) writes() bool { return c.cfg.Disk != nil && !c.cfg.ReadOnly }

// Stats implements Store.
func (c *Cache) Stats() Stats {
	c.mu.Lock()
	s, failing := c.stats, c.failing
	s.Pieces, s.Bytes, s.RAMBytes, s.State = c.count, c.bytes, c.used, "ok"
	c.mu.Unlock()
	if c.cfg.Disk != nil {
		disk := c.cfg.Disk.Stats()
		s.DiskBytes, s.DiskLimit = disk.DiskBytes, disk.DiskLimit
		if disk.State != "" {
			s.State = disk.State
		}
	}
	switch {
	case errors.Is(failing, ErrQuota):
		s.State = "cache limit reached: RAM only"
	case errors.Is(failing, ErrNoSpace):
		s.State = "disk full: RAM only"
	case failing != nil:
		s.State = fmt.Sprintf("disk error: RAM only: %v", failing)
	}
	return s
}

// Close implements Store. It waits at most ten seconds for the disk to take
// what it does not have yet; the error says if pieces were given up.
func (c *Cache) Close() error { return c.close() }

func (c *Cache) shutdown() error {
	c.mu.Lock()
	c.closed = true
	c.broadcast()
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	err := ctx.Err()
	if c.cfg.Disk != nil {
		err = c.drain(ctx) // whether to wait for the disk as well is for its Close
	}
	c.cancel()
	c.wg.Wait()
	if n := c.clear(); n > 0 {
		err = fmt.Errorf("cache: %d pieces did not reach the disk: %w", n, err)
	}
	if c.cfg.Disk != nil {
		err = errors.Join(err, c.cfg.Disk.Close())
	}
	return err
}

// clear empties the RAM tier and returns how many pieces nothing else has.
func (c *Cache) clear() (lost int) {
	var a after
	c.mu.Lock()
	for i := range c.slots {
		if r := c.slots[i].ram; r != nil {
			if r.dirty {
				lost++
			}
			c.remove(i, &a)
		}
		c.slots[i].load = nil
	}
	c.mu.Unlock()
	c.finish(&a)
	return lost
}
