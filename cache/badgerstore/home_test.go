package badgerstore

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qqbtfs/qqbtfs/cache/cachetest"
)

func TestStrangeDirectories(t *testing.T) {
	tor := cachetest.NewTorrent(4, 1000, 10)
	other := cachetest.NewTorrent(5, 900, 10)
	fill := func(t *testing.T, dir string, tor *cachetest.Torrent) {
		s := open(t, dir, tor.Geometry(), Options{})
		mustPut(t, s, tor, 0, 1)
		stop(s)
	}
	for name, c := range map[string]struct {
		make  func(t *testing.T, dir string)
		aside string // a file that must be found in dir.bad-1
		had   int
	}{
		"ours":                      {make: func(t *testing.T, dir string) { fill(t, dir, tor) }, had: 2},
		"foreign":                   {make: func(t *testing.T, dir string) { write(t, dir, "thesis.tex", "x") }, aside: "thesis.tex"},
		"an older Badger directory": {make: func(t *testing.T, dir string) { write(t, dir, "MANIFEST", "Bdgr") }, aside: "MANIFEST"},
		"another torrent":           {make: func(t *testing.T, dir string) { fill(t, dir, other) }, aside: "VERSION"},
		"an older format": {make: func(t *testing.T, dir string) {
			fill(t, dir, tor)
			v := versionOf(tor.Geometry())
			write(t, dir, versionName, versionLine+"0"+v[len(versionLine)+1:])
		}},
		"a flipped bit in VERSION": {make: func(t *testing.T, dir string) {
			fill(t, dir, tor)
			v := []byte(versionOf(tor.Geometry()))
			v[len(versionLine)+10] ^= 1 // of the key
			write(t, dir, versionName, string(v))
		}, had: 2},
		"half a VERSION": {make: func(t *testing.T, dir string) {
			fill(t, dir, tor)
			write(t, dir, versionName, versionOf(tor.Geometry())[:40])
		}},
		"no VERSION":     {make: func(t *testing.T, dir string) { fill(t, dir, tor); must(t, os.Remove(filepath.Join(dir, versionName))) }},
		"a lost VERSION": {make: func(t *testing.T, dir string) { fill(t, dir, tor); write(t, dir, versionName, "") }},
		"no database":    {make: func(t *testing.T, dir string) { fill(t, dir, tor); must(t, os.RemoveAll(filepath.Join(dir, "data-1"))) }},
		"a file for a database": {make: func(t *testing.T, dir string) {
			fill(t, dir, tor)
			must(t, os.RemoveAll(filepath.Join(dir, "data-1")))
			write(t, dir, "data-1", "x")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "c")
			c.make(t, dir)
			s := open(t, dir, tor.Geometry(), Options{})
			if got := checkHad(t, s, tor); got != c.had {
				t.Errorf("%d pieces had, want %d", got, c.had)
			}
			mustPut(t, s, tor, all(4)...)
			if got := checkHad(t, s, tor); got != 4 {
				t.Errorf("%d pieces right, want 4", got)
			}
			_, err := os.Stat(filepath.Join(dir+".bad-1", c.aside))
			if moved := err == nil; moved != (c.aside != "") {
				t.Errorf("moved aside: %t (%v)", moved, err)
			}
		})
	}
}

// A cache of a newer version is not touched.
func TestNewerVersion(t *testing.T) {
	tor, dir := cachetest.NewTorrent(4, 1000, 10), t.TempDir()
	s := open(t, dir, tor.Geometry(), Options{})
	mustPut(t, s, tor, 0, 1)
	stop(s)
	v := versionOf(tor.Geometry())
	write(t, dir, versionName, strings.Replace(v, versionLine+"1", versionLine+"12", 1))
	if _, err := Open(dir, tor.Geometry(), Options{}); err == nil || !strings.Contains(err.Error(), "newer qqbtfs") {
		t.Fatalf("Open: %v, want an error that names the newer version", err)
	}
	write(t, dir, versionName, v)
	if got := checkHad(t, open(t, dir, tor.Geometry(), Options{}), tor); got != 2 {
		t.Errorf("%d pieces right, want 2", got)
	}
}

func write(t *testing.T, dir, name, content string) {
	t.Helper()
	must(t, os.MkdirAll(dir, 0o700))
	must(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
}

// The guard keeps the reserve that it was told to keep.
func TestGuard(t *testing.T) {
	const disk = 10 << 30
	for _, c := range []struct {
		minFree, free, need int64
		ok                  bool
	}{
		{0, 10 << 30, 8 << 20, true},
		{0, 512<<20 + slack + 8<<20, 8 << 20, true},
		{0, 512<<20 + slack + 8<<20 - 1, 8 << 20, false},
		{2 << 30, 1 << 30, 1, false},
		{-1, slack + 10, 10, true},
		{-1, slack + 9, 10, false},
	} {
		g := guard{size: ballastSize, dir: t.TempDir(), minFree: c.minFree, statfs: func(string) (int64, int64, error) { return c.free, disk, nil }}
		if err := g.admit(c.need); (err == nil) != c.ok || err != nil && !isFull(err) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
