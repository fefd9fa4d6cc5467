package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// plain are files with sizes around the borders of pages, blocks and pieces (4, 16 and
// 64 KiB), which begin somewhere in a piece each.
func (s *sandbox) plain() (dir, torrent string, contents map[string][]byte) {
	s.t.Helper()
	contents = map[string][]byte{}
	for i, n := range []int{
		0, 1, 4095, 4096, 4097, 16<<10 - 1, 16 << 10, 16<<10 + 1, 64<<10 - 1, 64 << 10, 64<<10 + 1,
		3<<16 - 4096, 3<<16 + 1, 1<<20 + 12345, 3 << 20,
	} {
		name := fmt.Sprintf("%02d-%d.bin", i, n)
		contents[name] = noise(uint64(i+1), n)
		s.write("pub/plain/"+name, contents[name])
	}
	dir = s.path("pub/plain")
	return dir, s.create(dir, "--piece-length", "64KiB"), contents
}

// "Nothing that the user can do to the mount (fsx-like random pread and mmap from many
// threads against the payload …) gives another answer than the plain files would."
//
// The same random programs run on the plain directory first, which shows that what they
// expect is what files do.
func TestFsx(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	dir, torrent, contents := s.plain()
	runFsx(t, 0, "the plain files", dir, contents, 40)
	m := s.mount("--peer", s.seed(torrent, dir, "--upload-limit", "2MB/s").addr, torrent)
	began := m.torrent()
	runFsx(t, 100, "a mount that is filled", m.dir+"/plain", contents, 120)
	if began.Complete {
		t.Error("the mount was complete before the test began")
	}
	m.complete()
	runFsx(t, 200, "a complete mount", m.dir+"/plain", contents, 200)
	m.unmount()
	m.again("--ram", "256KiB", "--peer", nobody, torrent)
	runFsx(t, 300, "a mount that reads its disk", m.dir+"/plain", contents, 200)
}

// runFsx has some threads, with seeds from first on, do n things each to the files of a
// directory.
func runFsx(t *testing.T, first uint64, what, dir string, contents map[string][]byte, n int) {
	t.Helper()
	var g errgroup.Group
	for seed := first; seed < first+8; seed++ {
		g.Go(func() error {
			x, err := newFsx(dir, contents, seed)
			if err != nil {
				return err
			}
			defer x.close()
			for range n {
				if err := x.step(); err != nil {
					return fmt.Errorf("%s: seed %d: %w", what, seed, err)
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
}

// fsx is one thread, with one file open at a time.
type fsx struct {
	rng      *rand.Rand
	dir      string
	contents map[string][]byte
	names    []string
	history  []string // of what was done to the open file

	file   *os.File
	direct *os.File // the same with O_DIRECT
	want   []byte   // its content
	mapped []byte   // nil of an empty file
	memory *os.File // a target for copies
	pipe   [2]*os.File
	buf    []byte // aligned, for O_DIRECT
}

func newFsx(dir string, contents map[string][]byte, seed uint64) (*fsx, error) {
	x := &fsx{rng: rand.New(rand.NewPCG(seed, 99)), dir: dir, contents: contents}
	for i := range len(contents) {
		matches, err := filepath.Glob(fmt.Sprintf("%s/%02d-*", dir, i))
		if err != nil || len(matches) != 1 {
			return nil, fmt.Errorf("file %d: %q, %v", i, matches, err)
		}
		x.names = append(x.names, filepath.Base(matches[0]))
	}
	fd, err := unix.MemfdCreate("fsx", 0)
	if err != nil {
		return nil, err
	}
	x.memory = os.NewFile(uintptr(fd), "memory")
	if x.pipe[0], x.pipe[1], err = os.Pipe(); err != nil {
		return nil, err
	}
	if x.buf, err = unix.Mmap(-1, 0, 256<<10, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE); err != nil {
		return nil, err
	}
	return x, x.open()
}

func (x *fsx) close() {
	for _, f := range []*os.File{x.file, x.direct, x.memory, x.pipe[0], x.pipe[1]} {
		f.Close()
	}
	x.unmap()
	_ = unix.Munmap(x.buf)
}

func (x *fsx) unmap() {
	if x.mapped != nil {
		_ = unix.Munmap(x.mapped)
		x.mapped = nil
	}
}

// open opens another file, or the same again.
func (x *fsx) open() (err error) {
	if x.file != nil {
		x.file.Close()
		x.direct.Close()
		x.unmap()
	}
	name := x.names[x.rng.IntN(len(x.names))]
	x.want, x.history = x.contents[name], nil
	if x.file, err = os.Open(filepath.Join(x.dir, name)); err != nil {
		return err
	}
	if x.direct, err = os.OpenFile(x.file.Name(), os.O_RDONLY|unix.O_DIRECT, 0); err != nil {
		return err
	}
	if len(x.want) > 0 {
		x.mapped, err = unix.Mmap(int(x.file.Fd()), 0, len(x.want), unix.PROT_READ, unix.MAP_SHARED)
	}
	return err
}

// step does one thing.
func (x *fsx) step() error {
	do := []func(off int64, n int) (what string, got []byte, err error){
		x.pread, x.preadv, x.read, x.readMapped, x.readMapping, x.readDirect, x.sendfile, x.copyFileRange, x.splice,
	}
	switch x.rng.IntN(12) {
	case 0:
		return x.open()
	case 1:
		return x.advise()
	case 2:
		return x.look()
	}
	off, n := x.place()
	what, got, err := do[x.rng.IntN(len(do))](off, n)
	x.history = append(x.history, fmt.Sprintf("%s %d+%d", what, off, n))
	want := x.want[min(off, int64(len(x.want))):]
	want = want[:min(n, len(want))]
	if errors.Is(err, errNotHere) {
		return nil
	}
	if err != nil || !bytes.Equal(got, want) {
		return fmt.Errorf("%s: %d bytes instead of %d, %v, after %s", x.file.Name(), len(got), len(want), err, strings.Join(x.history, ", "))
	}
	return nil
}

// place is a range of the file, often at a border, sometimes past the end.
func (x *fsx) place() (off int64, n int) {
	off = x.rng.Int64N(int64(len(x.want)) + 5000)
	n = x.rng.IntN(1 << x.rng.IntN(18))
	border := []int64{4096, 16 << 10, 64 << 10}[x.rng.IntN(3)]
	switch x.rng.IntN(4) {
	case 0:
		off = max(off/border*border+x.rng.Int64N(3)-1, 0)
	case 1:
		n = max(int((off+int64(n))/border*border-off), 0) + x.rng.IntN(2)
	case 2:
		off = max(int64(len(x.want)-n), 0)
	}
	return off, n
}

func (x *fsx) pread(off int64, n int) (string, []byte, error) {
	p := make([]byte, n)
	n, err := x.file.ReadAt(p, off)
	if err == io.EOF {
		err = nil
	}
	return "pread", p[:n], err
}

func (x *fsx) preadv(off int64, n int) (string, []byte, error) {
	p := make([]byte, n)
	a := x.rng.IntN(n + 1)
	b := a + x.rng.IntN(n+1-a)
	n, err := unix.Preadv(int(x.file.Fd()), [][]byte{p[:a], p[a:b], p[b:]}, off)
	return "preadv", p[:max(n, 0)], err
}

func (x *fsx) read(off int64, n int) (string, []byte, error) {
	if _, err := x.file.Seek(off, io.SeekStart); err != nil {
		return "seek", nil, err
	}
	p, err := io.ReadAll(io.LimitReader(x.file, int64(n)))
	return "read", p, err
}

// readMapped reads from the mapping that lives as long as the file is open.
func (x *fsx) readMapped(off int64, n int) (string, []byte, error) {
	p := make([]byte, n)
	n, err := copyMapped(p, x.mapped, off)
	if err == io.EOF {
		err = nil
	}
	return "mapped", p[:n], err
}

// readMapping makes a mapping of its own. Behind the end of the file, in its last page,
// there are zeros.
func (x *fsx) readMapping(off int64, n int) (_ string, got []byte, err error) {
	size := int64(len(x.want))
	if off = min(off, size); n == 0 || off == size {
		return "mapping", nil, nil
	}
	n = min(n, int(size-off))
	from := off / page * page
	length := (off + int64(n) - from + page - 1) / page * page
	flags := []int{unix.MAP_SHARED, unix.MAP_PRIVATE, unix.MAP_SHARED | unix.MAP_POPULATE}[x.rng.IntN(3)]
	m, err := unix.Mmap(int(x.file.Fd()), from, int(length), unix.PROT_READ, flags)
	if err != nil {
		return "mmap", nil, err
	}
	defer func() { err = errors.Join(err, unix.Munmap(m)) }()
	advice := []int{unix.MADV_NORMAL, unix.MADV_RANDOM, unix.MADV_SEQUENTIAL, unix.MADV_WILLNEED}[x.rng.IntN(4)]
	if err := unix.Madvise(m, advice); err != nil {
		return "madvise", nil, err
	}
	p := make([]byte, length-(off-from))
	if _, err := copyMapped(p, m, off-from); err != nil {
		return "mapping", nil, err
	}
	if tail := p[min(int64(len(p)), size-off):]; len(tail) > 0 && !bytes.Equal(tail, make([]byte, len(tail))) {
		return "mapping", nil, errors.New("there is something behind the end of the file")
	}
	return "mapping", p[:n], nil
}

// readDirect reads whole pages around the range with O_DIRECT.
func (x *fsx) readDirect(off int64, n int) (string, []byte, error) {
	from := off / page * page
	length := (off + int64(n) - from + page - 1) / page * page
	k, err := unix.Pread(int(x.direct.Fd()), x.buf[:length], from)
	if err != nil {
		return "direct", nil, err
	}
	got := x.buf[min(off-from, int64(k)):k]
	return "direct", bytes.Clone(got[:min(n, len(got))]), nil
}

// copied is what is in memory after a copy to there.
func (x *fsx) copied(what string, n int, err error) (string, []byte, error) {
	p := make([]byte, max(n, 0))
	if err == nil {
		_, err = io.ReadFull(io.NewSectionReader(x.memory, 0, int64(n)), p)
	}
	return what, p, err
}

func (x *fsx) sendfile(off int64, n int) (string, []byte, error) {
	if _, err := x.memory.Seek(0, io.SeekStart); err != nil {
		return "seek", nil, err
	}
	sent := 0
	for sent < n { // it may send less than all
		k, err := unix.Sendfile(int(x.memory.Fd()), int(x.file.Fd()), &off, n-sent)
		if err != nil {
			return "sendfile", nil, err
		}
		if k == 0 {
			break
		}
		sent += k
	}
	return x.copied("sendfile", sent, nil)
}

// errNotHere is for what cannot be done between two file systems, also plain ones.
var errNotHere = errors.New("not between file systems")

func (x *fsx) copyFileRange(off int64, n int) (string, []byte, error) {
	var to int64
	for int(to) < n {
		k, err := unix.CopyFileRange(int(x.file.Fd()), &off, int(x.memory.Fd()), &to, n-int(to), 0)
		if err == unix.EXDEV {
			return "copy_file_range", nil, errNotHere
		}
		if err != nil {
			return "copy_file_range", nil, err
		}
		if k == 0 {
			break
		}
	}
	return x.copied("copy_file_range", int(to), nil)
}

func (x *fsx) splice(off int64, n int) (string, []byte, error) {
	var got []byte
	for len(got) < n {
		k, err := unix.Splice(int(x.file.Fd()), &off, int(x.pipe[1].Fd()), nil, min(n-len(got), 32<<10), 0)
		if err != nil {
			return "splice", nil, err
		}
		if k == 0 {
			break
		}
		p := make([]byte, k)
		if _, err := io.ReadFull(x.pipe[0], p); err != nil {
			return "pipe", nil, err
		}
		got = append(got, p...)
	}
	return "splice", got, nil
}

// advise says what is going to be read, or that pages are not needed any more.
func (x *fsx) advise() error {
	off, n := x.place()
	advice := []int{unix.FADV_DONTNEED, unix.FADV_RANDOM, unix.FADV_SEQUENTIAL, unix.FADV_NORMAL, unix.FADV_WILLNEED}[x.rng.IntN(5)]
	x.history = append(x.history, fmt.Sprintf("fadvise %d", advice))
	return unix.Fadvise(int(x.file.Fd()), off, int64(n), advice)
}

// look asks what the file is.
func (x *fsx) look() error {
	size := int64(len(x.want))
	fi, err := x.file.Stat()
	if err != nil || fi.Size() != size || !fi.Mode().IsRegular() {
		return fmt.Errorf("%s: %v, %w", x.file.Name(), fi, err)
	}
	if end, err := x.file.Seek(0, io.SeekEnd); end != size || err != nil {
		return fmt.Errorf("%s ends at %d, %w", x.file.Name(), end, err)
	}
	off, _ := x.place()
	data, err := unix.Seek(int(x.file.Fd()), off, unix.SEEK_DATA)
	if off < size && (data != off || err != nil) || off >= size && err != unix.ENXIO {
		return fmt.Errorf("%s: data from %d on is at %d, %v", x.file.Name(), off, data, err)
	}
	hole, err := unix.Seek(int(x.file.Fd()), off, unix.SEEK_HOLE)
	if off < size && (hole != size || err != nil) || off >= size && err != unix.ENXIO {
		return fmt.Errorf("%s: a hole from %d on is at %d, %v", x.file.Name(), off, hole, err)
	}
	return nil
}
