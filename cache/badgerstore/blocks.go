package badgerstore

import (
	"io/fs"
	"syscall"
)

// statBlocks returns the bytes of disk that a file takes; st_blocks counts in
// units of 512 bytes everywhere.
func statBlocks(info fs.FileInfo) int64 {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0
	}
	return st.Blocks * 512
}
