package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/qqbtfs/qqbtfs/cache"
	"github.com/qqbtfs/qqbtfs/cache/cachetest"
)

// files returns what is in dir: for each path its size and when it was changed last.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := make(map[string]string)
	must(t, filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		must(t, unix.Lstat(name, &st))
		found[name] = fmt.Sprint(st.Mode, st.Size, st.Mtim, st.Ctim)
		return nil
	}))
	return found
}

func openReadOnly(t *testing.T, dir, scratch string, tor *cachetest.Torrent) *Store {
	t.Helper()
	s, err := OpenReadOnly(dir, tor.Geometry(), Options{Scratch: scratch})
	must(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

// empty fails the test unless nothing is in dir.
func empty(t *testing.T, dir string) {
	t.Helper()
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("left in the scratch directory: %v %v", entries, err)
	}
}

// makeStores makes a store of 40 pieces less the fourth, as a clean stop and as a
// crash leave it.
func makeStores(t *testing.T, tor *cachetest.Torrent) map[string]string {
	t.Helper()
	whole := filepath.Join(t.TempDir(), "whole")
	s := open(t, whole, tor.Geometry(), Options{Quota: 16 << 20, MinFree: -1}) // with small files
	mustPut(t, s, tor, all(20)...)
	must(t, s.Delete(3))
	must(t, s.alone(s.bury))
	must(t, s.alone(s.merge)) // so that there is a table
	mustPut(t, s, tor, all(40)[20:]...)
	// What a crash leaves: logs with sparse ends, and no clean stop.
	crashed := filepath.Join(t.TempDir(), "crashed")
	copyStore(t, crashed, whole)
	stop(s)
	return map[string]string{"clean": whole, "crashed": crashed}
}

// Everything is read from a directory in which nothing is changed, not even a time.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	tor := cachetest.NewTorrent(40, 40<<10, 70)
	for state, dir := range makeStores(t, tor) {
		t.Run(state, func(t *testing.T) {
			before, scratch := files(t, dir), t.TempDir()
			s := openReadOnly(t, dir, scratch, tor)
			if got := checkHad(t, s, tor); got != 39 {
				t.Errorf("%d pieces right, want 39", got)
			}
			if err := put(t, s, tor, 3); !errors.Is(err, cache.ErrReadOnly) {
				t.Errorf("Put: %v, want ErrReadOnly", err)
			}
			must(t, s.Delete(5))
			if s.Has(5) || s.Has(3) {
				t.Error("a piece is had that was deleted, or never put")
			}
			must(t, s.Flush(context.Background()))
			stop(s)
			empty(t, scratch)
			if after := files(t, dir); !maps.Equal(before, after) {
				t.Errorf("files were %v, now %v", before, after)
			}
			if got := checkHad(t, openReadOnly(t, dir, scratch, tor), tor); got != 39 {
				t.Errorf("%d pieces right the next time, want 39", got)
			}
		})
	}
}

// A store that somebody writes to is left alone, and a writer that comes later is
// not held up: what it removes is a miss.
func TestReadOnlyBesideWriter(t *testing.T) {
	t.Parallel()
	tor, dir, scratch := cachetest.NewTorrent(24, 1<<20, 1<<20), t.TempDir(), t.TempDir()
	const quota = 40 << 20 // with small files
	w := open(t, dir, tor.Geometry(), Options{Quota: quota, MinFree: -1})
	mustPut(t, w, tor, all(24)...)
	if s, err := OpenReadOnly(dir, tor.Geometry(), Options{Scratch: scratch}); !errors.Is(err, ErrLocked) {
		t.Fatalf("beside a writer: %v, %v, want ErrLocked", s, err)
	}
	empty(t, scratch)
	stop(w)
	s := openReadOnly(t, dir, scratch, tor)
	w = open(t, dir, tor.Geometry(), Options{Quota: quota, MinFree: -1})
	for i := range 20 {
		must(t, w.Delete(i))
	}
	must(t, w.alone(func() error { return w.reclaimNow(func() bool { return false }, lastRatio) }))
	right := checkHad(t, s, tor)
	if got := s.Stats().Damaged; right+int(got) != 24 || right == 24 {
		t.Errorf("%d pieces right, %d damaged of 24: was anything reclaimed?", right, got)
	}
	if got := checkHad(t, w, tor); got != 4 {
		t.Errorf("the writer has %d pieces right, want 4", got)
	}
}

// What is not a store of the torrent is an error and no harm.
func TestReadOnlyStrange(t *testing.T) {
	tor, other := cachetest.NewTorrent(4, 1000, 10), cachetest.NewTorrent(5, 900, 10)
	dir, scratch := t.TempDir(), t.TempDir()
	if _, err := OpenReadOnly(filepath.Join(dir, "none"), tor.Geometry(), Options{Scratch: scratch}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing there: %v, want ErrNotExist", err)
	}
	s := open(t, dir, tor.Geometry(), Options{})
	mustPut(t, s, tor, all(4)...)
	stop(s)
	if _, err := OpenReadOnly(dir, other.Geometry(), Options{Scratch: scratch}); err == nil {
		t.Error("another torrent: no error")
	}
	// Somebody else's directory may have anything in it.
	must(t, unix.Mkfifo(filepath.Join(dir, "data-1", "000007.vlog"), 0o600))
	must(t, os.Symlink("/dev/zero", filepath.Join(dir, "data-1", "00007.mem")))
	if got := checkHad(t, openReadOnly(t, dir, scratch, tor), tor); got != 4 {
		t.Errorf("%d pieces right, want 4", got)
	}
	if _, err := OpenReadOnly(dir, tor.Geometry(), Options{Scratch: filepath.Join(scratch, "none")}); err == nil {
		t.Error("no scratch directory: no error")
	}
}

// What a crash left is removed, what is in use is not.
func TestScratchIsSwept(t *testing.T) {
	parent := t.TempDir()
	write(t, filepath.Join(parent, scratchPrefix+"dead"), "MANIFEST", "x")
	one, err := newScratch(parent)
	must(t, err)
	two, err := newScratch(parent)
	must(t, err)
	for _, s := range []*scratch{one, two} {
		if _, err := os.Stat(s.dir); err != nil {
			t.Error(err)
		}
	}
	one.close()
	two.close()
	empty(t, parent)
}

// logEnd finds the end that Badger finds: TestReadOnly and TestDamagedFiles open what
// it has cut, which Badger refuses at the smallest difference. Whatever it is given, it
// ends within that, and what it has cut ends where it was cut.
func FuzzLogEnd(f *testing.F) {
	header := make([]byte, vlogHeader)
	entry := func(flags byte, key, value string) []byte {
		b := append([]byte{flags, 0, byte(len(key)), byte(len(value)), 0}, key+value...)
		return fmt.Appendf(b, "%s", beSum(b))
	}
	one := append(header, entry(0, "kexampleTS", "v")...)
	txn := append(append(one, entry(bitTxn, "key\xff\xff\xff\xff\xff\xff\xff\xfa", "v")...), entry(bitFinTxn, "!txn!", "5")...)
	for _, b := range [][]byte{nil, header, one, txn, txn[:len(txn)-1], append(txn, make([]byte, 99)...), append(one, 0xff, 0xff, 0xff)} {
		f.Add(b)
	}
	if got := logEnd(append(txn, 0, 0, 0, 0, 0)); got != len(txn) {
		f.Errorf("logEnd = %d, want %d", got, len(txn))
	}
	if got := logEnd(txn[:len(txn)-1]); got != len(one) {
		f.Errorf("logEnd of half a transaction = %d, want %d", got, len(one))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		end := logEnd(b)
		if end < 0 || end > len(b) || end < min(vlogHeader, len(b)) || logEnd(b[:end]) != end {
			t.Errorf("logEnd = %d of %d, then %d", end, len(b), logEnd(b[:min(max(end, 0), len(b))]))
		}
	})
}

// beSum returns the checksum of b as a log has it.
func beSum(b []byte) []byte {
	sum := slabSum(b)
	return []byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)}
}
