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
	// detachedLimit is how long it waits for programs to close their files where it
	// cannot make them, and for the end of the connection after a plain unmount.
	detachedLimit = 500 * time.Millisecond
	// busyTries is how often a busy mount is tried again, after 10 ms and then
	// twice as long each time: 310 ms in all.
	busyTries = 5
)

// Unmount ends the file system. Where files are open, the reads that wait are made to
// fail and it is tried again for a moment; after that the mount is taken out of the tree
// and its connection ended, so that programs that still use it get errors. It returns
// when all requests have ended, and after 2 s at the latest.
//
// A plain user's process may not end a connection unless /sys/fs/fuse/connections is
// mounted, and nobody can take away the copy of the mount that a mount namespace made
// later has. The error says so then; the end of the process does the rest.
func (f *FS) Unmount(ctx context.Context) error {
	select {
	case <-f.done: // an abort leaves a dead mount in the tree
		_, err := ClearStale(f.dir)
		return err
	default:
	}
	ctx, cancel := context.WithTimeout(ctx, unmountLimit)
	defer cancel()
	if f.mounted() && unmount(f.dir) == nil && f.wait(ctx, detachedLimit) == nil {
		return nil
	}
	f.raw.end()
	aborted := false
	if f.mounted() {
		if err := retryBusy(ctx, f.dir); err != nil {
			f.opt.Logger.Debug("unmount by force", "dir", f.dir, "reason", err)
			aborted = f.conn.abort() || detachAborts()
			if err := detach(f.dir); err != nil {
				return fmt.Errorf("fs: unmount %s: %w", f.dir, err)
			}
		}
	} else { // but files are open after a lazy unmount, or another mount namespace has a copy
		aborted = f.conn.abort()
	}
	if aborted {
		return f.wait(ctx, unmountLimit)
	}
	return f.wait(ctx, detachedLimit)
}

// wait waits for the last request.
func (f *FS) wait(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	select {
	case <-f.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("fs: %s is unmounted, but programs still have files of it open, or another mount namespace a copy of it", f.dir)
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
