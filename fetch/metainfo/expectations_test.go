package metainfo

import (
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
)

// testdata returns the folders of torrents that are not part of this repository,
// each with an expectations.tsv.
func testdata(t testing.TB) []string {
	dir := os.Getenv("QQBTFS_TESTDATA")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "testdata")
	}
	tables, _ := filepath.Glob(filepath.Join(dir, "*", "expectations.tsv"))
	if len(tables) == 0 {
		t.Skip("no real torrents here; QQBTFS_TESTDATA names their folder")
	}
	return tables
}

func TestExpectations(t *testing.T) {
	for _, table := range testdata(t) {
		f, err := os.Open(table)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		r := csv.NewReader(f)
		r.Comma, r.LazyQuotes = '\t', true
		rows, err := r.ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		for _, cells := range rows[1:] {
			row := map[string]string{}
			for i, name := range rows[0] {
				row[name] = cells[i]
			}
			t.Run(row["corpus"]+"/"+row["file"], func(t *testing.T) {
				b, err := os.ReadFile(filepath.Join(filepath.Dir(table), row["file"]))
				if err != nil {
					t.Fatal(err)
				}
				checkRow(t, row, b)
			})
		}
	}
}

func checkRow(t *testing.T, row map[string]string, b []byte) {
	m, err := Parse(b)
	if row["policy"] == "refuse" {
		if err == nil {
			t.Fatal("accepted")
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	var pads, symlinks int
	var paths []string
	for _, f := range m.Info.Files {
		switch {
		case f.Pad:
			pads++
			continue
		case f.Symlink != nil:
			symlinks++
		}
		if m.Info.Dir {
			paths = append(paths, m.Info.Name+"/"+join(f.Path))
		} else {
			paths = append(paths, join(f.Path))
		}
	}
	v1, v2 := m.HashV1(), m.HashV2()
	got := map[string]string{
		"version":      m.Version(),
		"infohash_v1":  hex.EncodeToString(v1[:]),
		"infohash_v2":  hex.EncodeToString(v2[:]),
		"piece_length": strconv.FormatInt(m.Info.PieceLength, 10),
		"num_pieces":   strconv.Itoa(m.NumPieces()),
		"total_size":   strconv.FormatInt(m.Info.Total, 10),
		"n_files":      strconv.Itoa(len(m.Info.Files)),
		"n_pad":        strconv.Itoa(pads),
		"n_symlink":    strconv.Itoa(symlinks),
		"private":      map[bool]string{true: "1", false: "0"}[m.Info.Private],
	}
	for name, g := range got {
		if want := row[name]; want != "" && g != want {
			t.Errorf("%s is %s, want %s", name, g, want)
		}
	}
	var want []string
	if err := json.Unmarshal([]byte(row["expected_paths"]), &want); err != nil {
		t.Fatal(err)
	}
	if n := min(len(want), len(paths)); !slices.Equal(paths[:n], want[:n]) || len(want) > len(paths) {
		t.Errorf("paths %q, want %q", paths, want)
	}
}
