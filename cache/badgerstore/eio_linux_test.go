package badgerstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/cache"
)

// allErrors makes TestDiskErrors try operations that Badger does not always outlive: see
// docs/reliability.md.
const allErrors = "QQBTFS_ALL_DISK_ERRORS"

// When the disk fails with EIO, once or from some operation on: the process does not end,
// nothing hangs, no byte is wrong, and a mended disk is used again.
func TestDiskErrors(t *testing.T) {
	kinds := []opKind{opMkdir, opRename, opUnlink, opAllocate}
	if os.Getenv(allErrors) != "" {
		kinds = append(kinds, opSync, opCreate, opTruncate, opWrite, opRead)
	}
	for _, kind := range kinds {
		for _, once := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/once=%t", kind, once), func(t *testing.T) {
				t.Parallel()
				for n, seen := 0, 1; n < seen; n = n*3 + 1 {
					seen = withBadDisk(t, kind, n, once)
				}
			})
		}
	}
}

// withBadDisk runs useBadDisk on a disk whose operations of a kind fail: the n-th, from 0,
// and unless once all that follow. It returns how many there were.
func withBadDisk(t *testing.T, kind opKind, n int, once bool) (seen int) {
	d := mountDisk(t)
	d.fail(func(k opKind) bool {
		if k != kind {
			return false
		}
		seen++
		return seen == n+1 || seen > n && !once
	})
	cmd, _, out := startChild(t, "errors", filepath.Join(d.dir, "c"))
	hung := time.AfterFunc(5*time.Minute, func() { cmd.Process.Kill() })
	var last string
	for out.Scan() {
		last = out.Text()
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("operation %d fails: %v after %q", n, err, last)
	}
	hung.Stop()
	d.fail(nil)
	tor := crashTorrent()
	s, err := Open(filepath.Join(d.backing, "c"), tor.Geometry(), smallFiles)
	if err != nil {
		t.Fatalf("operation %d failed: open afterwards: %v", n, err)
	}
	checkHad(t, s, tor)
	mustPut(t, s, tor, 1, 2, 3)
	stopDamaged(s)
	return seen
}

// useBadDisk does what a store does in its life and takes every error but a wrong byte.
func useBadDisk(dir string) error {
	tor, t := crashTorrent(), new(testing.T)
	for round := range 3 {
		s, err := Open(dir, tor.Geometry(), smallFiles)
		fmt.Println("open", round, err)
		if err != nil {
			continue
		}
		for n := range 10 {
			i := (round*31 + n*7) % tor.NumPieces()
			err := errors.Join(s.Delete(i), put(t, s, tor, i, (i+1)%tor.NumPieces(), (i+2)%tor.NumPieces()))
			fmt.Println("put", i, err)
			if n%5 == 4 {
				fmt.Println("tidy", s.tidy())
			}
			for i := range s.Pieces() {
				dst := make([]byte, len(tor.Bytes(i)))
				if err := s.ReadAt(dst, i, 0); err == nil && !slices.Equal(dst, tor.Bytes(i)) {
					return fmt.Errorf("piece %d: wrong bytes", i)
				} else if err != nil && !errors.Is(err, cache.ErrMiss) {
					return fmt.Errorf("piece %d: %w", i, err)
				}
			}
		}
		fmt.Println("close", round)
		stopDamaged(s)
		fmt.Println("closed", round)
	}
	return nil
}
