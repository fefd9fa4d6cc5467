//go:build !linux

package badgerstore

import (
	"os"

	"golang.org/x/sys/unix"
)

// fallocate has no equivalent that keeps the file's length: the free-space guard
// stands alone.
func fallocate(*os.File, int64, int64) error { return unix.EOPNOTSUPP }
