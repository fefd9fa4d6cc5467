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
	cachetest.Persistence(t, func(t *testing.T, dir string, g cache.Geometry) cache.Store {
		return open(t, dir, g, Options{})
	})
}

// open opens a store that the test closes in any case.
func open(t testing.TB, dir string, g cache.Geometry, opt Options) *Store {
	t.Helper()
	s, err := Open(dir, g, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
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
	s.Close()
	for deadline := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, then %d:\n%s", before, runtime.NumGoroutine(), stacks[:runtime.Stack(stacks, true)])
		}
	}
}

// A piece longer than a transaction is whole or not there.
func TestLongPiece(t *testing.T) {
	tor := cachetest.NewTorrent(2, 20<<20+5, 3)
	dir := t.TempDir()
	s := open(t, dir, tor.Geometry(), Options{})
	mustPut(t, s, tor, 0, 1)
	if got := checkHad(t, s, tor); got != 2 {
		t.Fatalf("%d pieces right, want 2", got)
	}
	s.Close()
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
	s.Close()
	open(t, dir, tor.Geometry(), Options{})
}

func TestQuota(t *testing.T) {
	tor := cachetest.NewTorrent(64, 1<<20, 1<<20)
	s := open(t, t.TempDir(), tor.Geometry(), Options{Quota: 48 << 20})
	var err error
	for i := 0; i < 64 && err == nil; i++ {
		err = put(t, s, tor, i)
	}
	if !errors.Is(err, cache.ErrNoSpace) {
		t.Fatalf("Put beyond the quota: %v, want ErrNoSpace", err)
	}
	st := s.Stats()
	if st.DiskBytes > 48<<20 || st.Pieces < 16 {
		t.Errorf("%d pieces, %d bytes of disk with a quota of %d", st.Pieces, st.DiskBytes, 48<<20)
	}
	if st.State == "ok" {
		t.Errorf("State = %q", st.State)
	}
	checkHad(t, s, tor)
}

// Deleted pieces give their disk space back.
func TestReclaim(t *testing.T) {
	tor := cachetest.NewTorrent(90, 1<<20, 1<<20)
	s := open(t, t.TempDir(), tor.Geometry(), Options{})
	mustPut(t, s, tor, all(90)...)
	before := s.Stats().DiskBytes
	for i := range 60 {
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
	if after > before-40<<20 {
		t.Errorf("disk bytes: %d, then %d: too little was given back", before, after)
	}
	if got := checkHad(t, s, tor); got != 30 {
		t.Errorf("%d pieces right, want 30", got)
	}
	mustPut(t, s, tor, all(60)...)
	if got := slices.Collect(s.Pieces()); !slices.Equal(got, all(90)) {
		t.Errorf("Pieces() = %v", got)
	}
}
