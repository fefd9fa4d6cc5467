package cache_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/qqbtfs/qqbtfs/cache"
	"github.com/qqbtfs/qqbtfs/cache/cachetest"
	"github.com/qqbtfs/qqbtfs/cache/memstore"
)

func TestConformance(t *testing.T) {
	disk := func(g cache.Geometry) cache.Store { return memstore.New(g) }
	configs := map[string]func(g cache.Geometry) cache.Config{
		"disk":      func(g cache.Geometry) cache.Config { return cache.Config{Disk: disk(g), RAM: 1 << 20} },
		"ram-only":  func(g cache.Geometry) cache.Config { return cache.Config{} },
		"small-ram": func(g cache.Geometry) cache.Config { return cache.Config{Disk: disk(g), RAM: 1} },
		"quota":     func(g cache.Geometry) cache.Config { return cache.Config{Disk: disk(g), Quota: 1 << 30} },
	}
	for name, config := range configs {
		t.Run(name, func(t *testing.T) {
			cachetest.Conformance(t, func(t *testing.T, g cache.Geometry) cache.Store {
				cfg := config(g)
				cfg.Geometry = g
				cfg.OnLost = func(i int, err error) { t.Errorf("lost piece %d: %v", i, err) }
				return cache.New(cfg)
			})
		})
	}
}

// rig is a Cache over a faulty disk in memory.
type rig struct {
	*cache.Cache
	t    *testing.T
	tor  *cachetest.Torrent
	pool *cache.Pool
	mem  *memstore.Store // survives Close of the Cache
	disk *cachetest.FaultStore

	mu   sync.Mutex
	lost map[int]error
}

// unclosed keeps a Store usable after Close, like a file system over a restart.
type unclosed struct{ cache.Store }

func (unclosed) Close() error { return nil }

const pieceLen = 1000

// newRig makes a Cache of ten pieces of 1000 bytes; had is on disk already.
func newRig(t *testing.T, failAt int, cfg cache.Config, had ...int) *rig {
	t.Helper()
	r := &rig{t: t, tor: cachetest.NewTorrent(10, pieceLen, pieceLen), lost: make(map[int]error)}
	r.pool = r.tor.Pool()
	r.mem = memstore.New(r.tor.Geometry())
	for _, i := range had {
		if err := r.mem.Put(t.Context(), r.tor.Piece(t, nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	r.disk = cachetest.NewFaultStore(unclosed{r.mem}, failAt, errFault)
	cfg.Geometry, cfg.Disk, cfg.Pool = r.tor.Geometry(), r.disk, r.pool
	cfg.OnLost = func(i int, err error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.lost[i] = err
	}
	r.Cache = cache.New(cfg)
	t.Cleanup(func() { r.Close() })
	return r
}

var errFault = errors.New("injected fault")

func (r *rig) put(is ...int) error {
	for _, i := range is {
		if err := r.Put(context.Background(), r.tor.Piece(r.t, nil, i)); err != nil {
			return err
		}
	}
	return nil
}

func (r *rig) mustPut(is ...int) {
	r.t.Helper()
	if err := r.put(is...); err != nil {
		r.t.Fatal(err)
	}
}

// read reads piece i and fails on wrong bytes.
func (r *rig) read(i int) error {
	r.t.Helper()
	dst := make([]byte, pieceLen/2)
	if err := r.ReadAt(dst, i, 100); err != nil {
		return err
	}
	if !bytes.Equal(dst, r.tor.Bytes(i)[100:100+len(dst)]) {
		r.t.Errorf("piece %d: wrong bytes", i)
	}
	return nil
}

func (r *rig) wantRead(is ...int) {
	r.t.Helper()
	for _, i := range is {
		if err := r.read(i); err != nil {
			r.t.Errorf("read piece %d: %v", i, err)
		}
	}
}

func (r *rig) wantLost(is ...int) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	var got []int
	for i := range r.lost {
		got = append(got, i)
	}
	slices.Sort(got)
	if !slices.Equal(got, is) {
		r.t.Errorf("lost %v, want %v", r.lost, is)
	}
}

func (r *rig) flush() {
	r.t.Helper()
	if err := r.Flush(context.Background()); err != nil {
		r.t.Fatal(err)
	}
}

// TestEveryFault fails every operation of the disk in turn. Whatever fails, no
// read gives wrong bytes, a piece is gone only if OnLost or Close said so, and
// the fault shows.
func TestEveryFault(t *testing.T) {
	for _, ram := range []int64{1, 2 * pieceLen, 1 << 20} {
		for n := 1; ; n++ {
			fired := true
			synctest.Test(t, func(t *testing.T) { fired = everyFault(t, ram, n) })
			if !fired {
				if n < 8 {
					t.Errorf("RAM %d: only %d operations", ram, n)
				}
				break
			}
		}
	}
}

func everyFault(t *testing.T, ram int64, n int) bool {
	r := newRig(t, n, cache.Config{RAM: ram}, 0, 1, 2, 3, 4)
	var errs []error
	note := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	for i := 5; i < 9; i++ {
		note(r.put(i))
		note(r.read(i))
	}
	for i := range 5 {
		note(r.read(i))
	}
	note(r.Delete(7))
	note(r.Flush(t.Context()))
	for i := range 9 {
		note(r.read(i))
	}
	note(r.Flush(t.Context()))
	synctest.Wait()
	st := r.Stats()
	closeErr := r.Close()
	note(closeErr)

	shown := len(errs) > 1 || st.WriteErrs > 0 || st.Damaged > 0 // reading 7 is one error
	if op := r.disk.Fired(); op != "" && !shown {
		t.Errorf("RAM %d, fault %d (%s) did not show: %v, %+v", ram, n, op, errs, st)
	}
	for i := range 9 {
		_, lost := r.lost[i]
		if i != 7 && !lost && closeErr == nil && !r.mem.Has(i) {
			t.Errorf("RAM %d, fault %d (%s): piece %d was lost silently", ram, n, r.disk.Fired(), i)
		}
	}
	if k := r.pool.InUse(); k != 0 {
		t.Errorf("RAM %d, fault %d: %d buffers in use after Close", ram, n, k)
	}
	return r.disk.Fired() != ""
}

// A disk that is full does not stop the Cache, and gets the pieces when it has
// room again.
func TestDiskFullAndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 0, cache.Config{RAM: 4 * pieceLen})
		r.disk.Break("Put", fmt.Errorf("statfs: %w", cache.ErrNoSpace))
		r.mustPut(0, 1, 2)
		synctest.Wait()
		if st := r.Stats(); st.State != "disk full: RAM only" || st.WriteErrs == 0 || st.Pieces != 3 {
			t.Errorf("Stats: %+v", st)
		}
		if !r.Full() {
			t.Error("not Full with a full disk")
		}
		if r.Keeps() != 4*pieceLen {
			t.Errorf("Keeps = %d, want the RAM tier", r.Keeps())
		}
		if err := r.Flush(t.Context()); !errors.Is(err, cache.ErrNoSpace) {
			t.Errorf("Flush: %v, want ErrNoSpace", err)
		}
		r.wantRead(0, 1, 2)
		r.mustPut(3, 4, 5)
		r.wantLost(0, 1)
		if err := r.lost[0]; !errors.Is(err, cache.ErrNoSpace) || !errors.Is(err, cache.ErrEvicted) {
			t.Errorf("lost with %v, want ErrEvicted for ErrNoSpace", err)
		}
		if err := r.read(0); !errors.Is(err, cache.ErrMiss) || r.Has(0) {
			t.Errorf("read of a lost piece: %v", err)
		}
		r.disk.Break("Put", nil)
		time.Sleep(6 * time.Second) // fake time
		synctest.Wait()
		if got := slices.Collect(r.mem.Pieces()); !slices.Equal(got, []int{2, 3, 4, 5}) {
			t.Errorf("on disk: %v", got)
		}
		if st := r.Stats(); st.State != "ok" || r.Full() || r.Keeps() != 0 {
			t.Errorf("State = %q", st.State)
		}
	})
}

// While the disk is slow, Put waits instead of growing or losing anything.
func TestBackPressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tor := cachetest.NewTorrent(10, pieceLen, pieceLen)
		slow := &slowStore{Store: memstore.New(tor.Geometry()), gate: make(chan struct{})}
		c := cache.New(cache.Config{Geometry: tor.Geometry(), Disk: slow, RAM: 3 * pieceLen})
		done := make(chan error, 1)
		go func() {
			for i := range 10 {
				if err := c.Put(t.Context(), tor.Piece(t, nil, i)); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
		synctest.Wait()
		if st := c.Stats(); st.Pieces != 3 || st.RAMBytes != 3*pieceLen {
			t.Errorf("with a blocked disk: %+v", st)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := c.Put(ctx, tor.Piece(t, nil, 9)); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled Put: %v", err)
		}
		close(slow.gate)
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}

// slowStore is a disk whose Put waits for the gate, and which counts batches.
type slowStore struct {
	cache.Store
	gate chan struct{}

	mu      sync.Mutex
	batches int
}

func (s *slowStore) Put(ctx context.Context, ps ...cache.Piece) error {
	<-s.gate
	s.mu.Lock()
	s.batches++
	s.mu.Unlock()
	return s.Store.Put(ctx, ps...)
}

// Pieces that come while the disk is busy go to it in one batch.
func TestBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tor := cachetest.NewTorrent(10, pieceLen, pieceLen)
		slow := &slowStore{Store: memstore.New(tor.Geometry()), gate: make(chan struct{})}
		c := cache.New(cache.Config{Geometry: tor.Geometry(), Disk: slow})
		for i := range 10 {
			if err := c.Put(t.Context(), tor.Piece(t, nil, i)); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		close(slow.gate)
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if slow.batches != 2 {
			t.Errorf("%d batches, want 2", slow.batches)
		}
	})
}

// A piece deleted while the disk writes it is gone for good; one that is put
// again after that stays.
func TestDeleteWhileWriting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tor := cachetest.NewTorrent(3, pieceLen, pieceLen)
		mem := memstore.New(tor.Geometry())
		slow := &slowStore{Store: unclosed{mem}, gate: make(chan struct{})}
		c := cache.New(cache.Config{Geometry: tor.Geometry(), Disk: slow})
		put := func(i int) {
			if err := c.Put(t.Context(), tor.Piece(t, nil, i)); err != nil {
				t.Error(err)
			}
		}
		put(0)
		put(1)
		synctest.Wait()
		for i := range 2 {
			go func() {
				if err := c.Delete(i); err != nil {
					t.Error(err)
				}
			}()
		}
		synctest.Wait()
		put(1)
		if c.Has(0) || !c.Has(1) {
			t.Error("deletion is not visible at once")
		}
		close(slow.gate)
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if mem.Has(0) || !mem.Has(1) {
			t.Errorf("on disk: %v, want [1]", slices.Collect(mem.Pieces()))
		}
	})
}

// A piece deleted while it is loaded does not come back with the load.
func TestDeleteWhileLoading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 0, cache.Config{}, 0)
		slow := &slowReads{Store: r.mem, gate: make(chan struct{})}
		c := cache.New(cache.Config{Geometry: r.tor.Geometry(), Disk: slow})
		result := make(chan error)
		for range 2 {
			go func() { result <- c.ReadAt(make([]byte, 1), 0, 0) }()
		}
		synctest.Wait()
		if err := c.Delete(0); err != nil {
			t.Error(err)
		}
		close(slow.gate)
		for range 2 {
			if err := <-result; !errors.Is(err, cache.ErrMiss) {
				t.Errorf("ReadAt: %v, want ErrMiss", err)
			}
		}
		if err := c.CheckInvariants(); err != nil || c.Has(0) || c.Stats().RAMBytes != 0 {
			t.Errorf("after Delete: %v, %+v", err, c.Stats())
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}

// slowReads is a disk whose ReadAt has read and then waits for the gate.
type slowReads struct {
	cache.Store
	gate chan struct{}
}

func (s *slowReads) ReadAt(dst []byte, index, off int) error {
	err := s.Store.ReadAt(dst, index, off)
	<-s.gate
	return err
}

// A piece that rotted on disk is found by its first read, whether it fits into
// the RAM tier or is checked in passing.
func TestDamagedPiece(t *testing.T) {
	for _, ram := range []int64{1, 1 << 20} {
		r := newRig(t, 0, cache.Config{RAM: ram}, 0, 1, 2)
		r.disk.Spoil(1)
		r.wantRead(0, 2)
		if err := r.read(1); !errors.Is(err, cache.ErrMiss) {
			t.Errorf("RAM %d: read of a damaged piece: %v", ram, err)
		}
		r.wantLost(1)
		if st := r.Stats(); st.Damaged != 1 || st.Pieces != 2 {
			t.Errorf("RAM %d: %+v", ram, st)
		}
		r.mustPut(1)
		r.flush()
		r.wantRead(0, 1, 2)
		if err := r.Close(); err != nil || !r.mem.Has(1) {
			t.Errorf("RAM %d: the refetched piece is not on disk: %v", ram, err)
		}
	}
}

// Many readers of an unchecked piece cost one read of the disk.
func TestSingleFlight(t *testing.T) {
	r := newRig(t, 0, cache.Config{RAM: 1 << 20}, 5)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() { r.wantRead(5) })
	}
	wg.Wait()
	if n := r.disk.Calls("ReadAt"); n != 1 {
		t.Errorf("%d reads of the disk, want 1", n)
	}
}

// A sequential reader finds the pieces in front of it checked; a random one
// causes no reads that nobody asked for.
func TestCheckAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}
		r := newRig(t, 0, cache.Config{RAM: 16 * pieceLen}, all...)
		r.wantRead(7, 2, 5)
		synctest.Wait()
		if n := r.disk.Calls("ReadAt"); n != 3 {
			t.Errorf("random: %d reads of the disk, want 3", n)
		}
		r.wantRead(3) // ahead: four pieces, a quarter of the RAM tier
		synctest.Wait()
		if n := r.disk.Calls("ReadAt"); n != 6 {
			t.Errorf("sequential: %d reads of the disk, want 6", n)
		}
		r.wantRead(all...)
	})
}

// Least recently read pieces go first.
func TestLRU(t *testing.T) {
	r := newRig(t, 0, cache.Config{RAM: 3 * pieceLen})
	for _, i := range []int{0, 4, 8} {
		r.mustPut(i)
		r.flush()
	}
	r.wantRead(0)
	r.mustPut(2)
	r.flush()
	before := r.disk.Calls("ReadAt")
	r.wantRead(0, 8, 2)
	if n := r.disk.Calls("ReadAt") - before; n != 0 {
		t.Errorf("%d reads of the disk, want 0", n)
	}
	r.wantRead(4)
	if n := r.disk.Calls("ReadAt") - before; n != 1 {
		t.Errorf("%d reads of the disk, want 1", n)
	}
	if st := r.Stats(); st.RAMBytes > 3*pieceLen {
		t.Errorf("RAM tier has %d bytes", st.RAMBytes)
	}
}

func TestRAMOnlyEvicts(t *testing.T) {
	tor := cachetest.NewTorrent(5, pieceLen, pieceLen)
	var lost []int
	c := cache.New(cache.Config{Geometry: tor.Geometry(), RAM: 2 * pieceLen, OnLost: func(i int, err error) {
		if !errors.Is(err, cache.ErrEvicted) {
			t.Errorf("lost %d: %v", i, err)
		}
		lost = append(lost, i)
	}})
	for i := range 5 {
		if err := c.Put(t.Context(), tor.Piece(t, nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(lost, []int{0, 1, 2}) || !c.Full() {
		t.Errorf("lost %v, Full %t", lost, c.Full())
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func TestQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var pinned sync.Map
		pin := func(is ...int) {
			for _, i := range is {
				pinned.Store(i, true)
			}
		}
		pin(3)
		r := newRig(t, 0, cache.Config{
			RAM: pieceLen, Quota: 4 * pieceLen,
			Pinned: func(i int) bool { _, ok := pinned.Load(i); return ok },
		}, 2, 3)
		for _, i := range []int{5, 6, 7, 8} {
			r.mustPut(i)
			r.flush()
		}
		r.wantLost(2, 5)
		if !errors.Is(r.lost[5], cache.ErrEvicted) || !r.Full() {
			t.Errorf("lost with %v, Full %t", r.lost[5], r.Full())
		}
		if got := slices.Collect(r.mem.Pieces()); !slices.Equal(got, []int{3, 6, 7, 8}) {
			t.Errorf("on disk: %v", got)
		}
		pin(6, 7, 8)
		r.mustPut(9)
		if err := r.Flush(t.Context()); !errors.Is(err, cache.ErrNoSpace) {
			t.Errorf("Flush with everything pinned: %v, want ErrNoSpace", err)
		}
		r.wantRead(3, 6, 7, 8, 9)
		pinned.Delete(3)
		time.Sleep(6 * time.Second) // fake time
		r.flush()
		r.wantLost(2, 3, 5)
	})
}

// Close says how many pieces it had to give up, and ends in spite of a disk that
// hangs.
func TestCloseGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tor := cachetest.NewTorrent(3, pieceLen, pieceLen)
		hung := hungStore{memstore.New(tor.Geometry())}
		c := cache.New(cache.Config{Geometry: tor.Geometry(), Disk: hung})
		if err := c.Put(t.Context(), tor.Piece(t, nil, 0), tor.Piece(t, nil, 1)); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		err := c.Close()
		if err == nil || c.Close() == nil {
			t.Error("Close did not tell of the lost pieces")
		}
		if d := time.Since(start); d > 11*time.Second {
			t.Errorf("Close took %v", d)
		}
	})
}

type hungStore struct{ cache.Store }

func (s hungStore) Put(ctx context.Context, ps ...cache.Piece) error {
	<-ctx.Done()
	for _, p := range ps {
		p.Release()
	}
	return ctx.Err()
}

func TestReadAtDoesNotAllocate(t *testing.T) {
	r := newRig(t, 0, cache.Config{})
	r.mustPut(0)
	dst := make([]byte, pieceLen)
	if n := testing.AllocsPerRun(100, func() { _ = r.ReadAt(dst, 0, 0) }); n != 0 {
		t.Errorf("%v allocations per hot read", n)
	}
}

// A cache of an earlier run that is larger than the quota shrinks at once, what was
// written first going first.
func TestTrim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tor := cachetest.NewTorrent(10, pieceLen, pieceLen)
		mem := memstore.New(tor.Geometry())
		for _, i := range []int{4, 1, 8, 2, 6} {
			if err := mem.Put(t.Context(), tor.Piece(t, nil, i)); err != nil {
				t.Fatal(err)
			}
		}
		c := cache.New(cache.Config{
			Geometry: tor.Geometry(), Disk: ordered{mem, []int{4, 1, 8, 2, 6}}, Quota: 3 * pieceLen,
			Pinned: func(i int) bool { return i == 4 },
		})
		synctest.Wait()
		if got := slices.Collect(mem.Pieces()); !slices.Equal(got, []int{2, 4, 6}) {
			t.Errorf("on disk: %v", got)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}

// ordered is a disk that knows in which order it was written.
type ordered struct {
	cache.Store
	order []int
}

func (o ordered) WriteOrder() []int { return o.order }
