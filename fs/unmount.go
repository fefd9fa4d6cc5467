package fs

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"
)

// ErrBusy means that programs have files of the mount open.
var ErrBusy = errors.New("busy: programs have files open there")

const (
	// unmountLimit bounds Unmount, whatever the kernel and the readers do.
	unmountLimit = 2 * time.Second
	// busyTries is how often a busy mount is tried again, after 10 ms and then
	// twice as long each time: 310 ms in all.
	busyTries = 5
)

// Unmount ends the file system. Reads that wait must be made to fail by the caller
// first. While files are open it is retried for a moment; after that the mount is
// taken out of the tree and its connection ended, so that programs that still use it
// get errors. It returns when all requests have ended, and in 2 s at the latest.
func (f *FS) Unmount(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, unmountLimit)
	defer cancel()
	if f.mounted() {
		if err := retryBusy(ctx, f.dir); err != nil {
			f.opt.Logger.Debug("unmount by force", "dir", f.dir, "reason", err)
			if err := f.force(); err != nil {
				return fmt.Errorf("fs: unmount %s: %w", f.dir, err)
			}
		}
	} else { // somebody did, but may have left files open
		select {
		case <-f.done:
		case <-time.After(unmountLimit / 10):
			f.conn.abort()
		}
	}
	select {
	case <-f.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("fs: %s is unmounted, but requests are still running: %w", f.dir, ctx.Err())
	}
}

// mounted reports whether our mount, and not another one, is at our directory.
func (f *FS) mounted() bool {
	select {
	case <-f.done:
		return false
	default:
	}
	m, ok := mountedAt(f.dir)
	return ok && m.Dev == f.conn.dev
}

// force ends a busy mount.
func (f *FS) force() error {
	f.conn.abort()
	return detach(f.dir)
}

// retryBusy unmounts, and waits a moment for files to be closed.
func retryBusy(ctx context.Context, dir string) error {
	wait := 10 * time.Millisecond
	for try := 0; ; try++ {
		err := unmount(dir)
		if !errors.Is(err, syscall.EBUSY) {
			return err
		}
		if try == busyTries {
			return ErrBusy
		}
		select {
		case <-ctx.Done():
			return ErrBusy
		case <-time.After(wait):
		}
		wait *= 2
	}
}

// Unmount unmounts the qqbtfs at a directory, of this or another process and alive or
// dead. A dead one is taken away even when it is busy; a busy one that lives is
// ErrBusy.
func Unmount(dir string) error {
	path, err := resolve(dir)
	if err != nil {
		return err
	}
	if _, ok := mountedAt(path); !ok {
		return fmt.Errorf("fs: no qqbtfs is mounted at %s", path)
	}
	if cleared, err := ClearStale(path); cleared || err != nil {
		return err
	}
	if err := retryBusy(context.Background(), path); err != nil {
		return fmt.Errorf("fs: unmount %s: %w", path, err)
	}
	return nil
}

// Detach takes the qqbtfs at a directory out of the tree although it is busy, and ends
// its connection where this user may, so that what still uses it gets errors.
func Detach(dir string) error {
	path, err := resolve(dir)
	if err != nil {
		return err
	}
	if _, ok := mountedAt(path); !ok {
		return fmt.Errorf("fs: no qqbtfs is mounted at %s", path)
	}
	if err := detach(path); err != nil {
		return fmt.Errorf("fs: detach %s: %w", path, err)
	}
	return nil
}
