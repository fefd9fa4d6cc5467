package fs

import (
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// dots is how many entries stand before a directory's children: "." and "..". The
// offset of a listing is the index of the next entry, which stays valid while
// torrents are added, as children are only ever appended.
const dots = 2

func (f *filesystem) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, _ *fuse.OpenOut) fuse.Status {
	n := f.tree.Load().node(in.NodeId)
	switch {
	case n == nil:
		return fuse.Status(syscall.ESTALE)
	case !n.isDir():
		return fuse.ENOTDIR
	}
	return fuse.OK
}

func (f *filesystem) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return f.list(in, func(e fuse.DirEntry, _ *node, _ time.Duration) bool { return out.AddDirEntry(e) })
}

// ReadDirPlus lists with attributes: one request for some two hundred files where
// a listing and a lookup of each would be two hundred.
func (f *filesystem) ReadDirPlus(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return f.list(in, func(e fuse.DirEntry, n *node, keep time.Duration) bool {
		entry := out.AddDirLookupEntry(e)
		if entry == nil {
			return false
		}
		if n != nil {
			f.entry(n, entry, keep)
		}
		return true
	})
}

// list calls add for each entry from the request's offset on, with a nil node for
// "." and ".." and how long changing attributes may be kept, until add says that the
// reply is full.
func (f *filesystem) list(in *fuse.ReadIn, add func(fuse.DirEntry, *node, time.Duration) bool) fuse.Status {
	dir := f.tree.Load().node(in.NodeId)
	if dir == nil {
		return fuse.Status(syscall.ESTALE)
	}
	keep := listed + time.Duration(len(dir.children))*listedEach
	for i := in.Offset; i < uint64(len(dir.children)+dots); i++ {
		e := fuse.DirEntry{Mode: syscall.S_IFDIR, Off: i + 1}
		var n *node
		switch i {
		case 0:
			e.Name, e.Ino = ".", dir.id
		case 1:
			e.Name, e.Ino = "..", dir.parent
		default:
			n = dir.children[i-dots]
			e.Name, e.Ino, e.Mode = n.name, n.id, n.mode
		}
		if !add(e, n, keep) {
			break
		}
	}
	return fuse.OK
}
