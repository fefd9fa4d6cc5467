package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qqbtfs/qqbtfs/cmd/qqbtfs/config"
)

func TestRealPath(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	for link, to := range map[string]string{"link": "real", "abs": dir + "/real", "loop": "loop"} {
		if err := os.Symlink(to, link); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir("real", 0o755); err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]string{
		"real": "/real", "real/": "/real", "./link": "/real", "abs": "/real", "link/new/er": "/real/new/er",
		"none/../real": "/real", "missing": "/missing",
	} {
		if got, err := realPath(in); err != nil || got != dir+want {
			t.Errorf("realPath(%q) = %q, %v; want %q", in, got, err, dir+want)
		}
	}
	if got, err := realPath("loop"); err == nil {
		t.Errorf("realPath of a loop = %q", got)
	}
}

// From a directory that is removed its neighbours are still found.
func TestRealPathFromRemovedDirectory(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	gone := filepath.Join(dir, "gone")
	if err := os.Mkdir(gone, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Chdir(gone) // sets PWD
	if err := os.Remove(gone); err != nil {
		t.Fatal(err)
	}
	if got, err := realPath("../m"); err != nil || got != dir+"/m" {
		t.Errorf("realPath = %q, %v", got, err)
	}
	t.Setenv("PWD", "")
	if got, err := realPath("../m"); err == nil || !strings.Contains(err.Error(), "give an absolute path") {
		t.Errorf("without PWD realPath = %q, %v", got, err)
	}
}

// Nothing that the mount itself uses may lie inside it.
func TestPlaceConflicts(t *testing.T) {
	dir := home(t)
	a := newApp(nil, nil)
	for _, c := range []struct {
		name, mountpoint, cache, log, want string
	}{
		{"fine", "mnt", "cache", "", ""},
		{"neighbours with one prefix", "cache2", "cache", "", ""},
		{"same", "cache", "cache", "", "cache directory"},
		{"cache in mount", "mnt", "mnt/cache", "", "lies inside the mount point"},
		{"mount in cache", "cache/mnt", "cache", "", "lies inside the cache directory"},
		{"log in mount", "mnt", "cache", "mnt/log", "log file"},
	} {
		a.common.cacheDir = config.Path(filepath.Join(dir, c.cache))
		if a.common.logFile = ""; c.log != "" {
			a.common.logFile = config.Path(filepath.Join(dir, c.log))
		}
		p, err := a.newPlace(filepath.Join(dir, c.mountpoint), true)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.want == "" && filepath.Dir(p.logFile) != p.cacheDir:
			t.Errorf("%s: log file is %s", c.name, p.logFile)
		case c.want != "" && (exitCode(err) != codeUsage || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	p := place{mountpoint: dir}
	if err := p.checkSources([]string{"http://h/x", filepath.Join(dir, "a.torrent")}); exitCode(err) != codeUsage {
		t.Errorf("source in the mount: %v", err)
	}
}

func TestLogName(t *testing.T) {
	seen := map[string]string{}
	for _, m := range []string{"/mnt/t", "/mnt-t", "/mnt/t-", strings.Repeat("/long", 100), strings.Repeat("/long", 101)} {
		n := logName(m)
		if other, dup := seen[n]; dup || len(n) > 255 || strings.Contains(n, "/") {
			t.Errorf("log of %.20q is %q, as of %.20q", m, n, other)
		}
		seen[n] = m
	}
	if n := logName("/mnt/t"); n != "mnt-t.log" {
		t.Errorf("log of /mnt/t is %q", n)
	}
}

// A log goes to no directory that somebody else may have made.
func TestOtherLog(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.Symlink(t.TempDir(), dir+"/link"), os.Mkdir(dir+"/own", 0o700)); err != nil {
		t.Fatal(err)
	}
	p := place{logFile: "/c/t.log", runDirs: []string{dir + "/link", dir + "/own"}}
	if got := p.otherLog(); got != dir+"/own/t.log" {
		t.Errorf("the log is %s", got)
	}
	p.runDirs = p.runDirs[:1]
	if got := p.otherLog(); got != os.DevNull {
		t.Errorf("the log is %s", got)
	}
}
