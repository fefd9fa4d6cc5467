package cachetest

import (
	"context"
	"testing"

	"github.com/qqbtfs/qqbtfs/cache"
)

// Persistence checks that a store finds its pieces again. open opens the store
// of the torrent g that lives in dir, which is empty the first time.
func Persistence(t *testing.T, open func(t *testing.T, dir string, g cache.Geometry) cache.Store) {
	tor := NewTorrent(7, 300<<10+17, 4000)
	dir := t.TempDir()
	reopen := func(change func(cache.Store) error) {
		t.Helper()
		st := open(t, dir, tor.Geometry())
		if err := change(st); err != nil {
			t.Fatal(err)
		}
		if err := st.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
	}
	check := func(want ...int) {
		t.Helper()
		reopen(func(st cache.Store) error {
			wantHas(t, st, tor, want...)
			return nil
		})
	}
	reopen(func(st cache.Store) error {
		return st.Put(context.Background(), tor.Piece(t, nil, 6), tor.Piece(t, nil, 2), tor.Piece(t, nil, 3))
	})
	check(2, 3, 6)
	reopen(func(st cache.Store) error { return st.Delete(3) })
	check(2, 6)
	reopen(func(st cache.Store) error {
		if err := st.Put(context.Background(), tor.Piece(t, nil, 0)); err != nil {
			return err
		}
		return st.Put(context.Background(), tor.Piece(t, nil, 3))
	})
	check(0, 2, 3, 6)
}
