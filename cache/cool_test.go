package cache_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/qqbtfs/qqbtfs/cache"
	"github.com/qqbtfs/qqbtfs/cache/cachetest"
	"github.com/qqbtfs/qqbtfs/cache/memstore"
)

// coolDisk notes what may leave memory.
type coolDisk struct {
	*cachetest.FaultStore
	cooled []int
}

func (d *coolDisk) Cool(i int) bool {
	d.cooled = append(d.cooled, i)
	return true
}

// A piece that was read as a whole and is not in RAM may leave the disk's memory, once;
// what comes back from the disk after that is checked.
func TestCooling(t *testing.T) {
	tor := cachetest.NewTorrent(10, pieceLen, pieceLen)
	disk := &coolDisk{FaultStore: cachetest.NewFaultStore(memstore.New(tor.Geometry()), 0, errFault)}
	c := cache.New(cache.Config{Geometry: tor.Geometry(), Disk: disk, RAM: 3 * pieceLen, Pool: tor.Pool()})
	defer c.Close()
	put := func(is ...int) {
		t.Helper()
		for _, i := range is {
			if err := errors.Join(c.Put(t.Context(), tor.Piece(t, nil, i)), c.Flush(t.Context())); err != nil {
				t.Fatal(err)
			}
		}
	}
	read := func(i, off int) error { return c.ReadAt(make([]byte, pieceLen/2), i, off) }
	wantCooled := func(when string, want ...int) {
		t.Helper()
		if !slices.Equal(disk.cooled, want) {
			t.Errorf("%s: cooled %v, want %v", when, disk.cooled, want)
		}
	}
	put(0, 1, 2)
	if err := errors.Join(read(0, 0), read(0, pieceLen/2), read(1, 0)); err != nil {
		t.Fatal(err)
	}
	wantCooled("in RAM")
	put(3, 4, 5)
	wantCooled("dropped from RAM", 0)
	if err := read(1, pieceLen/2); err != nil {
		t.Fatal(err)
	}
	wantCooled("the rest read from disk", 0, 1)
	disk.Spoil(0)
	if err := read(0, 0); !errors.Is(err, cache.ErrMiss) {
		t.Errorf("a spoilt piece after it has left memory: %v", err)
	}
	wantCooled("in the end", 0, 1)
}
