package fs

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// fake is a torrent without content.
type fake struct {
	name, hash string
	files      []File // nil: a single file
}

func (f *fake) Name() string { return f.name }
func (f *fake) Dir() bool    { return f.files != nil }
func (f *fake) Files() []File {
	if f.files == nil {
		return []File{{Path: []string{f.name}, Length: 1}}
	}
	return f.files
}
func (f *fake) ModTime() time.Time           { return time.Unix(1e9, 0) }
func (f *fake) Open(int) (Handle, error)     { return nil, nil }
func (f *fake) LocalBytes(int) int64         { return 0 }
func (f *fake) Next(int, int64, bool) int64  { return 0 }
func (f *fake) Xattrs(int) map[string]string { return map[string]string{InfoHashXattr: f.hash} }

func TestRootNames(t *testing.T) {
	long := strings.Repeat("é", 127)
	for _, c := range []struct {
		what string
		in   []Torrent
		want map[string]string // by info-hash
	}{
		{"alone", []Torrent{&fake{name: "a", hash: "1"}}, map[string]string{"1": "a"}},
		{"lowest hash keeps the name", []Torrent{&fake{name: "a.mkv", hash: "2"}, &fake{name: "a.mkv", hash: "1"}, &fake{name: "a.mkv", hash: "3"}},
			map[string]string{"1": "a.mkv", "2": "a (2).mkv", "3": "a (3).mkv"}},
		{"a directory has no extension", []Torrent{&fake{name: "v1.0", hash: "1", files: []File{}}, &fake{name: "v1.0", hash: "2", files: []File{}}},
			map[string]string{"1": "v1.0", "2": "v1.0 (2)"}},
		{"a name of its own comes first", []Torrent{&fake{name: "a", hash: "1"}, &fake{name: "a", hash: "2"}, &fake{name: "a (2)", hash: "3"}},
			map[string]string{"1": "a", "2": "a (3)", "3": "a (2)"}},
		{"a hidden file has no extension", []Torrent{&fake{name: ".x", hash: "1"}, &fake{name: ".x", hash: "2"}},
			map[string]string{"1": ".x", "2": ".x (2)"}},
		{"cut between characters", []Torrent{&fake{name: long + ".b", hash: "1"}, &fake{name: long, hash: "2"}, &fake{name: long, hash: "3"}},
			map[string]string{"1": long + ".b", "2": long, "3": long[:250] + " (2)"}},
	} {
		for range 2 { // in this order and the other way round
			slices.Reverse(c.in)
			for i, name := range rootNames(nil, c.in) {
				hash := c.in[i].Xattrs(torrentRoot)[InfoHashXattr]
				if name != c.want[hash] || !utf8.ValidString(name) {
					t.Errorf("%s: torrent %s is called %q, want %q", c.what, hash, name, c.want[hash])
				}
			}
		}
	}
}

// Torrents of the mount keep their names. Those that come later are called the same
// whatever the order in which they come.
func TestNamesOfLateTorrents(t *testing.T) {
	mounted, err := newTree(time.Now(), 0).with([]Torrent{&fake{name: "a", hash: "9"}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	mounted.kept = 1
	want := map[string]string{"9": "a", "1": "a (3)", "2": "a (4)", "5": "a (2)", "3": "b", "4": "b (2)"}
	late := []Torrent{
		&fake{name: "a", hash: "1"}, &fake{name: "a", hash: "2", files: []File{{Path: []string{"x"}}}}, &fake{name: "a (2)", hash: "5"},
		&fake{name: "b", hash: "3"}, &fake{name: "b", hash: "4"},
	}
	for range 50 {
		rand.Shuffle(len(late), func(i, j int) { late[i], late[j] = late[j], late[i] })
		tr := mounted
		for _, tor := range late {
			before := slices.Clone(tr.root().children)
			next, err := tr.with([]Torrent{tor}, 0)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(before, tr.root().children) {
				t.Fatal("adding changed the tree that was there")
			}
			tr = next
		}
		root := tr.root()
		if len(root.children) != len(want) || len(root.byName) != len(want) || root.byName["a"] != mounted.root().byName["a"] {
			t.Fatalf("%d children, %d names", len(root.children), len(root.byName))
		}
		for _, src := range tr.sources {
			n, hash := tr.node(src.top), src.t.(*fake).hash
			if n.name != want[hash] || root.byName[n.name] != n || !slices.Contains(root.children, n) {
				t.Fatalf("torrent %s is called %q", hash, n.name)
			}
		}
	}
}

func TestTreeRefuses(t *testing.T) {
	dir := func(files ...File) Torrent { return &fake{name: "d", files: files} }
	at := func(path ...string) File { return File{Path: path} }
	for what, tor := range map[string]Torrent{
		"no path":               dir(File{}),
		"empty component":       dir(at("a", "")),
		"dot":                   dir(at(".")),
		"dot dot":               dir(at("..", "passwd")),
		"slash":                 dir(at("a/b")),
		"NUL":                   dir(at("a\x00")),
		"too long":              dir(at(strings.Repeat("x", 256))),
		"twice":                 dir(at("a"), at("a")),
		"file and directory":    dir(at("a"), at("a", "b")),
		"directory and file":    dir(at("a", "b"), at("a")),
		"negative length":       dir(File{Path: []string{"a"}, Length: -1}),
		"link out":              dir(File{Path: []string{"a"}, Symlink: []string{"..", "x"}}),
		"name":                  &fake{name: "../d"},
		"single file, no files": &noFiles{},
	} {
		if _, err := newTree(time.Now(), 0).with([]Torrent{tor}, 0); err == nil {
			t.Errorf("%s: was accepted", what)
		}
	}
}

type noFiles struct{ fake }

func (*noFiles) Name() string  { return "n" }
func (*noFiles) Files() []File { return nil }

func TestLinkTarget(t *testing.T) {
	for _, c := range []struct{ from, to, want string }{
		{"a", "b", "b"},
		{"a", "d/b", "d/b"},
		{"d/a", "b", "../b"},
		{"d/a", "d/b", "b"},
		{"d/e/a", "d/f/b", "../f/b"},
		{"d/e/a", "d", "../../d"},
		{"d/e/f/a", "x/y", "../../../x/y"},
	} {
		got, err := linkTarget(File{Path: strings.Split(c.from, "/"), Symlink: strings.Split(c.to, "/")})
		if err != nil || got != c.want {
			t.Errorf("%s -> %s: %q, %v, want %q", c.from, c.to, got, err, c.want)
		}
	}
}

func TestTreeShape(t *testing.T) {
	tor := &fake{name: "d", files: []File{
		{Path: []string{"x", "y", "1"}, Length: 5}, {Path: []string{"x", "2"}, Length: 7, Exec: true}, {Path: []string{"3"}},
	}}
	tr, err := newTree(time.Now(), 0o007).with([]Torrent{tor}, 0o007)
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range tr.nodes {
		if n.id != uint64(i+1) {
			t.Errorf("node %d has the id %d", i, n.id)
		}
		if parent := tr.node(n.parent); n != tr.root() && parent.byName[n.name] != n {
			t.Errorf("%q is not in its parent", n.name)
		}
	}
	d := tr.root().byName["d"]
	x := d.byName["x"]
	if tr.root().nlink != 3 || d.nlink != 3 || x.nlink != 3 || x.byName["y"].nlink != 2 {
		t.Error("a directory's link count is not 2 + its directories")
	}
	if got := x.byName["2"].mode & 0o777; got != 0o550 {
		t.Errorf("an executable has the mode %o under umask 007", got)
	}
	if got := x.byName["y"].byName["1"].mode & 0o777; got != 0o440 {
		t.Errorf("a file has the mode %o under umask 007", got)
	}
	if tr.bytes != 12 {
		t.Errorf("%d bytes in all", tr.bytes)
	}
	if tr.node(0) != nil || tr.node(uint64(len(tr.nodes))+1) != nil {
		t.Error("nodes that are not there")
	}
}
