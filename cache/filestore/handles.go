package filestore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// maxHandles is how many files stay open while nobody uses them.
const maxHandles = 64

// handles opens the torrent's files as they are needed and keeps a few open.
type handles struct {
	root     *os.Root
	readOnly bool
	files    []File

	mu     sync.Mutex
	closed bool
	open   map[int]*handle
	idle   []*handle // those without users, longest idle first
}

// handle is an open file with its number of users.
type handle struct {
	*os.File
	index int
	users int
}

// with calls f with file i open. create makes the file if it does not exist.
func (h *handles) with(i int, create bool, f func(*os.File) error) error {
	file, err := h.acquire(i, create)
	if err != nil {
		return err
	}
	return errors.Join(f(file.File), h.release(file))
}

func (h *handles) acquire(i int, create bool) (*handle, error) {
	if file := h.reuse(i); file != nil {
		return file, nil
	}
	opened, err := h.openFile(i, create)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	file := h.open[i]
	switch {
	case h.closed:
		file, err = nil, fs.ErrClosed
	case file != nil: // somebody else was faster
		h.use(file)
	default:
		file = &handle{File: opened, index: i, users: 1}
		if h.open == nil {
			h.open = make(map[int]*handle)
		}
		h.open[i], opened = file, nil
	}
	h.mu.Unlock()
	if opened != nil {
		opened.Close()
	}
	return file, err
}

// reuse returns file i if it is open.
func (h *handles) reuse(i int) *handle {
	h.mu.Lock()
	defer h.mu.Unlock()
	file := h.open[i]
	if file != nil {
		h.use(file)
	}
	return file
}

// use adds a user. h.mu is held.
func (h *handles) use(file *handle) {
	if file.users++; file.users > 1 {
		return
	}
	for k, other := range h.idle {
		if other == file {
			h.idle = append(h.idle[:k], h.idle[k+1:]...)
			return
		}
	}
}

// release takes a user away and closes what is too much.
func (h *handles) release(file *handle) error {
	var surplus *handle
	h.mu.Lock()
	if file.users--; file.users == 0 {
		h.idle = append(h.idle, file)
		if h.closed || len(h.idle) > maxHandles {
			surplus = h.idle[0]
			h.idle = h.idle[1:]
			delete(h.open, surplus.index)
		}
	}
	h.mu.Unlock()
	if surplus == nil {
		return nil
	}
	return surplus.Close()
}

// openFile opens file i, which must be a regular file: opening a named pipe
// would wait for its other end.
func (h *handles) openFile(i int, create bool) (*os.File, error) {
	name, flag, perm := h.files[i].name(), os.O_RDWR, fs.FileMode(0o666)
	if h.readOnly {
		flag = os.O_RDONLY
	}
	if create {
		flag |= os.O_CREATE
		if err := h.root.MkdirAll(filepath.Dir(name), 0o777); err != nil {
			return nil, err
		}
	}
	if h.files[i].Exec {
		perm = 0o777
	}
	if _, err := h.size(i); err != nil {
		return nil, err
	}
	return h.root.OpenFile(name, flag, perm)
}

// size returns the length of file i on disk, -1 if there is none, and an error
// if it can't be the torrent's.
func (h *handles) size(i int) (int64, error) {
	f := h.files[i]
	info, err := h.root.Stat(f.name())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return -1, nil
	case err != nil:
		return 0, fmt.Errorf("filestore: %w", err)
	case !info.Mode().IsRegular():
		return 0, fmt.Errorf("filestore: %s is not a regular file: move it away", h.path(i))
	case info.Size() > f.Length:
		return 0, fmt.Errorf("filestore: %s has %d bytes, but the torrent's has %d: move it away",
			h.path(i), info.Size(), f.Length)
	}
	return info.Size(), nil
}

// sizes returns the lengths of all files on disk, -1 for those that are not.
func (h *handles) sizes() ([]int64, error) {
	sizes := make([]int64, len(h.files))
	for i, f := range h.files {
		sizes[i] = -1
		if f.Pad || f.Symlink != nil {
			continue
		}
		var err error
		if sizes[i], err = h.size(i); err != nil {
			return nil, err
		}
	}
	return sizes, nil
}

// makeEmpty makes file i, which has no bytes and so never arrives: an empty
// file or a symbolic link.
func (h *handles) makeEmpty(i int) error {
	f := h.files[i]
	if f.Symlink == nil {
		return h.with(i, true, func(*os.File) error { return nil })
	}
	if err := h.root.MkdirAll(filepath.Dir(f.name()), 0o777); err != nil {
		return fmt.Errorf("filestore: %w", err)
	}
	target := strings.Repeat("../", len(f.Path)-1) + filepath.Join(f.Symlink...)
	if err := h.root.Symlink(target, f.name()); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("filestore: %w", err)
	}
	return nil
}

// readAt fills dst from file i; io.ErrUnexpectedEOF means that it has fewer
// bytes, or is gone.
func (h *handles) readAt(i int, dst []byte, off int64) error {
	err := h.with(i, false, func(f *os.File) error {
		_, err := f.ReadAt(dst, off)
		return err
	})
	if errors.Is(err, io.EOF) || errors.Is(err, fs.ErrNotExist) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (h *handles) writeAt(i int, data []byte, off int64) error {
	return h.with(i, true, func(f *os.File) error {
		_, err := f.WriteAt(data, off)
		return err
	})
}

// sync syncs file i, which is no news if somebody removed it.
func (h *handles) sync(i int) error {
	err := h.with(i, false, (*os.File).Sync)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (h *handles) setModTime(i int, t time.Time) error {
	return h.root.Chtimes(h.files[i].name(), t, t)
}

// path returns where file i is, for messages.
func (h *handles) path(i int) string { return filepath.Join(h.root.Name(), h.files[i].name()) }

// close closes every file that nobody uses; the others close with their users.
func (h *handles) close() error {
	h.mu.Lock()
	h.closed = true
	idle := h.idle
	h.idle = nil
	for _, file := range idle {
		delete(h.open, file.index)
	}
	h.mu.Unlock()
	var errs []error
	for _, file := range idle {
		errs = append(errs, file.Close())
	}
	return errors.Join(append(errs, h.root.Close())...)
}
