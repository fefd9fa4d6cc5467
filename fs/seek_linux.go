package fs

import (
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Lseek answers SEEK_DATA and SEEK_HOLE; the kernel does the other ways of seeking by
// itself. The end of a file counts as a hole (lseek(2)). After ENOSYS the kernel asks
// no more, and shows files without holes.
func (f *filesystem) Lseek(_ <-chan struct{}, in *fuse.LseekIn, out *fuse.LseekOut) fuse.Status {
	if !f.sparse {
		return fuse.ENOSYS
	}
	n := f.tree.Load().node(in.NodeId)
	switch {
	case n == nil:
		return fuse.Status(syscall.ESTALE)
	case !n.isFile(), in.Whence != unix.SEEK_DATA && in.Whence != unix.SEEK_HOLE:
		return fuse.EINVAL
	case in.Offset >= uint64(n.size):
		return fuse.Status(syscall.ENXIO)
	}
	off := n.src.t.Next(n.file, int64(in.Offset), in.Whence == unix.SEEK_DATA)
	if in.Whence == unix.SEEK_DATA && off >= n.size {
		return fuse.Status(syscall.ENXIO)
	}
	out.Offset = uint64(min(off, n.size))
	return fuse.OK
}
