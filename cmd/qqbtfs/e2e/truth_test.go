package e2e

import (
	"bytes"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// blocks is st_blocks of a file, in bytes.
func blocks(t *testing.T, name string) int64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(name, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}

// piecesXattr is how many pieces of a file the mount says that it has, of how many.
func piecesXattr(t *testing.T, name string) (have, all int) {
	t.Helper()
	b := make([]byte, 100)
	n, err := unix.Getxattr(name, "user.qqbtfs.pieces", b)
	if err == nil {
		_, err = fmt.Sscanf(string(b[:n]), "%d/%d", &have, &all)
	}
	if err != nil {
		t.Fatal(err)
	}
	return have, all
}

// "st_blocks, xattrs and status agree with the cache at every moment": while a fill
// goes on, what each of them says lies between what status said before and says after.
func TestTruthDuringFill(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	const size = 12 << 20
	pub := s.publish("film.bin", size, "--upload-limit", "3MB/s")
	m := s.mount("--peer", pub.seed.addr, pub.torrent)
	name := m.dir + "/film.bin"
	partial := 0
	for before := m.torrent(); !before.Complete; {
		disk := blocks(t, name)
		have, all := piecesXattr(t, name)
		disk2 := blocks(t, name)
		after := m.torrent()
		if have < before.PiecesHave || have > after.PiecesHave || all != after.Pieces {
			t.Errorf("xattr says %d/%d, status %d before and %d after", have, all, before.PiecesHave, after.PiecesHave)
		}
		for _, d := range []int64{disk, disk2} {
			if d != 512 && d < before.BytesHave || d > after.BytesHave && d != 512 {
				t.Errorf("st_blocks says %d bytes, status %d before and %d after", d, before.BytesHave, after.BytesHave)
			}
		}
		if after.PiecesHave > 0 && !after.Complete {
			partial++
		}
		before = after
	}
	if partial < 5 {
		t.Errorf("only %d looks at an incomplete file", partial)
	}
	if d := blocks(t, name); d != size {
		t.Errorf("st_blocks of the complete file: %d bytes", d)
	}
}

// told are all extended attributes of a file, as a program finds them.
func told(t *testing.T, name string) map[string]string {
	t.Helper()
	list := make([]byte, 1000)
	n, err := unix.Listxattr(name, list)
	if err != nil {
		t.Fatal(name, err)
	}
	all := map[string]string{}
	for key := range strings.FieldsFuncSeq(string(list[:n]), func(r rune) bool { return r == 0 }) {
		value := make([]byte, 100)
		if n, err = unix.Getxattr(name, key, value); err != nil {
			t.Fatal(name, key, err)
		}
		all[key] = string(value[:n])
	}
	return all
}

// progress is what user.qqbtfs.progress is for so many pieces: all digits are true, and
// only all are 100.0%.
func progress(have, all int) float64 {
	return math.Floor(float64(have)/float64(all)*1000) / 10
}

// Every extended attribute, of the torrent and of files that share a piece, lies between
// what status said before and what it says after; those of the files add up.
func TestXattrsDuringFill(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	dir, torrent, _ := s.pair()
	hash := s.info(torrent).InfoHash
	seed := s.seed(torrent, dir, "--upload-limit", "400kB/s")
	m := s.mount("--peer", seed.addr, torrent)
	partial := 0
	for before := m.torrent(); !before.Complete; {
		// Nothing changes but by pieces that come, so what the files have, asked for
		// between two looks at the torrent, is between what it has.
		root, pair := told(t, m.dir), told(t, m.dir+"/pair")
		a, b := told(t, m.dir+"/pair/a.bin"), told(t, m.dir+"/pair/b.bin")
		after := m.torrent()
		for _, x := range []map[string]string{root, pair, a, b} {
			delete(x, "user.qqbtfs.state") // the root's, in words
			if len(x) != 3 || x["user.qqbtfs.info-hash"] != hash {
				t.Fatalf("attributes: %v", x)
			}
		}
		for _, x := range []map[string]string{root, pair} {
			have, all := fraction(t, x)
			if have < before.PiecesHave || have > after.PiecesHave || all != after.Pieces {
				t.Errorf("pieces %d/%d, status %d before and %d after of %d", have, all, before.PiecesHave, after.PiecesHave, after.Pieces)
			}
			if p := percent(t, x); p < progress(before.PiecesHave, all) || p > progress(after.PiecesHave, all) {
				t.Errorf("progress %v, status %d before and %d after of %d", p, before.PiecesHave, after.PiecesHave, all)
			}
		}
		haveA, allA := fraction(t, a)
		haveB, allB := fraction(t, b)
		const shared = 1
		if allA+allB-shared != after.Pieces || haveA+haveB < before.PiecesHave || haveA+haveB > after.PiecesHave+shared {
			t.Errorf("pieces of the files %d/%d and %d/%d, status %d before and %d after", haveA, allA, haveB, allB, before.PiecesHave, after.PiecesHave)
		}
		if after.PiecesHave > 0 && !after.Complete {
			partial++
		}
		before = after
	}
	if partial < 5 {
		t.Errorf("only %d looks at an incomplete torrent", partial)
	}
	for _, name := range []string{"", "/pair", "/pair/a.bin", "/pair/b.bin"} {
		if x := told(t, m.dir+name); x["user.qqbtfs.progress"] != "100.0%" {
			t.Errorf("%q, complete, has %v", name, x)
		}
	}
}

// fraction is what user.qqbtfs.pieces says.
func fraction(t *testing.T, x map[string]string) (have, all int) {
	t.Helper()
	if _, err := fmt.Sscanf(x["user.qqbtfs.pieces"], "%d/%d", &have, &all); err != nil {
		t.Fatalf("%v: %v", x, err)
	}
	return have, all
}

// percent is what user.qqbtfs.progress says.
func percent(t *testing.T, x map[string]string) (p float64) {
	t.Helper()
	if _, err := fmt.Sscanf(x["user.qqbtfs.progress"], "%g%%", &p); err != nil {
		t.Fatalf("%v: %v", x, err)
	}
	return p
}

// What the mount says that it has can be read when nobody is there to ask, byte by
// byte right, and it is exactly that.
func TestTruthWithoutPeers(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	const pieces, size = 24, 64 << 10
	pub := s.publish("film.bin", pieces*size)
	args := []string{"--fill", "none", "--read-timeout", "60ms", "--peer"}
	m := s.mount(append(args, pub.seed.addr, pub.torrent)...)
	f, err := os.Open(m.dir + "/film.bin")
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range []int64{3, 11, 20} {
		if _, err := f.ReadAt(make([]byte, 100), i*size); err != nil {
			t.Fatal(err)
		}
	}
	f.Close()
	m.unmount()
	if err := pub.seed.stop(t, syscall.SIGTERM); err != nil {
		t.Errorf("seed ended with %v", err)
	}
	m.again(append(args, nobody, pub.torrent)...)
	st := m.torrent()
	have, _ := piecesXattr(t, m.dir+"/film.bin")
	readable := 0
	f, err = os.Open(m.dir + "/film.bin")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_RANDOM); err != nil {
		t.Fatal(err)
	}
	for i := range pieces {
		b := make([]byte, size)
		if _, err := f.ReadAt(b, int64(i)*size); err != nil {
			continue
		}
		readable++
		if !bytes.Equal(b, pub.content[i*size:(i+1)*size]) {
			t.Errorf("piece %d has other content", i)
		}
	}
	if readable < 3 || readable == pieces || st.PiecesHave != readable || have != readable || st.BytesHave != int64(readable*size) {
		t.Errorf("%d pieces can be read; status says %d and %d bytes, the xattr %d", readable, st.PiecesHave, st.BytesHave, have)
	}
}

// "No byte is served that was not verified, after bit rot flipped under a running
// mount. A bad piece is refetched, counted and reported; nothing else suffers."
func TestBitRot(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	pub := s.publish("film.bin", 4<<20)
	m := s.mount("--ram", "256KiB", "--peer", pub.seed.addr, pub.torrent)
	m.complete()
	await(t, "everything on disk", func() bool { return m.torrent().Cache.DiskBytes >= 4<<20 })
	pid, got := m.status().PID, m.torrent().Downloaded
	if rotten := rot(t, s.path("cache"), pub.content); rotten < 4 {
		t.Fatalf("only %d places of the cache could be damaged", rotten)
	}
	same(t, pub.file, m.dir+"/film.bin")
	m.complete()
	st := m.torrent()
	if st.Cache.Damaged == 0 || st.Downloaded <= got || st.Downloaded >= got+4<<20 {
		t.Errorf("%d damaged pieces, %d bytes downloaded again", st.Cache.Damaged, st.Downloaded-got)
	}
	if !alive(pid) || !strings.Contains(m.log(), "damaged") {
		t.Error("the process died, or its log does not tell of the damage")
	}
}

// rot flips a byte in every eighth 64 KiB of content that it finds in files below dir,
// and returns in how many places.
func rot(t *testing.T, dir string, content []byte) (places int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".vlog" {
			return err
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		b := readFile(t, path)
		for off := 0; off < len(content); off += 8 * 64 << 10 {
			i := bytes.Index(b, content[off+1000:off+1100])
			if i < 0 {
				continue
			}
			if _, err := f.WriteAt([]byte{b[i] ^ 0x10}, int64(i)); err != nil {
				return err
			}
			places++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return places
}
