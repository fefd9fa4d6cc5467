//go:build linux

package badgerstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/qqbtfs/qqbtfs/cache"
	"github.com/qqbtfs/qqbtfs/cache/cachetest"
)

// smallDisk mounts an empty file system of size bytes until the test ends.
func smallDisk(t *testing.T, size int64) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting a small disk needs root")
	}
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		t.Skip("can't mount a small disk:", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
			unix.Unmount(dir, unix.MNT_DETACH)
		}
	})
	return dir
}

// hog fills the disk that dir is on to the last block, as another program would.
func hog(t *testing.T, dir string) string {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "hog"))
	must(t, err)
	defer f.Close()
	for block := make([]byte, 1<<20); len(block) > 0; {
		if _, err := f.Write(block); errors.Is(err, unix.ENOSPC) {
			block = block[:len(block)/2]
		} else {
			must(t, err)
		}
	}
	return f.Name()
}

func fullTorrent() *cachetest.Torrent { return cachetest.NewTorrent(80, 1<<20, 1<<20) }

// putUntilFull puts pieces until the store refuses and returns how many it took.
func putUntilFull(t *testing.T, s *Store, tor *cachetest.Torrent) int {
	t.Helper()
	for i := range tor.NumPieces() {
		if err := put(t, s, tor, i); errors.Is(err, cache.ErrNoSpace) {
			return i
		} else if err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("the disk is not full")
	return 0
}

// The store itself fills the disk: it stops at its reserve.
func TestFilledByUs(t *testing.T) {
	t.Parallel()
	for _, minFree := range []int64{0, -1} {
		t.Run(fmt.Sprint(minFree), func(t *testing.T) {
			disk, tor := smallDisk(t, 64<<20), fullTorrent()
			s := open(t, filepath.Join(disk, "c"), tor.Geometry(), Options{MinFree: minFree})
			n := putUntilFull(t, s, tor)
			if n < 8 {
				t.Errorf("only %d MiB were taken", n)
			}
			free, _, err := statfs(disk)
			if err != nil || free < max(minFree, 0) {
				t.Errorf("%d bytes free (%v), want %d", free, err, minFree)
			}
			if st := s.Stats(); st.Pieces != n || st.State == "ok" || st.WriteErrs == 0 {
				t.Errorf("after %d pieces: %+v", n, st)
			}
			if got := checkHad(t, s, tor); got != n {
				t.Errorf("%d pieces right, want %d", got, n)
			}
			stop(s)
			s = open(t, filepath.Join(disk, "c"), tor.Geometry(), Options{MinFree: minFree})
			if got := checkHad(t, s, tor); got != n {
				t.Errorf("%d pieces right after reopening, want %d", got, n)
			}
			stop(s)
		})
	}
}

// Somebody else fills the disk to the last byte while the store is open: it
// refuses to write, reads, closes, opens for reading, and writes again when there
// is space.
func TestFilledByOthers(t *testing.T) {
	t.Parallel()
	disk, tor := smallDisk(t, 160<<20), fullTorrent()
	dir := filepath.Join(disk, "c")
	s := open(t, dir, tor.Geometry(), Options{})
	mustPut(t, s, tor, all(20)...)
	full := hog(t, disk)
	for i := range 20 {
		if err := put(t, s, tor, 20+i); !errors.Is(err, cache.ErrNoSpace) {
			t.Fatalf("Put on a full disk: %v, want ErrNoSpace", err)
		}
	}
	if got := checkHad(t, s, tor); got != 20 {
		t.Errorf("%d pieces right on a full disk, want 20", got)
	}
	hog(t, disk) // what the ballast gave
	must(t, os.Remove(full))
	mustPut(t, s, tor, 20)
	if st := s.Stats().State; st != "ok" {
		t.Errorf("State = %q when there is space again", st)
	}
	hog(t, disk)
	stop(s)

	hog(t, disk)
	s = open(t, dir, tor.Geometry(), Options{})
	if got := slices.Collect(s.Pieces()); !slices.Equal(got, all(21)) {
		t.Errorf("reopened on a full disk: Pieces() = %v", got)
	}
	if got := checkHad(t, s, tor); got != 21 {
		t.Errorf("%d pieces right after reopening on a full disk, want 21", got)
	}
	if err := put(t, s, tor, 21); !errors.Is(err, cache.ErrNoSpace) {
		t.Errorf("Put after reopening on a full disk: %v, want ErrNoSpace", err)
	}
	must(t, s.Delete(0))
	must(t, os.Remove(full))
	mustPut(t, s, tor, 21)
	if got := slices.Collect(s.Pieces()); !slices.Equal(got, all(22)[1:]) {
		t.Errorf("with space again: Pieces() = %v", got)
	}
	if got := checkHad(t, s, tor); got != 21 {
		t.Errorf("%d pieces right with space again, want 21", got)
	}
	stop(s)
}

// Nothing fits, not even the directory.
func TestOpenOnFullDisk(t *testing.T) {
	t.Parallel()
	disk, tor := smallDisk(t, 64<<20), fullTorrent()
	full := hog(t, disk)
	s := open(t, filepath.Join(disk, "c"), tor.Geometry(), Options{MinFree: -1})
	if err := put(t, s, tor, 0); !errors.Is(err, cache.ErrNoSpace) {
		t.Errorf("Put: %v, want ErrNoSpace", err)
	}
	if st := s.Stats().State; st != "disk full: RAM only" {
		t.Errorf("State = %q", st)
	}
	must(t, os.Remove(full))
	mustPut(t, s, tor, 0)
	if got := checkHad(t, s, tor); got != 1 {
		t.Errorf("%d pieces right, want 1", got)
	}
	stop(s)
}

// After a crash Badger's logs are to be replayed. On a full disk they are read.
func TestOpenOnFullDiskAfterCrash(t *testing.T) {
	t.Parallel()
	disk, tor := smallDisk(t, 120<<20), fullTorrent()
	one, two := filepath.Join(disk, "one"), filepath.Join(disk, "two")
	s := open(t, one, tor.Geometry(), Options{})
	mustPut(t, s, tor, all(10)...)
	copyStore(t, two, one)
	stop(s)
	full := hog(t, disk)
	s = open(t, two, tor.Geometry(), Options{})
	if got := checkHad(t, s, tor); got != 0 {
		t.Errorf("%d pieces right on the full disk without a scratch directory, want 0", got)
	}
	stop(s)
	scratch := t.TempDir()
	s = open(t, two, tor.Geometry(), Options{Scratch: scratch})
	if got := checkHad(t, s, tor); got != 10 {
		t.Errorf("%d pieces right on the full disk, want 10", got)
	}
	if err := put(t, s, tor, 11); !errors.Is(err, cache.ErrNoSpace) {
		t.Errorf("Put: %v, want ErrNoSpace", err)
	}
	must(t, os.Remove(full))
	mustPut(t, s, tor, 11)
	if got := checkHad(t, s, tor); got != 11 {
		t.Errorf("%d pieces right with space again, want 11", got)
	}
	empty(t, scratch)
	stop(s)
}

func TestReadOnlyDirectory(t *testing.T) {
	disk, tor := smallDisk(t, 64<<20), fullTorrent()
	must(t, unix.Mount("none", disk, "tmpfs", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	_, err := Open(filepath.Join(disk, "c"), tor.Geometry(), Options{})
	if err == nil || !strings.Contains(err.Error(), "not writable") || !strings.Contains(err.Error(), disk) {
		t.Errorf("Open: %v, want an error that says what is not writable", err)
	}
}

// The log of the next memtable has its first blocks before Badger stores into it: then a
// disk that others fill at this very moment is no SIGBUS.
func TestNextLogIsReady(t *testing.T) {
	t.Parallel()
	dir, tor := t.TempDir(), fullTorrent()
	s := open(t, dir, tor.Geometry(), Options{})
	mustPut(t, s, tor, 0)
	wal := &s.ahead.wal
	ready := func(when string) {
		t.Helper()
		info, err := os.Lstat(wal.path(wal.id + 1))
		must(t, err)
		if info.Size() != 0 || statBlocks(info) < wal.step {
			t.Errorf("%s: the next log has %d bytes and %d on disk, want none and %d", when, info.Size(), statBlocks(info), wal.step)
		}
	}
	ready("after a put")
	first := wal.id
	must(t, s.alone(s.merge))
	if wal.id != first+1 {
		t.Fatalf("merging went from log %d to %d", first, wal.id)
	}
	mustPut(t, s, tor, 1)
	ready("with another memtable")
	if got := checkHad(t, s, tor); got != 2 {
		t.Errorf("%d pieces right, want 2", got)
	}
	unused := wal.path(wal.id + 1)
	stop(s)
	if _, err := os.Lstat(unused); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a log that was never used is left: %v", err)
	}
}

// Where there is no garbage to speak of, a full disk is no reason to look for it: that
// writes tables, and somebody else takes the last blocks.
func TestFullDiskWithoutGarbageIsLeftAlone(t *testing.T) {
	t.Parallel()
	dir, tor := t.TempDir(), fullTorrent()
	for _, when := range []string{"new", "opened again"} {
		s := open(t, dir, tor.Geometry(), Options{})
		mustPut(t, s, tor, 0, 1)
		s.setState("disk full: reading only")
		before := s.ahead.wal.id
		must(t, s.tidy())
		if s.ahead.wal.id != before {
			t.Errorf("%s: it merged for %d bytes of garbage", when, s.garbage.Load())
		}
		stop(s)
	}
}
