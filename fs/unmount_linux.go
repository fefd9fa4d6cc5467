package fs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// aliveLimit is how long a daemon may take to answer before ClearStale gives up on
// the question whether it lives.
const aliveLimit = 2 * time.Second

// unmount unmounts what is at a resolved directory. EBUSY means that it is in use.
func unmount(dir string) error {
	if os.Geteuid() == 0 {
		return unix.Unmount(dir, unix.UMOUNT_NOFOLLOW)
	}
	return fusermount(nil, "-u", "--", dir)
}

// detach unmounts lazily, and as root ends the connection by the same call.
func detach(dir string) error {
	if os.Geteuid() == 0 {
		return unix.Unmount(dir, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH|unix.MNT_FORCE)
	}
	return fusermount(nil, "-u", "-z", "--", dir)
}

// abort ends the connection through the control file system, which belongs to the
// mount's user, and reports whether that worked: it is not mounted everywhere.
func (c *connection) abort() bool {
	_, minor, ok := strings.Cut(c.dev, ":")
	if !ok {
		return false
	}
	err := os.WriteFile(filepath.Join("/sys/fs/fuse/connections", minor, "abort"), []byte("1"), 0)
	return err == nil
}

// detachAborts reports whether detach ends the connection.
func detachAborts() bool { return os.Geteuid() == 0 }

// ClearStale takes away a mount of a qqbtfs that died without unmounting, which
// answers everything with "transport endpoint is not connected". It reports whether
// there was one; a mount that lives stays.
func ClearStale(dir string) (bool, error) {
	path, err := resolve(dir)
	if err != nil {
		return false, err
	}
	if _, ok := mountedAt(path); !ok {
		return false, nil
	}
	dead, err := isDead(path)
	if err != nil || !dead {
		return false, err
	}
	if err := detach(path); err != nil {
		return false, fmt.Errorf("fs: clear the dead mount at %s: %w", path, err)
	}
	return true, nil
}

// isDead asks with statfs: stat can be answered from the kernel's cache. The answer
// of a daemon that hangs may never come, so the question is left behind then.
func isDead(dir string) (bool, error) {
	answer := make(chan error, 1)
	go func() {
		var st unix.Statfs_t
		answer <- unix.Statfs(dir, &st)
	}()
	select {
	case err := <-answer:
		return errors.Is(err, unix.ENOTCONN) || errors.Is(err, unix.ECONNABORTED), nil
	case <-time.After(aliveLimit):
		return false, fmt.Errorf("fs: the qqbtfs at %s does not answer", dir)
	}
}
