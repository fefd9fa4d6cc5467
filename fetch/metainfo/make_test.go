package metainfo

import (
	"bytes"
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/qqbtfs/qqbtfs/peerconn/bencode"
)

// d is a dictionary to encode.
type d map[string]any

func encode(t testing.TB, v any) []byte {
	t.Helper()
	b, err := bencode.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// with returns a copy of m with changes, where nil removes a key.
func (m d) with(changes d) d {
	m = maps.Clone(m)
	for k, v := range changes {
		if m[k] = v; v == nil {
			delete(m, k)
		}
	}
	return m
}

// single is a torrent of one file of 20,000 bytes.
func single() d {
	return d{"name": "a.txt", "piece length": 16384, "length": 20000, "pieces": hashes(2)}
}

func hashes(n int) string { return strings.Repeat("h", 20*n) }

// multi is a torrent of files, all of five bytes, with these paths.
func multi(paths ...[]string) d {
	var files []d
	for _, p := range paths {
		files = append(files, d{"length": 5, "path": p})
	}
	return multiOf(files...)
}

func multiOf(files ...d) d {
	total := 0
	for _, f := range files {
		if n, ok := f["length"].(int); ok && n > 0 && n < 1<<40 {
			total += n
		}
	}
	return d{"name": "dir", "piece length": 16384, "files": files, "pieces": hashes((total + 16383) / 16384)}
}

// parse parses the torrent with the info dictionary.
func parse(t testing.TB, info any) (*MetaInfo, error) {
	t.Helper()
	return Parse(encode(t, d{"info": info}))
}

func mustParse(t testing.TB, info any) *MetaInfo {
	t.Helper()
	m, err := parse(t, info)
	if err != nil {
		t.Fatal(err)
	}
	checkInvariants(t, m)
	return m
}

// wantError fails unless err is one of the two types for bad input and contains
// want.
func wantError(t testing.TB, err error, want string) {
	t.Helper()
	var bad *Error
	var syntax *bencode.SyntaxError
	if !errors.As(err, &bad) && !errors.As(err, &syntax) {
		t.Fatalf("error %v (%T), want %q", err, err, want)
	}
	if !strings.Contains(err.Error(), want) {
		t.Fatalf("error %q, want %q", err, want)
	}
}

// checkInvariants holds what the package comment promises of every MetaInfo.
func checkInvariants(t testing.TB, m *MetaInfo) {
	t.Helper()
	i := &m.Info
	checkComponent(t, i.Name)
	var offset, pieces int64
	taken := map[string]bool{}
	parents := map[string]bool{}
	for k, f := range i.Files {
		if i.HasV1 && f.Offset != offset || f.Length < 0 {
			t.Fatalf("file %d: offset %d, length %d, want it at %d", k, f.Offset, f.Length, offset)
		}
		if i.HasV2 && !f.Pad && f.Length > 0 {
			if f.Offset != pieces*i.PieceLength {
				t.Fatalf("file %d: offset %d, want it in piece %d", k, f.Offset, pieces)
			}
			pieces += (f.Length + i.PieceLength - 1) / i.PieceLength
		}
		offset += f.Length
		for _, c := range f.Path {
			checkComponent(t, c)
		}
		path := join(f.Path)
		switch {
		case len(f.Path) == 0 || !i.Dir && path != i.Name:
			t.Fatalf("file %d: path %q in %q", k, f.Path, i.Name)
		case f.Pad:
			continue
		case taken[path]:
			t.Fatalf("file %d: path %q is not unique", k, path)
		}
		taken[path] = true
		for p := range prefixes(path) {
			if p < len(path) {
				parents[path[:p]] = true
			}
		}
	}
	for path := range taken {
		if parents[path] {
			t.Fatalf("%q is a file and a directory", path)
		}
	}
	checkSymlinks(t, i.Files, taken, parents)
	if offset != i.Total {
		t.Fatalf("total %d, the files have %d", i.Total, offset)
	}
	if i.HasV2 && int64(m.NumPieces()) != pieces {
		t.Fatalf("%d pieces, the files have %d", m.NumPieces(), pieces)
	}
	if i.HasV1 && (i.Total <= 0 || int64(m.NumPieces()) != (i.Total+i.PieceLength-1)/i.PieceLength) {
		t.Fatalf("%d pieces of %d for %d bytes", m.NumPieces(), i.PieceLength, i.Total)
	}
}

// checkSymlinks demands that symlinks lead to directories and real files.
func checkSymlinks(t testing.TB, files []File, taken, parents map[string]bool) {
	links := map[string]bool{}
	for _, f := range files {
		links[join(f.Path)] = f.Symlink != nil
	}
	for _, f := range files {
		if target := join(f.Symlink); f.Symlink != nil && !parents[target] && (!taken[target] || links[target]) {
			t.Fatalf("symlink %q leads to %q", f.Path, f.Symlink)
		}
	}
}

func checkComponent(t testing.TB, c string) {
	t.Helper()
	switch {
	case c == "", c == ".", c == "..", len(c) > 255, strings.ContainsAny(c, "/\\\x00"),
		strings.ContainsFunc(c, invisible), !bytes.Equal([]byte(c), []byte(strings.ToValidUTF8(c, ""))):
		t.Fatalf("unsafe name %q", c)
	}
}
