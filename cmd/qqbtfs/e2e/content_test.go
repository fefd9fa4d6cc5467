package e2e

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// noise is n bytes that look random and are the same for the same seed.
func noise(seed uint64, n int) []byte {
	var key [32]byte
	key[0], key[1] = byte(seed), byte(seed>>8)
	b := make([]byte, n)
	rand.NewChaCha8(key).Read(b)
	return b
}

// write writes a file in the sandbox, and returns its path.
func (s *sandbox) write(name string, content []byte) string {
	s.t.Helper()
	s.mkdir(filepath.Dir(name))
	if err := os.WriteFile(s.path(name), content, 0o644); err != nil {
		s.t.Fatal(err)
	}
	return s.path(name)
}

// album writes a directory of about 3 MiB with everything that a directory may have:
// empty files, names that are not ASCII, depth, and files that share a piece.
func (s *sandbox) album(name string) string {
	s.t.Helper()
	for i, f := range []struct {
		name string
		size int
	}{
		{"01 Öl auf Holz.flac", 3 << 19},
		{"02 夜想曲.flac", 1<<20 + 17},
		{"empty", 0},
		{"notes/a/b/c/d/deep.txt", 11},
		{"notes/empty too.txt", 0},
		{"notes/😀 readme.md", 4096},
		{"one byte", 1},
		{"z-last.bin", 77_777},
	} {
		s.write(filepath.Join(name, f.name), noise(uint64(i), f.size))
	}
	if err := os.Chmod(s.path(name), 0o755); err != nil {
		s.t.Fatal(err)
	}
	return s.path(name)
}

// same compares two files or directories as a user would: with diff -r.
func same(t *testing.T, want, got string) {
	t.Helper()
	if r := run(t, exec.Command("diff", "-r", want, got)); r.code != 0 {
		t.Errorf("diff -r %s %s: %s%s", want, got, r.out, r.err)
	}
}

// sameFiles reports whether all files below want are below got with the same content.
// Unlike diff it minds no other files there, and an empty file may be missing:
// transmission makes none.
func sameFiles(want, got string) bool {
	err := filepath.WalkDir(want, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(want, path)
		if err != nil {
			return err
		}
		a, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		b, err := os.ReadFile(filepath.Join(got, rel))
		if len(a) == 0 && os.IsNotExist(err) {
			err = nil
		}
		if err == nil && !bytes.Equal(a, b) {
			err = io.ErrUnexpectedEOF
		}
		return err
	})
	return err == nil
}

// readFile reads a file, of a mount for example.
func readFile(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// readPart reads n bytes from the start of a file.
func readPart(t *testing.T, name string, n int) []byte {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, n)
	if _, err := io.ReadFull(f, b); err != nil {
		t.Fatal(err)
	}
	return b
}

// names lists a directory.
func names(t *testing.T, dir string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}
