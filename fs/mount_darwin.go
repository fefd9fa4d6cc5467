package fs

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// connection is a mount that macFUSE makes through go-fuse.
type connection struct {
	dir string
	dev string // empty: mounts are told apart by directory
}

func connect(dir string, _ Options) (*connection, error) { return &connection{dir: dir}, nil }

func (c *connection) serve(raw fuse.RawFileSystem, opt Options) (*fuse.Server, error) {
	return fuse.NewServer(raw, c.dir, opt.fuse())
}

// ready waits until the kernel has finished mounting.
func (c *connection) ready(server *fuse.Server) error { return server.WaitMount() }

func (c *connection) close()      {}
func (c *connection) abort() bool { return false }

// detachAborts reports whether detach ends the connection.
func detachAborts() bool { return true }

// abandoned implements filesystem.abandoned. The end of the connection shows as an
// interrupt.
func (c *connection) abandoned(pid uint32, interrupted bool) bool {
	return interrupted || pid != 0 && unix.Kill(int(pid), 0) == unix.ESRCH
}

func prepare(dir string, _ Options) (string, error) {
	path, err := resolve(dir)
	if err != nil {
		return "", err
	}
	if _, ok := mountedAt(path); ok {
		return "", fmt.Errorf("fs: a qqbtfs is mounted at %s already", path)
	}
	st, err := os.Stat(path)
	switch {
	case err != nil:
		return "", fmt.Errorf("fs: mount point: %w", err)
	case !st.IsDir():
		return "", fmt.Errorf("fs: the mount point %s is not a directory", path)
	}
	return path, nil
}

func resolve(dir string) (string, error) {
	path, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	parent, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return "", fmt.Errorf("fs: mount point %s: %w", path, err)
	}
	return filepath.Join(parent, filepath.Base(path)), nil
}

// MountPoint is one mount of a qqbtfs, alive or dead.
type MountPoint struct {
	Dir    string // absolute, without symbolic links
	Source string // Options.FSName
	Dev    string // not known on this system
}

// Mounts lists the qqbtfs mounts of this machine, without touching them.
func Mounts() ([]MountPoint, error) {
	n, err := unix.Getfsstat(nil, unix.MNT_NOWAIT)
	if err != nil {
		return nil, err
	}
	stats := make([]unix.Statfs_t, n)
	if n, err = unix.Getfsstat(stats, unix.MNT_NOWAIT); err != nil {
		return nil, err
	}
	var mounts []MountPoint
	for _, st := range stats[:n] {
		source := unix.ByteSliceToString(st.Mntfromname[:])
		if strings.Contains(unix.ByteSliceToString(st.Fstypename[:]), "fuse") && strings.Contains(source, subtype) {
			mounts = append(mounts, MountPoint{Dir: unix.ByteSliceToString(st.Mntonname[:]), Source: source})
		}
	}
	return mounts, nil
}

func mountedAt(dir string) (MountPoint, bool) {
	mounts, _ := Mounts()
	for _, m := range slices.Backward(mounts) {
		if m.Dir == dir {
			return m, true
		}
	}
	return MountPoint{}, false
}

func unmount(dir string) error { return umount(dir) }

func detach(dir string) error { return umount("-f", dir) }

func umount(args ...string) error {
	out, err := exec.Command("/sbin/umount", args...).CombinedOutput()
	switch {
	case err == nil:
		return nil
	case strings.Contains(string(out), "busy"):
		return unix.EBUSY
	}
	return errors.New(strings.TrimSpace(string(out)))
}

// ClearStale does nothing here: macFUSE unmounts when a daemon dies.
func ClearStale(string) (bool, error) { return false, nil }

func (c *connection) setReadAhead(int) {}
