package e2e

import (
	"bytes"
	"os"
	"strings"
	"syscall"
	"testing"
)

// What create writes is what info tells, and what libtorrent makes of the same content
// with the same pieces has the same bytes under the same names.
func TestCreate(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	album := s.album("pub/album")
	torrent := s.create(album, "--piece-length", "64KiB", "--private", "--comment", "für alle",
		"--tracker", "http://127.0.0.1:1/announce", "--tracker", "udp://127.0.0.1:2")
	i := s.info(torrent)
	if i.Name != "album" || i.Version != "v1" || !i.Private || !i.Directory || i.Comment != "für alle" || i.PieceLength != 64<<10 || len(i.Files) != 8 || len(i.Trackers) == 0 {
		t.Errorf("info: %+v", i)
	}
	text := s.qqbtfs("info", torrent)
	for _, word := range []string{"album", i.InfoHash, "für alle", "notes/😀 readme.md", "udp://127.0.0.1:2"} {
		if !strings.Contains(text, word) {
			t.Errorf("info does not say %q:\n%s", word, text)
		}
	}
	s.fails(5, torrent, "create", album, "-o", torrent) // it is there already
	theirs := s.path("theirs.torrent")
	must(t, s.command(python(t), libtorrentScript(t), "create", album, theirs, "v1"))
	// Either's content can be seeded by the other's torrent.
	seed := s.seed(theirs, album)
	m := s.mount("--peer", seed.addr, theirs)
	same(t, album, m.dir+"/album")
}

// get downloads several torrents at once, keeps what is there, mends what is damaged
// and goes on after it was killed.
func TestGet(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	album := s.album("pub/album")
	albumTorrent := s.create(album, "--piece-length", "64KiB")
	one := s.publish("film.bin", 3<<20)
	args := []string{"get", albumTorrent, one.torrent, "-o", s.path("down"), "--listen", "127.0.0.1:0", "--peer"}
	s.qqbtfs(append(args, one.seed.addr, "--peer", s.seed(albumTorrent, album).addr)...)
	same(t, s.path("pub"), s.path("down"))
	s.qqbtfs(append(args, nobody)...) // everything is there
	damage(t, s.path("down/film.bin"), 1<<20)
	if err := os.Truncate(s.path("down/album/02 夜想曲.flac"), 1000); err != nil {
		t.Fatal(err)
	}
	s.qqbtfs(append(args, one.seed.addr, "--peer", s.seed(albumTorrent, album).addr)...)
	same(t, s.path("pub"), s.path("down"))
}

// damage overwrites a few bytes of a file.
func damage(t *testing.T, name string, offset int64) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("damaged"), offset); err != nil {
		t.Fatal(err)
	}
}

// A download that was killed goes on where it was, and does not fetch all again.
func TestGetAfterKill(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	slow := s.publish("film.bin", 4<<20, "--upload-limit", "1MB/s")
	args := []string{"get", slow.torrent, "-o", s.path("down"), "--listen", "127.0.0.1:0", "-v"}
	p := start(t, s.program(append(args, "--peer", slow.seed.addr, "--log-file", s.path("log"))...))
	await(t, "half of it", func() bool {
		b, err := os.ReadFile(s.path("log"))
		return err == nil && bytes.Contains(b, []byte("32 / 64 (50.0%)"))
	})
	_ = p.stop(t, syscall.SIGKILL)
	r := run(t, s.program(append(args, "--peer", slow.seed.addr, "--log-file", s.path("log2"))...))
	if r.code != 0 {
		t.Fatalf("exit code %d: %s", r.code, r.err)
	}
	same(t, slow.file, s.path("down/film.bin"))
	if n := strings.Count(string(readFile(t, s.path("log2"))), "piece complete"); n == 0 || n > 40 {
		t.Errorf("%d pieces of 64 were fetched after the kill, half were there", n)
	}
}

// seed says what is wrong with its data, and serves what is right in it.
func TestSeedOfDamaged(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	pub := s.lonely("film.bin", 1<<20)
	s.fails(6, "--data", "seed", pub.torrent, "--data", s.write("other/film.bin", noise(9, 1<<20)), "--listen", "127.0.0.1:0")
	damage(t, pub.file, 15*64<<10)
	seed := s.seed(pub.torrent, pub.file)
	m := s.mount("--read-timeout", "1s", "--peer", seed.addr, pub.torrent)
	if got := readPart(t, m.dir+"/film.bin", 15*64<<10); !bytes.Equal(got, pub.content[:15*64<<10]) {
		t.Error("the mount has other content")
	}
	if _, err := os.ReadFile(m.dir + "/film.bin"); !isErrno(err, syscall.ETIMEDOUT) {
		t.Errorf("the damaged piece: %v, want ETIMEDOUT", err)
	}
}
