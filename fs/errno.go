package fs

import (
	"context"
	"errors"
	"os"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// errno is the one place where an error becomes what a program sees. interrupted
// says that the request's caller is gone, which alone may answer EINTR: to a living
// program EINTR from a file would be news that it does not handle.
func errno(err error, interrupted bool) fuse.Status {
	var no syscall.Errno
	switch {
	case err == nil:
		return fuse.OK
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fuse.Status(syscall.ETIMEDOUT)
	case errors.Is(err, context.DeadlineExceeded):
		return fuse.Status(syscall.ETIMEDOUT)
	case errors.Is(err, context.Canceled) && interrupted:
		return fuse.EINTR
	case errors.As(err, &no) && no != syscall.EINTR && no != syscall.ENOSYS && no != 0:
		return fuse.Status(no)
	default:
		return fuse.EIO
	}
}
