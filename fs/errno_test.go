package fs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
)

func TestErrno(t *testing.T) {
	for _, c := range []struct {
		err         error
		interrupted bool
		want        syscall.Errno
	}{
		{nil, false, 0},
		{fmt.Errorf("piece 7: %w", os.ErrDeadlineExceeded), false, syscall.ETIMEDOUT},
		{context.DeadlineExceeded, false, syscall.ETIMEDOUT},
		{os.ErrClosed, false, syscall.EIO},
		{context.Canceled, true, syscall.EINTR},
		{context.Canceled, false, syscall.EIO},
		{fmt.Errorf("disk: %w", syscall.ENOSPC), false, syscall.ENOSPC},
		{syscall.EINTR, false, syscall.EIO},  // news that no program expects of a file
		{syscall.ENOSYS, false, syscall.EIO}, // would switch reading off
		{io.ErrUnexpectedEOF, false, syscall.EIO},
		{errors.New("anything"), true, syscall.EIO},
	} {
		if got := errno(c.err, c.interrupted); got != fuse.Status(c.want) {
			t.Errorf("%v, interrupted %v: %v, want %v", c.err, c.interrupted, got, c.want)
		}
	}
}
