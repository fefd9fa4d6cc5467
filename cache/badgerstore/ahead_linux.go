package badgerstore

import (
	"os"

	"golang.org/x/sys/unix"
)

func fallocate(f *os.File, off, n int64) error {
	return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, off, n)
}
