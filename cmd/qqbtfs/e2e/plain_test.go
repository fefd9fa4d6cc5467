package e2e

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"
	"testing"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Random reads and mappings from many threads give what the plain file has, while it
// is still being downloaded.
func TestRandomReads(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	const size = 8<<20 + 4321
	pub := s.publish("film.bin", size, "--upload-limit", "8MB/s")
	m := s.mount("--peer", pub.seed.addr, pub.torrent)
	f, err := os.Open(m.dir + "/film.bin")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	mapped, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Munmap(mapped) }()
	var g errgroup.Group
	for i := range 16 {
		rng := rand.New(rand.NewPCG(uint64(i), 0))
		read := f.ReadAt
		if i%2 == 1 {
			read = func(p []byte, off int64) (int, error) { return copyMapped(p, mapped, off) }
		}
		g.Go(func() error {
			for range 60 {
				if err := readSomewhere(rng, read, pub.content); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
}

// readSomewhere reads some bytes, perhaps past the end, and compares them.
func readSomewhere(rng *rand.Rand, read func([]byte, int64) (int, error), content []byte) error {
	off := rng.Int64N(int64(len(content)) + 5000)
	p := make([]byte, 1+rng.IntN(1<<rng.IntN(19)))
	n, err := read(p, off)
	want := content[min(off, int64(len(content))):]
	want = want[:min(len(p), len(want))]
	if err == io.EOF && n < len(p) {
		err = nil
	}
	if err != nil || !bytes.Equal(p[:n], want) {
		return fmt.Errorf("%d bytes at %d: got %d, the file has %d, same: %v, %w", len(p), off, n, len(want), bytes.Equal(p[:n], want), err)
	}
	return nil
}

// copyMapped reads from a mapping. A page that cannot be had is an error.
func copyMapped(p, mapped []byte, off int64) (n int, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("fault: %v", v)
		}
	}()
	if off >= int64(len(mapped)) {
		return 0, io.EOF
	}
	if n = copy(p, mapped[off:]); n < len(p) {
		err = io.EOF
	}
	return n, err
}

// "Nothing that the user can do to the mount gives another answer than the plain files
// would." Each command runs in the plain directory and on a mount that has nothing yet:
// tools that believe in holes where no blocks are would make zeros of it.
func TestCommandsOfUsers(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	album := s.album("pub/album")
	torrent := s.create(album, "--piece-length", "64KiB")
	seed := s.seed(torrent, album)
	// Owners, modes and times are not in a torrent.
	const tar = "tar --sort=name --owner=0 --group=0 --mode=0 --mtime=@0 "
	for i, c := range []string{
		"find . -type f -printf '%P %s\\n' | sort; find . -type d -printf '%P\\n' | sort",
		"find . -type f -print0 | sort -z | xargs -0 du --apparent-size -b",
		"find . -type f -print0 | sort -z | xargs -0 sha1sum",
		"grep -r -c a . | sort",
		"grep -r -l -a -P '\\x00\\xff' . | sort",
		"find . -type f -print0 | sort -z | xargs -0 wc -c",
		tar + "-cf - . | tar -xOf - | sha1sum",
		tar + "-S -cf - . | tar -xOf - | sha1sum",
		`cp -r --sparse=always . "$OUT" && cd "$OUT" && find . -type f -print0 | sort -z | xargs -0 sha1sum`,
		`cp -r --sparse=auto . "$OUT" && cd "$OUT" && find . -type f -print0 | sort -z | xargs -0 sha1sum`,
		`rsync -r --sparse . "$OUT" && cd "$OUT" && find . -type f -print0 | sort -z | xargs -0 sha1sum`,
		`rsync -r --inplace . "$OUT" && cd "$OUT" && find . -type f -print0 | sort -z | xargs -0 sha1sum`,
	} {
		want := s.answer(album, c, s.path(fmt.Sprintf("plain%d", i)))
		m := s.mount("--fill", "none", "--cache-dir", s.path(fmt.Sprintf("cache%d", i)), "--peer", seed.addr, torrent)
		if got := s.answer(m.dir+"/album", c, s.path(fmt.Sprintf("mounted%d", i))); got != want {
			t.Errorf("%s\nplain:\n%s\nmounted:\n%s", c, want, got)
		}
		m.unmount()
	}
}

// answer is what a shell says in a directory.
func (s *sandbox) answer(dir, script, out string) string {
	s.t.Helper()
	cmd := s.command("sh", "-ec", script)
	cmd.Dir, cmd.Env = dir, append(s.env, "OUT="+out)
	return must(s.t, cmd)
}

// "SEEK_DATA and SEEK_HOLE: by default a file has no holes", and never no block, which
// tar takes for a hole that needs no reading.
func TestNoHoles(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	pub := s.lonely("film.bin", 300_000)
	m := s.mount("--peer", nobody, pub.torrent)
	name := filepath.Join(m.dir, "film.bin")
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, off := range []int64{0, 1, 65536, 299_999} {
		data, err := f.Seek(off, unix.SEEK_DATA)
		if err != nil || data != off {
			t.Errorf("data from %d: at %d, %v", off, data, err)
		}
		hole, err := f.Seek(off, unix.SEEK_HOLE)
		if err != nil || hole != 300_000 {
			t.Errorf("hole from %d: at %d, %v", off, hole, err)
		}
	}
	if b := blocks(t, name); b != 512 {
		t.Errorf("st_blocks of a file of which nothing is here: %d bytes, want one block", b)
	}
}
