package metainfo

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestComponent(t *testing.T) {
	x := func(n int) string { return strings.Repeat("x", n) }
	tests := []struct{ name, in, want string }{
		{"plain", "Gone in 60 Seconds.mkv", "Gone in 60 Seconds.mkv"},
		{"other scripts", "日本語 – Ελληνικά.txt", "日本語 – Ελληνικά.txt"},
		{"hidden", ".bashrc", ".bashrc"},
		{"three dots", "...", "..."},
		{"spaces", " a ", " a "},
		{"empty", "", "_"},
		{"dot", ".", ""},
		{"dot dot", "..", ""},
		{"dots after all", "./.", "_"},
		{"dots after NUL", ".\x00.", "_"},
		{"slash", "/", "_"},
		{"absolute", "/etc", "etc"},
		{"traversal", "../../etc/passwd", "....etcpasswd"},
		{"backslash", `..\a`, "..a"},
		{"NUL", "a\x00b", "ab"},
		{"control", "a\x01\n\x7f\u0085b", "a____b"},
		{"bidi", "a\u202egpj.exe\u2066\u200f", "a_gpj.exe__"},
		{"zero width", "a\u200b\ufeff\u00ad\u2060b", "a____b"},
		{"line separators", "a\u2028\u2029", "a__"},
		{"invalid UTF-8", "a\xff\xfe.txt", "a__.txt"},
		{"cut UTF-8", "a\xe2\x82", "a__"},
		{"surrogate", "a\xed\xa0\x80", "a___"},
		{"overlong slash", "a\xc0\xafb", "a__b"},
		{"replacement character", "a\ufffd", "a\ufffd"},
		{"255 bytes", x(255), x(255)},
		{"256 bytes", x(256), x(255)},
		{"extension kept", x(300) + ".flac", x(250) + ".flac"},
		{"extension too long", "a." + x(300), "a." + x(253)},
		{"megabytes", strings.Repeat("é", 1<<20) + ".txt", strings.Repeat("é", 125) + ".txt"},
		{"letters without a shape", "a\u3164\u115f", "a__"},
		{"cut between characters", strings.Repeat("é", 200), strings.Repeat("é", 127)},
		{"cut between characters, extension kept", "a" + strings.Repeat("日", 99) + ".txt", "a" + strings.Repeat("日", 83) + ".txt"},
		{"hidden and long", "." + x(300), "." + x(254)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := component(tt.in)
			if got != tt.want {
				t.Errorf("component(%q) = %q, want %q", tt.in, got, tt.want)
			}
			if got != "" {
				checkComponent(t, got)
			}
			if again := component(got); got != "" && again != got {
				t.Errorf("a safe name is changed again, to %q", again)
			}
		})
	}
}

func TestEveryRuneIsSafe(t *testing.T) {
	for r := rune(0); r <= utf8.MaxRune; r++ {
		if r != '.' {
			checkComponent(t, component(string(r)))
		}
	}
}

func TestPaths(t *testing.T) {
	long := strings.Repeat("x", 300)
	tests := []struct {
		name string
		in   []string // paths joined by "|"
		want []string // joined by "/"
	}{
		{"plain", []string{"a", "b|c"}, []string{"a", "b/c"}},
		{"traversal", []string{"..|..|etc|passwd", "a|..|b", "..", ".|."}, []string{"etc/passwd", "a/b", "_", "_.1"}},
		{"separators", []string{`/|\|bar`, "abc/../def|x"}, []string{"_/_/bar", "abc..def/x"}},
		{"empty components", []string{"|", "a|"}, []string{"_/_", "a/_"}},
		{"same path", []string{"a.txt", "a.txt", "a.txt", "b|a", "b|a"}, []string{"a.txt", "a.1.txt", "a.2.txt", "b/a", "b/a.1"}},
		{"the new name is taken", []string{"a.txt", "a.1.txt", "a.txt"}, []string{"a.txt", "a.1.txt", "a.2.txt"}},
		{"the new name is taken later", []string{"a.txt", "a.txt", "a.1.txt"}, []string{"a.txt", "a.2.txt", "a.1.txt"}},
		{"the new name is a directory", []string{"a", "a", "a.1|x"}, []string{"a", "a.2", "a.1/x"}},
		{"file before directory", []string{"a", "a|b"}, []string{"a.1", "a/b"}},
		{"file behind directory", []string{"a|b", "a"}, []string{"a/b", "a.1"}},
		{"file against outer directory", []string{"a|b|c", "a", "a|b"}, []string{"a/b/c", "a.1", "a/b.1"}},
		{"case kept", []string{"README", "readme", "Dir|a", "dir|a"}, []string{"README", "readme", "Dir/a", "dir/a"}},
		{"same when safe", []string{"a\u202e", "a\u200b"}, []string{"a_", "a_.1"}},
		{"same when cut", []string{long + "1", long + "2"}, []string{long[:255], long[:253] + ".1"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var paths [][]string
			for _, p := range tt.in {
				paths = append(paths, strings.Split(p, "|"))
			}
			m := mustParse(t, multi(paths...))
			var got []string
			for i, f := range m.Info.Files {
				got = append(got, join(f.Path))
				if !slices.Equal(f.RawPath, paths[i]) {
					t.Errorf("raw path %q, want %q", f.RawPath, paths[i])
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

func TestCollisionsAreBounded(t *testing.T) {
	same := slices.Repeat([][]string{{"a"}}, maxCollisions+1)
	mustParse(t, multi(same...))
	_, err := parse(t, multi(append(same, []string{"a"})...))
	wantError(t, err, "501 files have the path of another")
}

func TestPaddingFilesDoNotCollide(t *testing.T) {
	pad := d{"length": 1, "path": []string{".pad", "1"}, "attr": "p"}
	nameless := d{"length": 1, "attr": "p"}
	m := mustParse(t, multiOf(slices.Concat(slices.Repeat([]d{pad, nameless}, 1000), []d{{"length": 5, "path": []string{".pad"}}})...))
	if f := m.Info.Files[2000]; join(f.Path) != ".pad" || f.Offset != 2000 {
		t.Errorf("%+v", f)
	}
}

func TestSymlinks(t *testing.T) {
	link := func(path, target string) d {
		return d{"attr": "l", "length": 9, "path": strings.Split(path, "|"), "symlink path": strings.Split(target, "|")}
	}
	tests := []struct {
		name  string
		links []d
		want  []string // joined; empty: leads nowhere
	}{
		{"file", []d{link("l", "a|b|file")}, []string{"a/b/file"}},
		{"directory", []d{link("l", "a|b")}, []string{"a/b"}},
		{"from below", []d{link("x|y|l", "a|b|file")}, []string{"a/b/file"}},
		{"relative to itself", []d{link("a|l", "b|file")}, []string{"a/b/file"}},
		{"chain", []d{link("l", "m"), link("m", "a")}, []string{"a", "a"}},
		{"through a directory", []d{link("l", "m|b|file"), link("m", "a")}, []string{"a/b/file", "a"}},
		{"same safe name", []d{link("l", "s|/|x")}, []string{"s/_/x"}},
		{"missing", []d{link("l", "nothing"), link("m", "a|b|file|x")}, []string{"", ""}},
		{"out", []d{link("l", "..|..|etc|passwd"), link("m", "..|dir|top"), link("n", "a|..|top")}, []string{"", "", ""}},
		{"absolute", []d{link("l", "/etc/passwd"), link("m", "|etc|passwd")}, []string{"", ""}},
		{"no target", []d{{"attr": "l", "path": []string{"l"}}, {"attr": "l", "path": []string{"m"}, "symlink path": "a"}}, []string{"", ""}},
		{"itself", []d{link("l", "l")}, []string{""}},
		{"circle", []d{link("l", "m"), link("m", "n"), link("n", "l")}, []string{"", "", ""}},
		{"growing circle", []d{link("l", "l|x")}, []string{""}},
		{"its own directory", []d{link("a|l", "a"), link("a|b|m", "a")}, []string{"", ""}},
		{"into its own directory by another", []d{link("a|l", "m"), link("m", "a")}, []string{"", "a"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := mustParse(t, multiOf(append([]d{
				{"length": 5, "path": []string{"a", "b", "file"}},
				{"length": 5, "path": []string{"top"}},
				{"length": 5, "path": []string{"s", "/", "x"}},
			}, tt.links...)...))
			for i, want := range tt.want {
				f := m.Info.Files[3+i]
				if got := join(f.Symlink); got != want || f.Length != 0 {
					t.Errorf("%q leads to %q with %d bytes, want %q", f.Path, got, f.Length, want)
				}
			}
		})
	}
}

// The time for a hostile torrent grows with its size, not with its size times its
// depth or the length of its chains.
func TestHostileTreesAreCheap(t *testing.T) {
	deep := func(i int) []string {
		return append([]string{fmt.Sprint(i)}, slices.Repeat([]string{"a"}, maxPathDepth-1)...)
	}
	var dirs [][]string
	for i := range 6_000 {
		dirs = append(dirs, deep(i))
	}
	links := []d{{"length": 5, "path": deep(0)}}
	for i := range 3_000 {
		links = append(links, d{"attr": "l", "path": []string{fmt.Sprint("l", i)}, "symlink path": append([]string{fmt.Sprint("l", i+1)}, slices.Repeat([]string{"a"}, 90)...)})
	}
	for name, info := range map[string]d{"directories": multi(dirs...), "symlinks": multiOf(links...)} {
		t.Run(name, func(t *testing.T) {
			in := encode(t, d{"info": info})
			start := time.Now()
			if _, err := Parse(in); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(start); took > 30*time.Second {
				t.Errorf("%d bytes took %v", len(in), took)
			}
		})
	}
}
