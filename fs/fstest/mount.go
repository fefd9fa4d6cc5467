package fstest

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/qqbtfs/qqbtfs/fs"
)

// reserve is how long before the deadline of a test its mounts are broken, so that
// programs which hang in them come back and the test can say what went wrong.
const reserve = 5 * time.Second

// Require skips the test where nothing can be mounted.
func Require(tb testing.TB) {
	tb.Helper()
	if _, err := os.Stat("/dev/fuse"); err != nil {
		tb.Skip("no FUSE here: ", err)
	}
	if _, err := exec.LookPath("fusermount3"); err != nil && os.Geteuid() != 0 {
		tb.Skip("not root, and no fusermount3: ", err)
	}
}

// Mount mounts torrents in a new directory until the end of the test, which fails if
// the mount or a handle of a fake torrent is left then.
func Mount(tb testing.TB, opt fs.Options, ts ...fs.Torrent) *fs.FS {
	tb.Helper()
	Require(tb)
	dir := tb.TempDir()
	Guard(tb, dir)
	f, err := fs.Mount(dir, ts, opt)
	if err != nil {
		tb.Fatal(err)
	}
	NoPoll(dir)
	tb.Cleanup(func() {
		if err := f.Unmount(context.Background()); err != nil {
			tb.Error(err)
		}
		for _, t := range ts {
			if t, ok := t.(*Torrent); ok && t.State().Open != 0 {
				tb.Errorf("torrent %q has %d open handles after the unmount", t.Name(), t.State().Open)
			}
		}
	})
	return f
}

// NoPoll makes a mount usable for the process that serves it. Go adds every file that
// it opens to its poller, which FUSE turns into a request, during which Go runs nothing
// else on that thread: with all threads in there nobody is left to answer. go-fuse keeps
// a file on which one poll can be tried; the kernel then knows that there is none.
func NoPoll(dir string) {
	fd, err := unix.Open(filepath.Join(dir, ".go-fuse-epoll-hack"), unix.O_RDONLY, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
}

// Guard breaks whatever qqbtfs is mounted at dir when the test ends, or shortly before
// its deadline. It is for tests that mount in another process; Mount does it itself.
func Guard(tb testing.TB, dir string) {
	tb.Helper()
	tb.Cleanup(func() {
		if fs.Detach(dir) == nil {
			tb.Errorf("a mount was left at %s", dir)
		}
	})
	t, ok := tb.(interface{ Deadline() (time.Time, bool) })
	if !ok {
		return
	}
	if deadline, ok := t.Deadline(); ok {
		timer := time.AfterFunc(time.Until(deadline)-reserve, func() { fs.Detach(dir) })
		tb.Cleanup(func() { timer.Stop() })
	}
}
