package e2e

import (
	"encoding/csv"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// corpus is the directory of torrents from elsewhere, with what is known about them.
func corpus(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("QQBTFS_TESTDATA")
	if dir == "" {
		dir = "../../../../shared/testdata"
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("no torrents from elsewhere at %s (set QQBTFS_TESTDATA)", dir)
	}
	return dir
}

// expectation is a row of a table of expectations, by column.
type expectation map[string]string

// expectations are those of all tables, by the path of the torrent.
func expectations(t *testing.T) map[string]expectation {
	t.Helper()
	tables, err := filepath.Glob(filepath.Join(corpus(t), "*", "expectations.tsv"))
	if err != nil || len(tables) == 0 {
		t.Fatalf("no expectations.tsv: %v", err)
	}
	all := map[string]expectation{}
	for _, name := range tables {
		for _, e := range readTable(t, name) {
			all[filepath.Join(filepath.Dir(name), e["file"])] = e
		}
	}
	return all
}

func readTable(t *testing.T, name string) (rows []expectation) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.Comma, r.LazyQuotes, r.FieldsPerRecord = '\t', true, -1
	lines, err := r.ReadAll()
	if err != nil || len(lines) < 2 {
		t.Fatalf("%s: %d lines, %v", name, len(lines), err)
	}
	for _, line := range lines[1:] {
		row := expectation{}
		for i, field := range line {
			row[lines[0][i]] = field
		}
		rows = append(rows, row)
	}
	return rows
}

// info tells the facts of every torrent as they are known.
func TestCorpusFacts(t *testing.T) {
	t.Parallel()
	all := expectations(t)
	torrents, err := filepath.Glob(filepath.Join(corpus(t), "*", "*.torrent"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range torrents {
		t.Run(filepath.Base(file), func(t *testing.T) {
			e := all[file]
			if e == nil {
				t.Fatal("nothing is known about it")
			}
			s := newSandbox(t)
			if e["policy"] == "refuse" {
				s.fails(3, filepath.Base(file), "info", file, "--json")
				return
			}
			checkFacts(t, e, s.info(file))
		})
	}
}

func checkFacts(t *testing.T, e expectation, i info) {
	t.Helper()
	for column, got := range map[string]string{
		"version": i.Version, "infohash_v1": i.InfoHash, "name_raw": i.Name,
		"piece_length": itoa(int(i.PieceLength)), "num_pieces": itoa(i.Pieces),
		"total_size": itoa(int(i.Size)), "n_files": itoa(len(i.Files)),
		"private": map[bool]string{true: "1", false: "0"}[i.Private],
	} {
		if got != e[column] {
			t.Errorf("%s is %q, want %q", column, got, e[column])
		}
	}
	var paths []string
	for _, f := range i.Files {
		path := f.Path
		if i.Directory {
			path = i.Name + "/" + path
		}
		paths = append(paths, path)
	}
	var want []string
	if err := json.Unmarshal([]byte(e["expected_paths"]), &want); err != nil {
		t.Fatal(err)
	}
	// The table has the first paths of a long list.
	if len(want) == 0 || len(paths) < len(want) || !slices.Equal(paths[:len(want)], want) {
		t.Errorf("paths:\n%s\nwant:\n%s", strings.Join(paths, "\n"), strings.Join(want, "\n"))
	}
}

// Every torrent that comes with its payload is seeded, mounted and compared.
func TestCorpusPayload(t *testing.T) {
	t.Parallel()
	n := 0
	for file, e := range expectations(t) {
		if e["payload"] == "" || e["payload"] == "none" || e["policy"] == "refuse" {
			continue
		}
		payload := filepath.Join(filepath.Dir(file), e["name_raw"])
		if _, err := os.Stat(payload); err != nil {
			continue
		}
		n++
		t.Run(filepath.Base(file), func(t *testing.T) {
			s := newSandbox(t)
			seed := s.seed(file, filepath.Dir(file))
			m := s.mount("--peer", seed.addr, file)
			same(t, payload, filepath.Join(m.dir, e["name_raw"]))
			if got := names(t, m.dir); !slices.Equal(got, []string{e["name_raw"]}) {
				t.Errorf("the mount has %q", got)
			}
			m.complete()
		})
	}
	if n == 0 {
		t.Error("no payload was found")
	}
}
