package main

import (
	"bytes"
	"crypto/sha1"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qqbtfs/qqbtfs/fetch/metainfo"
)

func noise(seed uint64, n int) []byte {
	r := rand.NewChaCha8([32]byte{byte(seed)})
	b := make([]byte, n)
	r.Read(b)
	return b
}

func parseFile(t *testing.T, name string) *metainfo.MetaInfo {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	m, err := metainfo.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestCreateDirectory(t *testing.T) {
	dir := home(t)
	album := filepath.Join(dir, "album")
	a, b, empty := noise(1, 100_000), noise(2, 7), []byte{}
	writeTestFile(t, album+"/z/a.bin", a)
	writeTestFile(t, album+"/b.bin", b)
	writeTestFile(t, album+"/c.empty", empty)
	if err := os.Symlink("/etc/passwd", album+"/link"); err != nil {
		t.Fatal(err)
	}
	// The output lies in what is published, and an older one lies there already.
	out := writeTestFile(t, album+"/album.torrent", []byte("old"))
	args := []string{"create", album, "-o", out, "--tracker", "http://a/announce", "--tracker", "udp://b:80", "--piece-length", "16k", "--private", "--comment", "hi"}
	if r := run(t, args...); r.code != codeDisk || !strings.Contains(r.err, "--force") {
		t.Fatalf("over an old one: code %d, %q", r.code, r.err)
	}
	r := run(t, append(args, "--force")...)
	if r.code != codeOK || !strings.Contains(r.err, album+"/link") {
		t.Fatalf("code %d, %q", r.code, r.err)
	}
	m := parseFile(t, out)
	stream := append(append([]byte{}, b...), a...) // sorted: b.bin, c.empty, z/a.bin
	if m.Info.Name != "album" || len(m.Info.Files) != 3 || m.Info.Total != int64(len(stream)) || !m.Info.Private || m.Comment != "hi" || len(m.Trackers) != 2 {
		t.Errorf("torrent is %+v", m)
	}
	var sums []byte
	for len(stream) > 0 {
		n := min(16<<10, len(stream))
		s := sha1.Sum(stream[:n])
		sums, stream = append(sums, s[:]...), stream[n:]
	}
	if !bytes.Equal(sums, m.Info.Pieces) {
		t.Error("piece hashes are wrong")
	}
	entries, err := os.ReadDir(album)
	if err != nil || len(entries) != 5 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestCreateFile(t *testing.T) {
	dir := home(t)
	t.Chdir(dir)
	writeTestFile(t, "film.mkv", noise(3, 40_000))
	if r := run(t, "create", "film.mkv"); r.code != codeOK || !strings.HasPrefix(r.out, "film.mkv.torrent  39.1 KiB in 1 file, 3 pieces of 16.0 KiB\ninfo-hash ") {
		t.Fatalf("code %d, %q %q", r.code, r.out, r.err)
	}
	m := parseFile(t, "film.mkv.torrent")
	if m.Info.Dir || m.Info.Name != "film.mkv" || m.Info.Total != 40_000 {
		t.Errorf("torrent is %+v", m.Info)
	}
}

func TestCreateNothing(t *testing.T) {
	dir := home(t)
	writeTestFile(t, dir+"/void/empty", nil)
	if r := run(t, "create", dir+"/void", "-o", dir+"/x.torrent"); r.code != codeDisk || !strings.Contains(r.err, "nothing") {
		t.Errorf("code %d, %q", r.code, r.err)
	}
}

// A file that grows or shrinks between the listing and the hashing would give a
// torrent that nobody can seed.
func TestCreateOfChangingFile(t *testing.T) {
	for name, length := range map[string]int64{"grows": 99, "shrinks": 101} {
		path := writeTestFile(t, filepath.Join(t.TempDir(), "f"), make([]byte, 100))
		tree := &sourceTree{root: path, single: true, total: length, files: []metainfo.SourceFile{{Length: length}}}
		if _, err := tree.hash(t.Context(), 64, newCounter()); exitCode(err) != codeDisk || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
