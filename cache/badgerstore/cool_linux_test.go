package badgerstore

import (
	"os"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/qqbtfs/qqbtfs/cache"
	"github.com/qqbtfs/qqbtfs/cache/cachetest"
)

// What was read as a whole and left the RAM tier leaves the page cache too, and can
// still be read; so does what an earlier run has put.
func TestCool(t *testing.T) {
	tor := cachetest.NewTorrent(160, 1<<20, 1<<20)
	dir := t.TempDir()
	dst := make([]byte, 1<<20)
	for run := range 2 {
		s := open(t, dir, tor.Geometry(), Options{MinFree: -1})
		c := cache.New(cache.Config{Geometry: tor.Geometry(), Disk: s, RAM: 16 << 20})
		defer c.Close()
		for i := range 160 {
			if run == 0 {
				if err := c.Put(t.Context(), tor.Piece(t, nil, i)); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.ReadAt(dst, i, 0); err != nil || string(dst) != string(tor.Data[i<<20:][:1<<20]) {
				t.Fatalf("piece %d: %v", i, err)
			}
		}
		awaitCold(t, s.ahead.vlog.path(1))
		for i := range 160 {
			if err := c.ReadAt(dst, i, 0); err != nil || string(dst) != string(tor.Data[i<<20:][:1<<20]) {
				t.Fatalf("piece %d: %v", i, err)
			}
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// awaitCold waits until next to nothing of a file is in the page cache.
func awaitCold(t *testing.T, first string) {
	t.Helper()
	for begun := time.Now(); inCore(t, first) > 16<<20; { // the kernel tells nobody
		if time.Since(begun) > 20*time.Second {
			t.Fatalf("%d bytes of %s are still in memory", inCore(t, first), first)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// inCore returns how many bytes of a file are in the page cache.
func inCore(t *testing.T, name string) (n int64) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, _ := f.Stat()
	m, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(m)
	pages := make([]byte, (len(m)+4095)/4096)
	_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&m[0])), uintptr(len(m)), uintptr(unsafe.Pointer(&pages[0])))
	if errno != 0 {
		t.Fatal(errno)
	}
	for _, p := range pages {
		n += int64(p&1) * 4096
	}
	return n
}
