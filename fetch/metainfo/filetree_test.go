package metainfo

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

var root = strings.Repeat("r", 32)

func leaf(length int) d { return d{"": d{"length": length, "pieces root": root}} }

// v2Info has the files a/b of 5 and c of 20,000 bytes.
func v2Info() d {
	return d{
		"name": "dir", "piece length": 16384, "meta version": 2,
		"file tree": d{"a": d{"b": leaf(5)}, "c": leaf(20000)},
	}
}

// hybridInfo has the same files, aligned.
func hybridInfo() d {
	return v2Info().with(d{"pieces": hashes(3), "files": []d{
		{"length": 5, "path": []string{"a", "b"}},
		{"length": 16379, "path": []string{".pad", "16379"}, "attr": "p"},
		{"length": 20000, "path": []string{"c"}},
	}})
}

func TestHybrid(t *testing.T) {
	m := mustParse(t, hybridInfo())
	if m.Version() != "hybrid" || len(m.Info.Files) != 3 || m.NumPieces() != 3 {
		t.Errorf("%s %+v", m.Version(), m.Info)
	}
	single := d{
		"name": "f", "piece length": 16384, "meta version": 2, "length": 5, "pieces": hashes(1),
		"file tree": d{"f": leaf(5)},
	}
	if m := mustParse(t, single); m.Version() != "hybrid" || m.Info.Dir {
		t.Errorf("%s %+v", m.Version(), m.Info)
	}
}

func TestV2Only(t *testing.T) {
	m := mustParse(t, v2Info())
	var paths []string
	for _, f := range m.Info.Files {
		paths = append(paths, join(f.Path))
	}
	if m.Version() != "v2" || m.Info.Name != "dir" || !m.Info.Dir || m.Info.Total != 20005 || !slices.Equal(paths, []string{"a/b", "c"}) {
		t.Errorf("%s %+v", m.Version(), m.Info)
	}
	// BEP 52: "each non-empty file is aligned to a piece boundary".
	if f := m.Info.Files[1]; m.NumPieces() != 3 || f.Offset != 16384 || string(f.Root[:]) != root {
		t.Errorf("%d pieces, %+v", m.NumPieces(), f)
	}
	m = mustParse(t, v2Info().with(d{"file tree": d{"dir": leaf(5)}}))
	if m.Info.Dir || join(m.Info.Files[0].Path) != "dir" {
		t.Errorf("single file: %+v", m.Info)
	}
}

func TestV2Refused(t *testing.T) {
	tree := func(v any) d { return v2Info().with(d{"file tree": v}) }
	files := func(files ...d) d { return hybridInfo().with(d{"files": files}) }
	b := d{"length": 5, "path": []string{"a", "b"}}
	pad := d{"length": 16379, "path": []string{"p"}, "attr": "p"}
	c := d{"length": 20000, "path": []string{"c"}}
	tests := []struct {
		name string
		info d
		want string
	}{
		{"no tree", tree(nil), "file tree: is missing"},
		{"tree of list", tree([]int{}), "want dictionary, got list"},
		{"empty tree", tree(d{}), "is empty"},
		{"node of integer", tree(d{"a": 1}), "want dictionary, got integer"},
		{"leaf of integer", tree(d{"a": d{"": 1}}), "want dictionary, got integer"},
		{"no name", tree(leaf(5)), "without a name"},
		{"file and directory", tree(d{"a": d{"": d{"length": 0}, "b": leaf(5)}}), "is a directory too"},
		{"padding", tree(d{"a": d{"": d{"length": 5, "pieces root": root, "attr": "p"}}}), "padding"},
		{"negative length", tree(d{"a": leaf(-1)}), "negative"},
		{"sum overflows", tree(d{"a": leaf(1<<63 - 1), "b": leaf(1)}), "more than 2097152 pieces"},
		{"no root", tree(d{"a": d{"": d{"length": 5}}}), "no hash"},
		{"short root", tree(d{"a": d{"": d{"length": 5, "pieces root": root[1:]}}}), "no hash"},
		{"zero root", tree(d{"a": d{"": d{"length": 5, "pieces root": strings.Repeat("\x00", 32)}}}), "no hash"},
		{"no content", tree(d{"a": d{"": d{"length": 0}}}), "no content"},
		{"2^40 pieces", tree(d{"a": leaf(1 << 54)}), "more than 2097152 pieces"},
		{"piece length 32767", v2Info().with(d{"piece length": 32767}), "power of two"},
		{"piece length 8192", v2Info().with(d{"piece length": 8192}), "power of two"},

		{"other length", files(b, pad, c.with(d{"length": 20001})), "differs"},
		{"other path", files(b, pad, c.with(d{"path": []string{"C"}})), "differs"},
		{"other order", files(c, d{"length": 12768, "path": []string{"p"}, "attr": "p"}, b), "differs"},
		{"one more in v1", files(b, pad, c, d{"length": 0, "path": []string{"z"}}), "differs"},
		{"one less in v1", files(b, pad).with(d{"pieces": hashes(1)}), "has more files"},
		{"not aligned", files(b, c).with(d{"pieces": hashes(2)}), "does not begin with its v2 piece"},
		{"a piece of padding", files(b, pad, pad.with(d{"length": 16384}), c).with(d{"pieces": hashes(4)}), "does not begin with its v2 piece"},
		{"a piece of padding at the end", files(b, pad, c, pad).with(d{"pieces": hashes(4)}), "4 hashes for 3 v2 pieces"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parse(t, tt.info)
			wantError(t, err, tt.want)
		})
	}
}

// BEP 52: "Keys must be strings and appear in sorted order".
func TestV2IsStrictlySorted(t *testing.T) {
	raw := string(encode(t, v2Info()))
	_, err := ParseInfo([]byte("d4:name3:dir" + strings.Replace(raw[1:], "4:name3:dir", "", 1)))
	wantError(t, err, "not sorted")
}

// Files of a tree share directories: a few MB can spell paths of gigabytes.
func TestTreeOfHugePathsIsCheap(t *testing.T) {
	files := strings.Builder{}
	for i := range 50_000 {
		fmt.Fprintf(&files, "6:%06dd0:d6:lengthi0eee", i)
	}
	for name, dir := range map[string]string{"deep": "1:a", "long": "100000:" + strings.Repeat("a", 100_000)} {
		t.Run(name, func(t *testing.T) {
			tree := strings.Repeat(dir+"d", 90) + files.String() + strings.Repeat("e", 90)
			in := "d9:file treed" + tree + "e12:meta versioni2e4:name1:x12:piece lengthi16384ee"
			start := time.Now()
			_, err := ParseInfo([]byte(in))
			wantError(t, err, "too long")
			if took := time.Since(start); took > 30*time.Second {
				t.Errorf("%d bytes took %v", len(in), took)
			}
		})
	}
}
