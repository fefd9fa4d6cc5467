package fs

import (
	"io"
	"slices"
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// openFile is what a file handle number of the kernel stands for.
type openFile struct {
	Handle
	size int64
}

// handleTable gives handles the numbers by which the kernel knows them.
type handleTable struct {
	mu     sync.RWMutex
	last   uint64
	files  map[uint64]openFile
	closed bool
}

// add returns the handle's number, or 0 after closeAll.
func (t *handleTable) add(h openFile) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return 0
	}
	if t.files == nil {
		t.files = map[uint64]openFile{}
	}
	t.last++
	t.files[t.last] = h
	return t.last
}

func (t *handleTable) get(fh uint64) (openFile, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	h, ok := t.files[fh]
	return h, ok
}

func (t *handleTable) remove(fh uint64) (openFile, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	h, ok := t.files[fh]
	delete(t.files, fh)
	return h, ok
}

// closeAll closes what the kernel will not release any more because the connection
// to it has ended, and refuses new handles.
func (t *handleTable) closeAll() {
	t.mu.Lock()
	files := t.files
	t.files, t.closed = nil, true
	t.mu.Unlock()
	for _, h := range files {
		h.Close()
	}
}

// Open keeps what the kernel has cached of the file: content never changes.
func (f *filesystem) Open(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	n := f.tree.Load().node(in.NodeId)
	switch {
	case n == nil:
		return fuse.Status(syscall.ESTALE)
	case n.isDir():
		return fuse.EISDIR
	case !n.isFile():
		return fuse.Status(syscall.ELOOP)
	case in.Flags&syscall.O_ACCMODE != syscall.O_RDONLY, in.Flags&syscall.O_TRUNC != 0:
		return fuse.EROFS
	}
	h, err := n.src.t.Open(n.file)
	if err != nil {
		return errno(err, false)
	}
	out.Fh = f.handles.add(openFile{h, n.size})
	if out.Fh == 0 {
		h.Close()
		return fuse.EIO
	}
	out.OpenFlags = fuse.FOPEN_KEEP_CACHE
	return fuse.OK
}

func (f *filesystem) Release(_ <-chan struct{}, in *fuse.ReleaseIn) {
	if h, ok := f.handles.remove(in.Fh); ok {
		h.Close()
	}
}

// Read answers in full or with an error: the kernel takes a short answer for the end
// of the file and fills the rest of the page with zeros.
func (f *filesystem) Read(cancel <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	h, ok := f.handles.get(in.Fh)
	if !ok {
		return nil, fuse.Status(syscall.EBADF)
	}
	if in.Offset >= uint64(h.size) {
		return fuse.ReadResultData(nil), fuse.OK
	}
	p := buf[:min(int64(len(buf)), h.size-int64(in.Offset))]
	ctx := &readContext{interrupt: cancel, ending: f.ending, abandoned: func(interrupted bool) bool {
		return f.abandoned(in.Pid, interrupted)
	}}
	d, err := h.Read(ctx, p, int64(in.Offset))
	abandoned := ctx.finish()
	if err != nil {
		return nil, errno(err, abandoned)
	}
	r := &readResult{d}
	if r.Size() != len(p) {
		r.Done()
		return nil, errno(io.ErrUnexpectedEOF, abandoned)
	}
	return r, fuse.OK
}

// readResult is a fuse.ReadResult of parts that are written as they lie: go-fuse finds
// Slices.
type readResult struct{ Data }

func (r *readResult) Slices() ([][]byte, fuse.Status) { return r.Parts, fuse.OK }

func (r *readResult) Size() (n int) {
	for _, p := range r.Parts {
		n += len(p)
	}
	return n
}

func (r *readResult) Bytes(buf []byte) ([]byte, fuse.Status) {
	return slices.Concat(r.Parts...), fuse.OK
}

func (r *readResult) Done() {
	if r.Release != nil {
		r.Release()
	}
}
