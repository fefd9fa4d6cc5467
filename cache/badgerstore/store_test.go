package badgerstore

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/cache"
	"github.com/qqbtfs/qqbtfs/cache/cachetest"
)

func TestConformance(t *testing.T) {
	cachetest.Conformance(t, func(t *testing.T, g cache.Geometry) cache.Store {
		return open(t, filepath.Join(t.TempDir(), "c"), g, Options{})
	})
}

func TestPersistence(t *testing.T) {
	t.Parallel()
	cachetest.Persistence(t, func(t *testing.T, dir string, g cache.Geometry) cache.Store {
		return stopped{open(t, dir, g, Options{})}
	})
}

// stopped is a store whose Close waits for its end.
type stopped struct{ *Store }

func (s stopped) Close() error {
	stop(s.Store)
	return nil
}

// stop closes s and waits until it is closed, however slow the disk is.
func stop(s *Store) {
	s.Close()
	<-s.closed
}

// open opens a store that the test closes in any case.
func open(t testing.TB, dir string, g cache.Geometry, opt Options) *Store {
	t.Helper()
	s, err := Open(dir, g, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(s) })
	return s
}

func put(t testing.TB, s *Store, tor *cachetest.Torrent, indices ...int) error {
	t.Helper()
	var ps []cache.Piece
	for _, i := range indices {
		ps = append(ps, tor.Piece(t, nil, i))
	}
	return s.Put(context.Background(), ps...)
}

func mustPut(t testing.TB, s *Store, tor *cachetest.Torrent, indices ...int) {
	t.Helper()
	if err := put(t, s, tor, indices...); err != nil {
		t.Fatal(err)
	}
}

func all(n int) []int {
	is := make([]int, n)
	for i := range is {
		is[i] = i
	}
	return is
}

// checkHad reads every piece that s says it has: it is right or a miss. It
// returns how many were right.
func checkHad(t testing.TB, s cache.Store, tor *cachetest.Torrent) (right int) {
	t.Helper()
	for i := range s.Pieces() {
		dst := make([]byte, len(tor.Bytes(i)))
		err := s.ReadAt(dst, i, 0)
		switch {
		case err == nil && bytes.Equal(dst, tor.Bytes(i)):
			right++
		case err == nil:
			t.Errorf("piece %d: wrong bytes", i)
		case !errors.Is(err, cache.ErrMiss):
			t.Errorf("piece %d: %v", i, err)
		case s.Has(i):
			t.Errorf("piece %d: a miss, but had", i)
		}
	}
	return right
}

// Close leaves no goroutine behind.
func TestNoLeak(t *testing.T) {
	tor := cachetest.NewTorrent(2, 1000, 10)
	before := runtime.NumGoroutine()
	s := open(t, t.TempDir(), tor.Geometry(), Options{})
	mustPut(t, s, tor, 0, 1)
	stop(s)
	for deadline := time.Now().Add(time.Minute); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, then %d:\n%s", before, runtime.NumGoroutine(), stacks[:runtime.Stack(stacks, true)])
		}
	}
}

// A piece longer than a transaction is whole or not there.
func TestLongPiece(t *testing.T) {
	t.Parallel()
	tor := cachetest.NewTorrent(2, commitSize+2<<20+5, 3)
	dir := t.TempDir()
	s := open(t, dir, tor.Geometry(), Options{})
	mustPut(t, s, tor, 0, 1)
	if got := checkHad(t, s, tor); got != 2 {
		t.Fatalf("%d pieces right, want 2", got)
	}
	stop(s)
	s = open(t, dir, tor.Geometry(), Options{})
	if got := checkHad(t, s, tor); got != 2 {
		t.Fatalf("after reopening: %d pieces right, want 2", got)
	}
}

func TestLocked(t *testing.T) {
	tor := cachetest.NewTorrent(2, 1000, 10)
	dir := t.TempDir()
	s := open(t, dir, tor.Geometry(), Options{})
	_, err := Open(dir, tor.Geometry(), Options{})
	if !errors.Is(err, ErrLocked) || !bytes.Contains([]byte(err.Error()), []byte(dir)) {
		t.Fatalf("second Open: %v, want ErrLocked with the directory", err)
	}
	stop(s)
	open(t, dir, tor.Geometry(), Options{})
}

// Deleted pieces give their disk space back.
func TestReclaim(t *testing.T) {
	t.Parallel()
	tor := cachetest.NewTorrent(30, 1<<20, 1<<20)
	s := open(t, t.TempDir(), tor.Geometry(), Options{Quota: 64 << 20, MinFree: -1}) // with small files
	mustPut(t, s, tor, all(30)...)
	before := s.Stats().DiskBytes
	for i := range 20 {
		if err := s.Delete(i); err != nil {
			t.Fatal(err)
		}
	}
	// The janitor may have been at it while pieces were still being deleted, and
	// leaves what is too little by itself.
	if err := s.tidy(); err != nil {
		t.Fatal(err)
	}
	s.garbage.Store(1)
	err := s.alone(func() error { return s.reclaimNow(func() bool { return false }, reclaimRatio) })
	if err != nil {
		t.Fatal(err)
	}
	after := s.Stats().DiskBytes
	t.Logf("disk: %d MiB, then %d MiB", before>>20, after>>20)
	if after > before-14<<20 {
		t.Errorf("disk bytes: %d, then %d: too little was given back", before, after)
	}
	if got := checkHad(t, s, tor); got != 10 {
		t.Errorf("%d pieces right, want 10", got)
	}
	mustPut(t, s, tor, all(20)...)
	if got := slices.Collect(s.Pieces()); !slices.Equal(got, all(30)) {
		t.Errorf("Pieces() = %v", got)
	}
}
