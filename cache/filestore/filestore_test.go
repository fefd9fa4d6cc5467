package filestore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/cache"
	"github.com/qqbtfs/qqbtfs/cache/cachetest"
	"github.com/qqbtfs/qqbtfs/cache/filestore"
)

func TestConformance(t *testing.T) {
	for name, split := range map[string]func(total int64) []filestore.File{
		"one":  func(total int64) []filestore.File { return []filestore.File{{Path: []string{"f"}, Length: total}} },
		"many": many,
	} {
		t.Run(name, func(t *testing.T) {
			cachetest.Conformance(t, func(t *testing.T, g cache.Geometry) cache.Store {
				var total int64
				for i := range g.NumPieces {
					total += int64(g.PieceSize(i))
				}
				return open(t, t.TempDir(), split(total), g, filestore.Options{})
			})
		})
	}
}

// many divides total into up to 21 files, some of them empty, in directories.
func many(total int64) (files []filestore.File) {
	for i := 0; total > 0; i++ {
		n := min(total, int64(i*i*131%5000))
		if i == 20 {
			n = total
		}
		total -= n
		files = append(files, filestore.File{Path: []string{"t", fmt.Sprint("d", i%3), fmt.Sprint(i)}, Length: n})
	}
	return files
}

func open(t testing.TB, dir string, files []filestore.File, g cache.Geometry, opt filestore.Options) *filestore.Store {
	t.Helper()
	s, err := filestore.Open(dir, files, g, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// sample is a torrent of ten pieces over files of every kind: the padding makes
// "b" begin with a piece.
func sample() (*cachetest.Torrent, []filestore.File) {
	tor := cachetest.NewTorrent(10, 1000, 500)
	clear(tor.Data[2700:3000])
	return cachetest.FromData(1000, tor.Data), []filestore.File{
		{Path: []string{"t", "a"}, Length: 2700},
		{Path: []string{".pad", "300"}, Length: 300, Pad: true},
		{Path: []string{"t", "sub", "b"}, Length: 4321, Exec: true},
		{Path: []string{"t", "empty"}},
		{Path: []string{"t", "sub", "link"}, Symlink: []string{"t", "a"}},
		{Path: []string{"t", "c"}, Length: 2179},
	}
}

func put(t testing.TB, s cache.Store, tor *cachetest.Torrent, is ...int) {
	t.Helper()
	for _, i := range is {
		if err := s.Put(context.Background(), tor.Piece(t, nil, i)); err != nil {
			t.Fatal(err)
		}
	}
}

func wantHas(t *testing.T, s cache.Store, want ...int) {
	t.Helper()
	if got := slices.Collect(s.Pieces()); !slices.Equal(got, want) {
		t.Errorf("has %v, want %v", got, want)
	}
}

var all = []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}

// What is on disk at the end is what any client would have put there.
func TestFilesOnDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "there", "yet")
	tor, files := sample()
	when := time.Unix(1_000_000_000, 0)
	s := open(t, dir, files, tor.Geometry(), filestore.Options{ModTime: when})
	put(t, s, tor, 0)
	if fi, err := os.Stat(filepath.Join(dir, "t/a")); err != nil || fi.Size() != 1000 {
		t.Errorf("after one piece: %v, %v; want 1000 bytes", fi, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "t/c")); err == nil {
		t.Error("a file exists before its first byte came")
	}
	put(t, s, tor, 9, 8, 7, 6, 5, 4, 3, 2, 1)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]byte{
		"t/a": tor.Data[:2700], "t/sub/b": tor.Data[3000:7321], "t/empty": {},
		"t/sub/link": tor.Data[:2700], "t/c": tor.Data[7321:],
	} {
		path := filepath.Join(dir, name)
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v; want %d", name, len(got), err, len(want))
		}
		if fi, err := os.Stat(path); err == nil && len(want) > 0 && !fi.ModTime().Equal(when) {
			t.Errorf("%s: modified %v", name, fi.ModTime())
		}
	}
	if fi, _ := os.Stat(filepath.Join(dir, "t/sub/b")); fi.Mode()&0o100 == 0 {
		t.Error("t/sub/b is not executable")
	}
	if _, err := os.Stat(filepath.Join(dir, ".pad")); err == nil {
		t.Error("padding is on disk")
	}
}

// Open finds what an earlier run left, and only what is right.
func TestResume(t *testing.T) {
	dir := t.TempDir()
	tor, files := sample()
	s := open(t, dir, files, tor.Geometry(), filestore.Options{})
	put(t, s, tor, all...)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	reopen := func(want ...int) {
		t.Helper()
		var last, total int64
		s := open(t, dir, files, tor.Geometry(), filestore.Options{ReadOnly: true, Check: func(done, of int64) {
			if done <= last || done > of {
				t.Errorf("progress %d after %d of %d", done, last, of)
			}
			last, total = done, of
		}})
		wantHas(t, s, want...)
		if last != total || total == 0 {
			t.Errorf("progress ended at %d of %d", last, total)
		}
		for _, i := range want {
			got := make([]byte, len(tor.Bytes(i)))
			if err := s.ReadAt(got, i, 0); err != nil || !bytes.Equal(got, tor.Bytes(i)) {
				t.Errorf("piece %d: wrong bytes, %v", i, err)
			}
		}
	}
	reopen(all...)
	poke(t, filepath.Join(dir, "t/sub/b"), 2500) // byte 5500 of the torrent
	reopen(0, 1, 2, 3, 4, 6, 7, 8, 9)
	if err := os.Truncate(filepath.Join(dir, "t/c"), 1000); err != nil { // up to byte 8321
		t.Fatal(err)
	}
	reopen(0, 1, 2, 3, 4, 6, 7)
	if err := os.Remove(filepath.Join(dir, "t/a")); err != nil {
		t.Fatal(err)
	}
	reopen(3, 4, 6, 7)
	again := open(t, dir, files, tor.Geometry(), filestore.Options{})
	put(t, again, tor, 0, 1, 2, 5, 8, 9)
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	reopen(all...)
}

// poke changes one byte of a file.
func poke(t *testing.T, path string, off int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, off); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b, off); err != nil {
		t.Fatal(err)
	}
}

// What is in the way is an error that names it, and stays as it is.
func TestInTheWay(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(outside, []byte("keep"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		make func(dir string) error
		want string
	}{
		"larger file": {func(d string) error { return os.WriteFile(d+"/t/a", make([]byte, 2701), 0o600) }, "has 2701 bytes"},
		"directory":   {func(d string) error { return os.Mkdir(d+"/t/a", 0o700) }, "not a regular file"},
		"pipe":        {func(d string) error { return syscall.Mkfifo(d+"/t/a", 0o600) }, "not a regular file"},
		"file for directory": {func(d string) error {
			return os.WriteFile(d+"/t/sub", nil, 0o600)
		}, "not a directory"},
		"link out":           {func(d string) error { return os.Symlink(outside, d+"/t/a") }, "escapes"},
		"directory link out": {func(d string) error { return os.Symlink(filepath.Dir(outside), d+"/t/sub") }, "escapes"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			tor, files := sample()
			if err := errors.Join(os.Mkdir(dir+"/t", 0o700), c.make(dir)); err != nil {
				t.Fatal(err)
			}
			s, err := filestore.Open(dir, files, tor.Geometry(), filestore.Options{})
			if err == nil {
				s.Close()
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "t/") {
				t.Errorf("Open: %v, want %q", err, c.want)
			}
			if b, _ := os.ReadFile(outside); string(b) != "keep" {
				t.Error("wrote outside of the directory")
			}
		})
	}
}

// A link that appears while the store is open is not followed out either.
func TestLinkAppears(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	tor, files := sample()
	s := open(t, dir, files, tor.Geometry(), filestore.Options{})
	if err := os.RemoveAll(dir + "/t/sub"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, dir+"/t/sub"); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), tor.Piece(t, nil, 4)); err == nil || s.Has(4) {
		t.Errorf("Put through a link: %v", err)
	}
	if es, _ := os.ReadDir(outside); len(es) != 0 {
		t.Errorf("outside: %v", es)
	}
}

func TestBadLayout(t *testing.T) {
	tor, _ := sample()
	total := int64(len(tor.Data))
	for name, files := range map[string][]filestore.File{
		"dotdot":     {{Path: []string{"..", "a"}, Length: total}},
		"dot":        {{Path: []string{"a", "."}, Length: total}},
		"slash":      {{Path: []string{"a/../../b"}, Length: total}},
		"absolute":   {{Path: []string{"/etc/passwd"}, Length: total}},
		"nul":        {{Path: []string{"a\x00b"}, Length: total}},
		"empty name": {{Path: []string{"a", ""}, Length: total}},
		"no path":    {{Length: total}},
		"twice":      {{Path: []string{"a"}, Length: 1}, {Path: []string{"a"}, Length: total - 1}},
		"too short":  {{Path: []string{"a"}, Length: total - 1}},
		"too long":   {{Path: []string{"a"}, Length: total + 1}},
		"negative":   {{Path: []string{"a"}, Length: -1}, {Path: []string{"b"}, Length: total + 1}},
		"overflow":   {{Path: []string{"a"}, Length: 1<<63 - 1}, {Path: []string{"b"}, Length: 1<<63 - 1}},
		"link out":   {{Path: []string{"a"}, Symlink: []string{"..", "x"}}, {Path: []string{"b"}, Length: total}},
		"long link":  {{Path: []string{"a"}, Symlink: []string{"x"}, Length: total}},
	} {
		dir := filepath.Join(t.TempDir(), "d")
		if s, err := filestore.Open(dir, files, tor.Geometry(), filestore.Options{}); err == nil {
			s.Close()
			t.Errorf("%s: no error", name)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s: something was created", name)
		}
	}
}

// A piece whose padding is not zero could not be read back as it was verified.
func TestPaddingNotZero(t *testing.T) {
	_, files := sample()
	tor := cachetest.NewTorrent(10, 1000, 500)
	s := open(t, t.TempDir(), files, tor.Geometry(), filestore.Options{})
	if err := s.Put(t.Context(), tor.Piece(t, nil, 2)); err == nil || s.Has(2) {
		t.Errorf("Put: %v", err)
	}
}

func TestReadOnly(t *testing.T) {
	tor, files := sample()
	dir := t.TempDir()
	s := open(t, dir, files, tor.Geometry(), filestore.Options{ReadOnly: true})
	if err := s.Put(t.Context(), tor.Piece(t, nil, 0)); !errors.Is(err, filestore.ErrReadOnly) {
		t.Errorf("Put: %v", err)
	}
	wantHas(t, s)
	if es, _ := os.ReadDir(dir); len(es) != 0 {
		t.Errorf("created %v", es)
	}
	if _, err := filestore.Open(dir+"/no", files, tor.Geometry(), filestore.Options{ReadOnly: true}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Open of a missing directory: %v", err)
	}
}

// A file cut short by somebody else is a miss, not an error or zeros.
func TestTruncatedWhileOpen(t *testing.T) {
	tor, files := sample()
	dir := t.TempDir()
	s := open(t, dir, files, tor.Geometry(), filestore.Options{})
	put(t, s, tor, all...)
	if err := os.Truncate(dir+"/t/a", 500); err != nil {
		t.Fatal(err)
	}
	if err := s.ReadAt(make([]byte, 1000), 0, 0); !errors.Is(err, cache.ErrMiss) || s.Has(0) {
		t.Errorf("ReadAt: %v", err)
	}
	if st := s.Stats(); st.Damaged != 1 || st.Pieces != 9 {
		t.Errorf("%+v", st)
	}
	put(t, s, tor, 0)
	wantHas(t, s, all...)
}

func TestOpenCancelled(t *testing.T) {
	tor, files := sample()
	dir := t.TempDir()
	s := open(t, dir, files, tor.Geometry(), filestore.Options{})
	put(t, s, tor, all...)
	s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	opt := filestore.Options{Context: ctx, Check: func(int64, int64) { cancel() }}
	if _, err := filestore.Open(dir, files, tor.Geometry(), opt); !errors.Is(err, context.Canceled) {
		t.Errorf("Open: %v", err)
	}
}

// However many files there are, few are open, and none after Close.
func TestFileDescriptors(t *testing.T) {
	count := func() int {
		es, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip("needs /proc")
		}
		return len(es)
	}
	tor := cachetest.NewTorrent(5, 40, 40)
	var files []filestore.File
	for i := range len(tor.Data) {
		files = append(files, filestore.File{Path: []string{fmt.Sprint(i)}, Length: 1})
	}
	before := count()
	s := open(t, t.TempDir(), files, tor.Geometry(), filestore.Options{})
	put(t, s, tor, 0, 1, 2, 3, 4)
	if n := count() - before; n > 100 {
		t.Errorf("%d files are open", n)
	}
	if err := s.Flush(t.Context()); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if n := count() - before; n > 0 {
		t.Errorf("%d descriptors leaked", n)
	}
}

// Behind the RAM tier, as `get` uses it.
func TestBehindCache(t *testing.T) {
	tor, files := sample()
	dir := t.TempDir()
	c := cache.New(cache.Config{
		Geometry: tor.Geometry(), RAM: 3000,
		Disk: open(t, dir, files, tor.Geometry(), filestore.Options{}),
	})
	put(t, c, tor, all...)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	wantHas(t, open(t, dir, files, tor.Geometry(), filestore.Options{}), all...)
}

func BenchmarkPut(b *testing.B) {
	tor := cachetest.NewTorrent(256, 256<<10, 256<<10)
	files := []filestore.File{{Path: []string{"f"}, Length: int64(len(tor.Data))}}
	b.SetBytes(int64(len(tor.Data)))
	for b.Loop() {
		b.StopTimer()
		s := open(b, b.TempDir(), files, tor.Geometry(), filestore.Options{})
		var ps []cache.Piece
		for i := range tor.NumPieces() {
			ps = append(ps, tor.Piece(b, nil, i))
		}
		b.StartTimer()
		if err := s.Put(context.Background(), ps...); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpen is the check of existing data; BenchmarkReadAt what `seed` does.
func BenchmarkOpen(b *testing.B) {
	benchFilled(b, func(tor *cachetest.Torrent, reopen func() *filestore.Store) {
		b.SetBytes(int64(len(tor.Data)))
		for b.Loop() {
			reopen().Close()
		}
	})
}

func BenchmarkReadAt(b *testing.B) {
	benchFilled(b, func(tor *cachetest.Torrent, reopen func() *filestore.Store) {
		s := reopen()
		const block = 16 << 10
		b.SetBytes(block)
		b.RunParallel(func(pb *testing.PB) {
			dst := make([]byte, block)
			for k := 0; pb.Next(); k++ {
				off := k * block % len(tor.Data)
				if err := s.ReadAt(dst, off/tor.PieceLength, off%tor.PieceLength); err != nil {
					b.Error(err)
				}
			}
		})
	})
}

func benchFilled(b *testing.B, run func(tor *cachetest.Torrent, reopen func() *filestore.Store)) {
	tor := cachetest.NewTorrent(256, 256<<10, 256<<10)
	files := []filestore.File{{Path: []string{"f"}, Length: int64(len(tor.Data))}}
	dir := b.TempDir()
	if err := os.WriteFile(dir+"/f", tor.Data, 0o600); err != nil {
		b.Fatal(err)
	}
	run(tor, func() *filestore.Store {
		return open(b, dir, files, tor.Geometry(), filestore.Options{ReadOnly: true})
	})
}
