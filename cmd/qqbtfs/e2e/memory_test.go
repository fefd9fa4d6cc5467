package e2e

import (
	"bytes"
	"context"
	"os"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// sampleMemory is how often watchMemory looks.
const sampleMemory = 2 * time.Millisecond

// anon returns how much memory a process has that is not of files, in bytes, and false
// where there is no such process.
func anon(pid int) (int64, bool) {
	b, err := os.ReadFile("/proc/" + itoa(pid) + "/status")
	_, rest, found := bytes.Cut(b, []byte("\nRssAnon:"))
	if err != nil || !found {
		return 0, false
	}
	kib, _, _ := bytes.Cut(rest, []byte("kB"))
	n, err := strconv.ParseInt(string(bytes.TrimSpace(kib)), 10, 64)
	return n << 10, err == nil
}

// watchMemory samples the anonymous memory of a process until peak is called, which
// returns the most that was seen, in bytes. It is called once.
func watchMemory(t *testing.T, pid int) (peak func() int64) {
	ctx, stop := context.WithCancel(t.Context())
	most := make(chan int64, 1)
	go func() {
		tick := time.NewTicker(sampleMemory)
		defer tick.Stop()
		for top := int64(0); ; {
			n, _ := anon(pid)
			top = max(top, n)
			select {
			case <-tick.C:
			case <-ctx.Done():
				most <- top
				return
			}
		}
	}()
	return func() int64 { stop(); return <-most }
}

// watchMemory sees memory that is given back before anybody asks.
func TestWatchMemory(t *testing.T) {
	const size = 64 << 20
	before, ok := anon(os.Getpid())
	if !ok {
		t.Skip("no /proc here")
	}
	peak := watchMemory(t, os.Getpid())
	b, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(b); i += os.Getpagesize() {
		b[i] = 1
	}
	await(t, "a sample", func() bool { n, _ := anon(os.Getpid()); return n >= size })
	if err := unix.Munmap(b); err != nil {
		t.Fatal(err)
	}
	if got := peak(); got < size {
		t.Errorf("it saw %d MiB at most, %d before", got>>20, before>>20)
	}
}
