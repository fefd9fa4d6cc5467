package badgerstore

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/qqbtfs/qqbtfs/cache"
	"github.com/qqbtfs/qqbtfs/cache/cachetest"
)

// A cache that evicts in write order goes through a torrent of many times its
// quota, and its files never take more than that.
func TestQuotaIsHard(t *testing.T) {
	t.Parallel()
	for quota, total := range map[int64]int64{16 << 20: 48 << 20, 24 << 20: 36 << 20} {
		tor := cachetest.NewTorrent(int(total>>18), 256<<10, 256<<10)
		dir := t.TempDir()
		s := open(t, dir, tor.Geometry(), Options{Quota: quota, MinFree: -1})
		keep := int(Capacity(quota) / (256 << 10))
		if int64(keep)*(256<<10) < quota/3 {
			t.Errorf("of a quota of %d MiB only %d pieces are usable", quota>>20, keep)
		}
		most := int64(0)
		for i := range tor.NumPieces() {
			if i >= keep {
				must(t, s.Delete(i-keep))
			}
			mustPut(t, s, tor, i)
			most = max(most, diskBytes(dir))
		}
		if most > quota {
			t.Errorf("%d bytes on disk, the quota is %d", most, quota)
		}
		if got := checkHad(t, s, tor); got != keep {
			t.Errorf("%d pieces right, want %d", got, keep)
		}
		stop(s)
		s = open(t, dir, tor.Geometry(), Options{Quota: quota, MinFree: -1})
		want := all(tor.NumPieces())[tor.NumPieces()-keep:]
		if got := s.WriteOrder(); !slices.Equal(got, want) {
			t.Errorf("WriteOrder() after reopening = %v", got)
		}
		stop(s)
	}
}

// Without anybody who deletes, the quota refuses; a store of an earlier run that is
// larger shrinks to it.
func TestQuotaRefuses(t *testing.T) {
	t.Parallel()
	const quota = 16 << 20
	tor, dir := cachetest.NewTorrent(100, 256<<10, 256<<10), t.TempDir()
	s := open(t, dir, tor.Geometry(), Options{Quota: quota, MinFree: -1})
	n := 0
	for err := error(nil); err == nil; n++ {
		if err = put(t, s, tor, n); err != nil && !errors.Is(err, cache.ErrQuota) {
			t.Fatal(err)
		}
	}
	if got := checkHad(t, s, tor); got != n-1 || int64(got)<<18 < Capacity(quota) || diskBytes(dir) > quota {
		t.Errorf("%d pieces right of %d, %d bytes on disk", got, n-1, diskBytes(dir))
	}
	if st := s.Stats(); st.State == "ok" || st.DiskBytes > quota || st.DiskLimit != quota {
		t.Errorf("Stats: %+v", st)
	}
	stop(s)

	s = open(t, dir, tor.Geometry(), Options{MinFree: -1})
	mustPut(t, s, tor, all(100)...)
	stop(s)
	s = open(t, dir, tor.Geometry(), Options{Quota: quota, MinFree: -1})
	for _, i := range s.WriteOrder()[:76] {
		must(t, s.Delete(i))
	}
	mustPut(t, s, tor, 0)
	must(t, s.Flush(context.Background()))
	if n := diskBytes(dir); n > quota {
		t.Errorf("%d bytes on disk after shrinking", n)
	}
	if got := checkHad(t, s, tor); got != 25 {
		t.Errorf("%d pieces right, want 25", got)
	}
	stop(s)
}

// A crash without a quota leaves more keys in Badger's log than fit into the memory of
// one with a quota. They fit when it is opened with one.
func TestQuotaAfterCrash(t *testing.T) {
	t.Parallel()
	tor := cachetest.NewTorrent(60_000, 1, 1)
	one, two := t.TempDir(), filepath.Join(t.TempDir(), "c")
	s := open(t, one, tor.Geometry(), Options{MinFree: -1})
	mustPut(t, s, tor, all(60_000)...)
	copyStore(t, two, one)
	stop(s)
	quota := Options{Quota: 32 << 20, MinFree: -1}
	for range 2 { // as the crash left it, and as a clean stop did
		s = open(t, two, tor.Geometry(), quota)
		if n, _ := s.have.size(); n != 60_000 {
			t.Errorf("%d pieces had, want 60000", n)
		}
		stop(s)
	}
	if got := memTableFor(s.home.data, s.sizes); got != 2<<20 {
		t.Errorf("a memtable of %d bytes after a clean stop, want 2 MiB", got)
	}
}

// When a damage took Badger's knowledge of what is garbage, the quota is not used up
// by it for ever.
func TestQuotaAfterDamage(t *testing.T) {
	t.Parallel()
	const quota = 24 << 20
	tor, dir := cachetest.NewTorrent(40, 256<<10, 256<<10), t.TempDir()
	s := open(t, dir, tor.Geometry(), Options{Quota: quota, MinFree: -1})
	mustPut(t, s, tor, all(40)...)
	for i := range 30 {
		must(t, s.Delete(i))
	}
	must(t, s.alone(s.merge))
	tables, err := filepath.Glob(filepath.Join(s.home.data, "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatal(tables, err)
	}
	data := s.home.data
	stop(s)
	overwrite(t, filepath.Join(data, filepath.Base(tables[0])), 0, 1, noise)
	for range 3 {
		s = open(t, dir, tor.Geometry(), Options{Quota: quota, MinFree: -1})
		for i := range s.Pieces() {
			must(t, s.Delete(i))
		}
		mustPut(t, s, tor, all(40)...)
		if got := checkHad(t, s, tor); got != 40 || diskBytes(dir) > quota {
			t.Errorf("%d pieces right, %d bytes on disk", got, diskBytes(dir))
		}
		stop(s)
		must(t, os.Remove(filepath.Join(data, discardName)))
	}
}
