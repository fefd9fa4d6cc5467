package main

import (
	"bytes"
	"crypto/sha1"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qqbtfs/qqbtfs/cache"
	"github.com/qqbtfs/qqbtfs/fetch"
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

// What create makes in each version is what the content hashes to, piece by piece.
func TestCreateVersions(t *testing.T) {
	dir := home(t)
	files := map[string][]byte{"a.bin": noise(1, 100_000), "b/c.bin": noise(2, 32<<10), "b/d.bin": noise(3, 7), "e.empty": {}}
	for name, b := range files {
		writeTestFile(t, dir+"/album/"+name, b)
	}
	for flag, version := range map[string]string{"--v1": "v1", "--v2": "v2", "--hybrid": "hybrid"} {
		out := dir + "/" + version + ".torrent"
		r := run(t, "create", dir+"/album", flag, "-o", out, "--piece-length", "32k")
		m := parseFile(t, out)
		if r.code != codeOK || m.Version() != version || strings.Contains(r.out, "info-hash v2 ") == (version == "v1") {
			t.Errorf("%s: code %d, %s, %q", flag, r.code, m.Version(), r.out)
		}
		lay, sums := fetch.Layout(m), fetch.Geometry(m)
		for i := range lay.NumPieces() {
			var data []byte
			for file, c := range lay.PieceFiles(i) {
				data = append(data, files[strings.Join(m.Info.Files[file].Path, "/")][c.FileOff:][:c.Length]...)
			}
			if _, err := cache.Verify(i, sums.Sum(i), cache.NewBuffer(data)); err != nil {
				t.Errorf("%s: piece %d: %v", flag, i, err)
			}
		}
	}
	for _, flags := range [][]string{{"--v1", "--v2"}, {"--v1", "--hybrid"}, {"--hybrid", "--v2"}} {
		if r := run(t, append([]string{"create", dir + "/album"}, flags...)...); r.code != codeUsage {
			t.Errorf("%v: code %d", flags, r.code)
		}
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
		h := newContentHash(tree, metainfo.Builder{V1: true, PieceLength: 64})
		if err := h.run(t.Context(), newCounter()); exitCode(err) != codeDisk || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
