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
// still be read.
func TestCool(t *testing.T) {
	tor := cachetest.NewTorrent(160, 1<<20, 1<<20)
	s := open(t, t.TempDir(), tor.Geometry(), Options{MinFree: -1})
	c := cache.New(cache.Config{Geometry: tor.Geometry(), Disk: s, RAM: 16 << 20})
	defer c.Close()
	dst := make([]byte, 1<<20)
	for i := range 160 {
		if err := c.Put(t.Context(), tor.Piece(t, nil, i)); err != nil {
			t.Fatal(err)
		}
		if err := c.ReadAt(dst, i, 0); err != nil {
			t.Fatal(err)
		}
	}
	first := s.ahead.vlog.path(1)
	for begun := time.Now(); inCore(t, first) > 8<<20; { // the kernel tells nobody
		if time.Since(begun) > time.Minute {
			t.Fatalf("%d bytes of %s are still in memory", inCore(t, first), first)
		}
		time.Sleep(10 * time.Millisecond)
	}
	for i := range 160 {
		if err := c.ReadAt(dst, i, 0); err != nil || string(dst) != string(tor.Data[i<<20:][:1<<20]) {
			t.Fatalf("piece %d: %v", i, err)
		}
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
