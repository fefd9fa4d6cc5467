package e2e

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// extent is a range of bytes of a file.
type extent struct{ from, to int64 }

// dataExtents are what a program that knows holes finds in a file.
func dataExtents(t *testing.T, name string) (found []extent) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for off := int64(0); ; {
		data, err := f.Seek(off, unix.SEEK_DATA)
		if isErrno(err, syscall.ENXIO) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		if off, err = f.Seek(data, unix.SEEK_HOLE); err != nil || off <= data {
			t.Fatalf("data at %d, and then a hole at %d, %v", data, off, err)
		}
		found = append(found, extent{data, off})
	}
}

func length(extents []extent) (n int64) {
	for _, e := range extents {
		n += e.to - e.from
	}
	return n
}

// pair are two files that share a piece, in a torrent of 64 KiB pieces.
func (s *sandbox) pair() (dir, torrent string, sizes map[string]int) {
	s.t.Helper()
	sizes = map[string]int{"a.bin": 9<<16 + 1000, "b.bin": 6<<16 - 777}
	for name, n := range sizes {
		s.write("pub/pair/"+name, noise(uint64(n), n))
	}
	dir = s.path("pub/pair")
	return dir, s.create(dir, "--piece-length", "64KiB"), sizes
}

// "SEEK_DATA and SEEK_HOLE report what is local only if the option --sparse-view asks
// for it". What they report can be read when nobody is there to ask, and nothing else
// can; status and xattr count the same; st_blocks is what it is without.
func TestSparseView(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	const piece = 64 << 10
	dir, torrent, sizes := s.pair()
	seed := s.seed(torrent, dir)
	args := []string{"--fill", "none", "--read-timeout", "60ms", "--sparse-view", "--peer"}
	m := s.mount(append(args, seed.addr, torrent)...)
	for name, offsets := range map[string][]int64{"a.bin": {3 * piece, 9 * piece}, "b.bin": {4 * piece}} {
		f, err := os.Open(m.dir + "/pair/" + name)
		if err != nil {
			t.Fatal(err)
		}
		for _, off := range offsets {
			if _, err := f.ReadAt(make([]byte, 100), off); err != nil {
				t.Fatal(err)
			}
		}
		f.Close()
	}
	m.unmount()
	if err := seed.stop(t, syscall.SIGTERM); err != nil {
		t.Errorf("seed ended with %v", err)
	}
	m.again(append(args, nobody, torrent)...)
	total := int64(0)
	for name, size := range sizes {
		shown, content := dataExtents(t, m.dir+"/pair/"+name), noise(uint64(size), size)
		got := s.readable(m.dir+"/pair/"+name, content)
		if want := wholePages(shown, int64(size)); len(want) == 0 || !slices.Equal(want, got) {
			t.Errorf("%s: the data are said to be at %v, and can be read at %v", name, shown, got)
		}
		if b := blocks(t, m.dir+"/pair/"+name); b != (length(shown)+511)/512*512 {
			t.Errorf("%s: %d bytes in blocks, %d to be seen", name, b, length(shown))
		}
		total += length(shown)
	}
	if st := m.torrent(); st.BytesHave != total || st.Complete {
		t.Errorf("status counts %d bytes, %d are shown", st.BytesHave, total)
	}
}

const page = 4096

// wholePages are the pages of extents of a file. The kernel reads no less: a page of
// which only a part is here cannot be had.
func wholePages(extents []extent, size int64) (pages []extent) {
	for _, e := range extents {
		e.from = (e.from + page - 1) / page * page
		if e.to < size {
			e.to = e.to / page * page
		}
		if e.from < e.to {
			pages = append(pages, e)
		}
	}
	return pages
}

// readable are the pages of a file that can be read, which must have the content.
func (s *sandbox) readable(name string, content []byte) (found []extent) {
	s.t.Helper()
	f, err := os.Open(name)
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_RANDOM); err != nil {
		s.t.Fatal(err)
	}
	for off := 0; off < len(content); {
		end := min(off+page, len(content))
		b := make([]byte, end-off)
		if _, err := f.ReadAt(b, int64(off)); err == nil {
			if !bytes.Equal(b, content[off:end]) {
				s.t.Errorf("%s has other content at %d", name, off)
			}
			if n := len(found); n > 0 && found[n-1].to == int64(off) {
				found[n-1].to = int64(end)
			} else {
				found = append(found, extent{int64(off), int64(end)})
			}
		} else if !isErrno(err, syscall.ETIMEDOUT) {
			s.t.Errorf("%s at %d: %v", name, off, err)
		}
		off = end
	}
	return found
}

// While a download goes on, what SEEK_DATA finds is whole pieces, not less than status
// said before and not more than it says after.
func TestSparseViewDuringFill(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	const piece = 64 << 10
	pub := s.publish("film.bin", 4<<20+555, "--upload-limit", "3MB/s")
	m := s.mount("--sparse-view", "--peer", pub.seed.addr, pub.torrent)
	partial := 0
	for before := m.torrent(); !before.Complete; {
		shown := dataExtents(t, m.dir+"/film.bin")
		after := m.torrent()
		if n := length(shown); n < before.BytesHave || n > after.BytesHave {
			t.Errorf("%d bytes of data, status says %d before and %d after", n, before.BytesHave, after.BytesHave)
		}
		for _, e := range shown {
			if e.from%piece != 0 || e.to%piece != 0 && e.to != after.Bytes {
				t.Errorf("data at %d to %d are no whole pieces", e.from, e.to)
			}
		}
		if len(shown) > 0 && !after.Complete {
			partial++
		}
		before = after
	}
	if partial == 0 {
		t.Error("no look at an incomplete file")
	}
	if shown := dataExtents(t, m.dir+"/film.bin"); !slices.Equal(shown, []extent{{0, 4<<20 + 555}}) {
		t.Errorf("complete, it has data at %v", shown)
	}
}

// The switch can be set as all others can.
func TestSparseViewBySettings(t *testing.T) {
	t.Parallel()
	for how, set := range map[string]func(s *sandbox){
		"environment": func(s *sandbox) { s.env = append(s.env, "QQBTFS_SPARSE_VIEW=true") },
		"config file": func(s *sandbox) { s.write("config/qqbtfs/config", []byte("sparse-view\n")) },
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t)
			pub := s.lonely("film.bin", 300_000)
			set(s)
			m := s.mount("--peer", nobody, pub.torrent)
			if shown := dataExtents(t, m.dir+"/film.bin"); len(shown) > 0 {
				t.Errorf("a file of which nothing is here has data at %v", shown)
			}
			if help := s.qqbtfs("mount", "--help"); !strings.Contains(help, "--sparse-view") {
				t.Error("the help does not name it")
			}
		})
	}
}
