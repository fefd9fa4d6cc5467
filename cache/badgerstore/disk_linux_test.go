package badgerstore

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// disk is a directory on a disk that may fail, and that remembers the order of all
// that happened, so that a power loss at any moment can be played: a FUSE file system
// over another directory.
type disk struct {
	dir     string // where it is mounted
	backing string

	mu   sync.Mutex
	ids  map[string]int // of the files by path
	next int
	ops  []diskOp
	// bad reports whether an operation fails with EIO; nil means that none does.
	bad func(kind opKind) bool
}

type opKind string

// The operations that change a disk, and read.
const (
	opCreate   opKind = "create"
	opMkdir    opKind = "mkdir"
	opRename   opKind = "rename"
	opUnlink   opKind = "unlink"
	opTruncate opKind = "truncate"
	opAllocate opKind = "allocate"
	opWrite    opKind = "write"
	opSync     opKind = "sync"
	opRead     opKind = "read"
)

// diskOp is an operation that was done.
type diskOp struct {
	kind     opKind
	file     int
	path, to string
	off      int64 // or the new length
	data     []byte
}

// mountDisk mounts an empty disk until the test ends.
func mountDisk(t *testing.T) *disk {
	t.Helper()
	d := &disk{dir: t.TempDir(), backing: t.TempDir(), ids: map[string]int{}}
	loopback, err := fusefs.NewLoopbackRoot(d.backing)
	must(t, err)
	root := &diskNode{LoopbackNode: loopback.(*fusefs.LoopbackNode), disk: d}
	root.RootData.RootNode = root
	second := time.Second
	server, err := fusefs.Mount(d.dir, root, &fusefs.Options{
		EntryTimeout: &second, AttrTimeout: &second,
		MountOptions: fuse.MountOptions{
			FsName: "disk", DirectMount: os.Getuid() == 0, MaxWrite: 256 << 10,
			ExplicitDataCacheControl: true, // pages stay, as those of a disk do
		},
	})
	if err != nil {
		t.Skip("no FUSE here: ", err)
	}
	t.Cleanup(func() {
		if err := server.Unmount(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// fail makes operations fail for which bad is true; nil mends the disk.
func (d *disk) fail(bad func(kind opKind) bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.bad = bad
}

// do does an operation unless it fails, and remembers it.
func (d *disk) do(op diskOp, do func() syscall.Errno) syscall.Errno {
	d.mu.Lock()
	if d.bad != nil && d.bad(op.kind) {
		d.mu.Unlock()
		return syscall.EIO
	}
	if op.kind == opRead { // not in turn: others may wait for it
		d.mu.Unlock()
		return do()
	}
	defer d.mu.Unlock()
	errno := do()
	if errno != 0 {
		return errno
	}
	switch op.kind {
	case opCreate, opMkdir:
		d.next++
		d.ids[op.path] = d.next
	case opRename:
		d.ids[op.to] = d.ids[op.path]
		delete(d.ids, op.path)
	}
	if op.file == 0 {
		op.file = d.ids[op.path]
	}
	if op.kind == opUnlink {
		delete(d.ids, op.path)
	}
	d.ops = append(d.ops, op)
	return 0
}

// now returns how many operations there were.
func (d *disk) now() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.ops)
}

// losePower makes the directory to what a journalling file system may have after a power
// loss behind the first n operations: names and lengths up to some moment since the last
// sync of anything, of the data what was synced and any part of the rest.
func (d *disk) losePower(t *testing.T, rng *rand.Rand, n int, to string) {
	t.Helper()
	d.mu.Lock()
	ops := slices.Clone(d.ops[:n])
	d.mu.Unlock()
	synced, journal := map[int]int{}, 0 // operations that are safe: of a file, of all names
	for i, op := range ops {
		if op.kind == opSync {
			synced[op.file], journal = i, i
		}
	}
	journal += rng.IntN(n - journal + 1)
	luck := rng.Float64()
	names, files := map[string]int{"": 0}, map[int]*os.File{}
	heap := t.TempDir()
	for i, op := range ops {
		f := files[op.file]
		if op.kind == opWrite {
			data := op.data
			if i >= synced[op.file] && rng.Float64() > luck {
				continue
			} else if i >= synced[op.file] && rng.IntN(8) == 0 {
				data = data[:rng.IntN(len(data)/4096+1)*4096]
			}
			if f != nil {
				_, err := f.WriteAt(data, op.off)
				must(t, err)
			}
			continue
		}
		if i >= journal {
			continue
		}
		switch op.kind {
		case opCreate:
			f, err := os.Create(filepath.Join(heap, fmt.Sprint(i)))
			must(t, err)
			defer f.Close()
			names[op.path], files[op.file] = op.file, f
		case opMkdir:
			names[op.path] = op.file
		case opRename:
			names[op.to] = names[op.path]
			delete(names, op.path)
		case opUnlink:
			delete(names, op.path)
		case opTruncate:
			if f != nil {
				must(t, f.Truncate(op.off))
			}
		}
	}
	must(t, os.MkdirAll(to, 0o700))
	for name, id := range names {
		if f := files[id]; f != nil {
			must(t, os.MkdirAll(filepath.Dir(filepath.Join(to, name)), 0o700))
			must(t, os.Rename(f.Name(), filepath.Join(to, name)))
		} else {
			must(t, os.MkdirAll(filepath.Join(to, name), 0o700))
		}
	}
}

// writeBack has the kernel write what it keeps, without a sync.
func (d *disk) writeBack() {
	filepath.WalkDir(d.dir, func(name string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return nil
		}
		if f, err := os.Open(name); err == nil {
			syscall.SyncFileRange(int(f.Fd()), 0, 0, 2) // SYNC_FILE_RANGE_WRITE
			f.Close()
		}
		return nil
	})
}

// diskNode is a file or directory of a disk.
type diskNode struct {
	*fusefs.LoopbackNode
	disk *disk
}

// WrapChild makes what is found in the directory n a diskNode.
func (n *diskNode) WrapChild(_ context.Context, child fusefs.InodeEmbedder) fusefs.InodeEmbedder {
	return &diskNode{LoopbackNode: child.(*fusefs.LoopbackNode), disk: n.disk}
}

func (n *diskNode) name(child string) string {
	return strings.TrimPrefix(filepath.Join(n.Path(n.Root()), child), "/")
}

func (n *diskNode) handle(name string, h fusefs.FileHandle) fusefs.FileHandle {
	f, ok := h.(*fusefs.LoopbackFile)
	if !ok {
		return h
	}
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	return &diskFile{LoopbackFile: f, disk: n.disk, name: name, id: n.disk.ids[name]}
}

func (n *diskNode) Open(ctx context.Context, flags uint32) (fusefs.FileHandle, uint32, syscall.Errno) {
	h, _, errno := n.LoopbackNode.Open(ctx, flags)
	if errno != 0 {
		return nil, 0, errno
	}
	return n.handle(n.name(""), h), fuse.FOPEN_KEEP_CACHE, 0
}

func (n *diskNode) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (node *fusefs.Inode, h fusefs.FileHandle, ff uint32, errno syscall.Errno) {
	errno = n.disk.do(diskOp{kind: opCreate, path: n.name(name)}, func() (errno syscall.Errno) {
		node, h, ff, errno = n.LoopbackNode.Create(ctx, name, flags, mode, out)
		return errno
	})
	if errno != 0 {
		return nil, nil, 0, errno
	}
	return node, n.handle(n.name(name), h), ff, 0
}

func (n *diskNode) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (node *fusefs.Inode, errno syscall.Errno) {
	errno = n.disk.do(diskOp{kind: opMkdir, path: n.name(name)}, func() (errno syscall.Errno) {
		node, errno = n.LoopbackNode.Mkdir(ctx, name, mode, out)
		return errno
	})
	return node, errno
}

func (n *diskNode) Unlink(ctx context.Context, name string) syscall.Errno {
	return n.disk.do(diskOp{kind: opUnlink, path: n.name(name)}, func() syscall.Errno {
		return n.LoopbackNode.Unlink(ctx, name)
	})
}

func (n *diskNode) Rmdir(ctx context.Context, name string) syscall.Errno {
	return n.disk.do(diskOp{kind: opUnlink, path: n.name(name)}, func() syscall.Errno {
		return n.LoopbackNode.Rmdir(ctx, name)
	})
}

func (n *diskNode) Rename(ctx context.Context, name string, parent fusefs.InodeEmbedder, to string, flags uint32) syscall.Errno {
	p := parent.(*diskNode)
	return n.disk.do(diskOp{kind: opRename, path: n.name(name), to: p.name(to)}, func() syscall.Errno {
		return n.LoopbackNode.Rename(ctx, name, p.LoopbackNode, to, flags)
	})
}

func (n *diskNode) Setattr(ctx context.Context, h fusefs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if f, ok := h.(*diskFile); ok {
		h = f.LoopbackFile
	}
	set := func() syscall.Errno { return n.LoopbackNode.Setattr(ctx, h, in, out) }
	if size, ok := in.GetSize(); ok {
		return n.disk.do(diskOp{kind: opTruncate, path: n.name(""), off: int64(size)}, set)
	}
	return set()
}

func (n *diskNode) Getattr(ctx context.Context, h fusefs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	if f, ok := h.(*diskFile); ok {
		h = f.LoopbackFile
	}
	return n.LoopbackNode.Getattr(ctx, h, out)
}

// Fsync is that of a directory.
func (n *diskNode) Fsync(ctx context.Context, h fusefs.FileHandle, flags uint32) syscall.Errno {
	f, ok := h.(*diskFile)
	if !ok {
		return n.disk.do(diskOp{kind: opSync, path: n.name("")}, func() syscall.Errno { return 0 })
	}
	return f.Fsync(ctx, flags)
}

// diskFile is an open file of a disk.
type diskFile struct {
	*fusefs.LoopbackFile
	disk *disk
	name string
	id   int
}

// Read fails only where there is something: no disk is asked for a hole.
func (f *diskFile) Read(ctx context.Context, dst []byte, off int64) (res fuse.ReadResult, errno syscall.Errno) {
	if at, errno := f.Lseek(ctx, uint64(off), unix.SEEK_DATA); errno != 0 || at >= uint64(off)+uint64(len(dst)) {
		return f.LoopbackFile.Read(ctx, dst, off)
	}
	errno = f.disk.do(diskOp{kind: opRead, path: f.name}, func() (errno syscall.Errno) {
		res, errno = f.LoopbackFile.Read(ctx, dst, off)
		return errno
	})
	return res, errno
}

func (f *diskFile) Write(ctx context.Context, data []byte, off int64) (n uint32, errno syscall.Errno) {
	op := diskOp{kind: opWrite, file: f.id, path: f.name, off: off, data: slices.Clone(data)}
	errno = f.disk.do(op, func() (errno syscall.Errno) {
		n, errno = f.LoopbackFile.Write(ctx, data, off)
		return errno
	})
	return n, errno
}

func (f *diskFile) Writev(ctx context.Context, data [][]byte, off int64) (uint32, syscall.Errno) {
	return f.Write(ctx, slices.Concat(data...), off)
}

func (f *diskFile) Fsync(ctx context.Context, flags uint32) syscall.Errno {
	return f.disk.do(diskOp{kind: opSync, file: f.id, path: f.name}, func() syscall.Errno { return 0 })
}

func (f *diskFile) Allocate(ctx context.Context, off, size uint64, mode uint32) syscall.Errno {
	return f.disk.do(diskOp{kind: opAllocate, file: f.id, path: f.name}, func() syscall.Errno {
		return f.LoopbackFile.Allocate(ctx, off, size, mode)
	})
}

// PassthroughFd keeps the kernel from reading and writing past us.
func (f *diskFile) PassthroughFd() (int, bool) { return 0, false }
