package fstest

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"

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
