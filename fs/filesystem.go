package fs

import (
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

const (
	// immutable is how long the kernel may keep what cannot change: names, and the
	// attributes of whatever is no incomplete file.
	immutable = 24 * time.Hour
	// listed, and listedEach for every entry of the directory, is how long it may keep
	// the attributes that came with a listing of incomplete files: "find -ls" and
	// "ls -l" read the whole directory and then ask for each file, and a request for
	// each makes a find over 60,000 files six times slower. A stat of a file without
	// a listing before gets attributes that are not kept at all.
	listed     = 40 * time.Millisecond
	listedEach = 20 * time.Microsecond

	statBlock = 512 // unit of st_blocks, by POSIX
	blockSize = 4096
)

// filesystem answers the kernel's requests. Its methods are called concurrently.
// What it does not override is answered with ENOSYS, after which the kernel stops
// asking: flush, fsync, ioctl, poll, statx, and lseek if not sparse.
type filesystem struct {
	fuse.RawFileSystem
	tree    atomic.Pointer[tree]
	handles handleTable
	uid     uint32
	gid     uint32
	sparse  bool // see Options.SparseView
	// rootXattrs is Options.RootXattrs; nil means none.
	rootXattrs func() map[string]string
	// abandoned reports whether nobody waits any more for a request of process pid;
	// interrupted says that the kernel sent an interrupt for it.
	abandoned func(pid uint32, interrupted bool) bool

	endOnce sync.Once
	ending  chan struct{} // closed when reads may not wait any more
}

func newFilesystem(t *tree, uid, gid uint32) *filesystem {
	f := &filesystem{RawFileSystem: fuse.NewDefaultRawFileSystem(), uid: uid, gid: gid, ending: make(chan struct{})}
	f.tree.Store(t)
	return f
}

// end makes all reads that wait fail, and every later one that would have to wait.
func (f *filesystem) end() { f.endOnce.Do(func() { close(f.ending) }) }

func (f *filesystem) String() string { return subtype }

// attr fills a with a node's attributes and reports whether they can change.
func (f *filesystem) attr(n *node, a *fuse.Attr) (volatile bool) {
	var local int64
	switch {
	case n.isDir():
		a.Size = blockSize
	case n.isFile():
		a.Size = uint64(n.size)
		local = min(max(n.src.t.LocalBytes(n.file), 0), n.size)
		volatile = local < n.size
		// tar -S takes a file of no block for a hole, and stores zeros without reading.
		local = max(local, min(n.size, 1))
	default:
		a.Size = uint64(n.size)
	}
	a.Ino, a.Mode, a.Nlink = n.id, n.mode, n.nlink
	a.Blocks = uint64(local+statBlock-1) / statBlock
	a.Owner = fuse.Owner{Uid: f.uid, Gid: f.gid}
	a.SetTimes(&n.mtime, &n.mtime, &n.mtime)
	return volatile
}

// entry fills out for a node that was looked up or listed; keep is how long its
// attributes may be kept if they can change.
func (f *filesystem) entry(n *node, out *fuse.EntryOut, keep time.Duration) {
	out.NodeId, out.Generation = n.id, 1
	out.SetEntryTimeout(immutable)
	if f.attr(n, &out.Attr) {
		out.SetAttrTimeout(keep)
	} else {
		out.SetAttrTimeout(immutable)
	}
}

func (f *filesystem) Lookup(_ <-chan struct{}, in *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	t := f.tree.Load()
	dir := t.node(in.NodeId)
	switch {
	case dir == nil:
		return fuse.Status(syscall.ESTALE)
	case !dir.isDir():
		return fuse.ENOTDIR
	}
	if n := dir.byName[name]; n != nil {
		f.entry(n, out, 0)
		return fuse.OK
	}
	if dir == t.root() { // a torrent of that name may be added later
		return fuse.ENOENT
	}
	out.SetEntryTimeout(immutable) // no node id: the name is known not to exist
	return fuse.OK
}

// Forget does nothing: nodes live as long as the mount.
func (f *filesystem) Forget(uint64, uint64) {}

func (f *filesystem) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	n := f.tree.Load().node(in.NodeId)
	if n == nil {
		return fuse.Status(syscall.ESTALE)
	}
	if !f.attr(n, &out.Attr) {
		out.SetTimeout(immutable)
	}
	return fuse.OK
}

func (f *filesystem) Readlink(_ <-chan struct{}, in *fuse.InHeader) ([]byte, fuse.Status) {
	n := f.tree.Load().node(in.NodeId)
	if n == nil || n.target == "" {
		return nil, fuse.EINVAL
	}
	return []byte(n.target), fuse.OK
}

// Access is asked only without default_permissions. Who may come in at all is then
// the kernel's decision, and what they may do follows from the modes.
func (f *filesystem) Access(_ <-chan struct{}, in *fuse.AccessIn) fuse.Status {
	n := f.tree.Load().node(in.NodeId)
	switch {
	case n == nil:
		return fuse.Status(syscall.ESTALE)
	case in.Mask&fuse.W_OK != 0:
		return fuse.EROFS
	case in.Mask&fuse.X_OK != 0 && n.mode&0o111 == 0:
		return fuse.EACCES
	}
	return fuse.OK
}

// StatFs says how big the torrents are. Nothing is free on a read-only file system.
func (f *filesystem) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	t := f.tree.Load()
	out.Bsize, out.Frsize, out.NameLen = blockSize, blockSize, maxName
	out.Blocks = uint64(t.bytes+blockSize-1) / blockSize
	out.Files = uint64(len(t.nodes))
	return fuse.OK
}
