package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/qqbtfs/qqbtfs/"

// mayImport is the house's import table: which of our packages, by prefix, the
// packages below a path may import. What is not listed may import nothing of
// ours outside of its own path.
var mayImport = map[string][]string{
	"cmd":      {"fs", "fetch", "cache", "peerconn"},
	"fs":       {"fetch"},
	"fetch":    {"cache", "peerconn"},
	"cache":    {},
	"peerconn": {},
}

// pure are the packages that decide and do not act: no goroutines, no clock, no
// I/O, no global randomness.
var pure = []string{
	"fetch/metainfo", "fetch/layout", "fetch/readahead", "fetch/picker", "fetch/swarm",
	"fetch/pex", "fetch/magnet", "fetch/metadata",
	"cache/merkle",
	"peerconn/wire", "peerconn/proto", "peerconn/bitfield", "peerconn/extension", "peerconn/bencode",
	"peerconn/mse", "peerconn/blocklist",
}

var impureImports = []string{"net", "os", "sync", "context", "log", "log/slog", "syscall", "net/http"}

// impureCalls are calls that read the clock or shared randomness.
var impureCalls = map[string][]string{
	"time": {"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick"},
	"rand": {"Int", "IntN", "Intn", "Uint32", "Uint64", "Float64", "Perm", "Shuffle", "N"},
}

// calendarCalls give up the monotonic reading of a time.Time. What is reckoned from
// them goes wrong when somebody sets the clock.
var calendarCalls = []string{"Unix", "UnixMilli", "UnixMicro", "UnixNano", "UTC", "Local", "In"}

// calendars are the packages that may look at the date: of files and torrents, and in
// the tokens of our tracker.
var calendars = []string{"cmd", "fs", "fetch/metainfo", "fetch/tracker/trackerd"}

// TestArchitecture holds the import table, the purity of the packages that are pure, and
// that no deadline follows the calendar.
func TestArchitecture(t *testing.T) {
	root := "../.."
	seen := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		dir := filepath.ToSlash(filepath.Dir(rel))
		seen[dir] = true
		checkImports(t, rel, dir, file)
		if slices.Contains(pure, dir) {
			checkPure(t, rel, file)
		}
		if !slices.ContainsFunc(calendars, func(c string) bool { return dir == c || strings.HasPrefix(dir, c+"/") }) {
			checkClock(t, rel, file)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range pure {
		if !seen[dir] {
			t.Errorf("pure package %s does not exist", dir)
		}
	}
}

func checkImports(t *testing.T, rel, dir string, file *ast.File) {
	room, _, _ := strings.Cut(dir, "/")
	for _, imp := range file.Imports {
		path, _ := strconv.Unquote(imp.Path.Value)
		ours, ok := strings.CutPrefix(path, module)
		if !ok {
			continue
		}
		other, _, _ := strings.Cut(ours, "/")
		if other != room && !slices.Contains(mayImport[room], other) {
			t.Errorf("%s: %s must not import %s", rel, room, ours)
		}
	}
}

func checkPure(t *testing.T, rel string, file *ast.File) {
	for _, imp := range file.Imports {
		if path, _ := strconv.Unquote(imp.Path.Value); slices.Contains(impureImports, path) {
			t.Errorf("%s: a pure package must not import %s", rel, path)
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			t.Errorf("%s: a pure package must not start goroutines", rel)
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && x.Obj == nil && slices.Contains(impureCalls[x.Name], n.Sel.Name) {
				t.Errorf("%s: a pure package must not use %s.%s", rel, x.Name, n.Sel.Name)
			}
		}
		return true
	})
}

func checkClock(t *testing.T, rel string, file *ast.File) {
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		sel, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || !slices.Contains(calendarCalls, sel.Sel.Name) {
			return true
		}
		if x, ok := sel.X.(*ast.Ident); !ok || x.Obj != nil { // math.Round and time.Unix are packages' functions
			t.Errorf("%s: .%s takes a time without its monotonic reading", rel, sel.Sel.Name)
		}
		return true
	})
}
