package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Where nothing can be kept the mount works from memory, and one line says so.
func TestReadOnlyCache(t *testing.T) {
	s := newScene(t, 1<<20, true)
	ro := s.dir + "/ro"
	if err := os.Mkdir(ro, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("none", ro, "tmpfs", unix.MS_RDONLY, ""); err != nil {
		t.Skip("needs the right to mount: ", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(ro, unix.MNT_DETACH) })
	for _, dir := range []string{ro, ro + "/new"} {
		out, err := program(t, s.mountArgs("--cache-dir", dir)...).CombinedOutput()
		if err != nil || strings.Count(string(out), "\n") != 1 || !strings.Contains(string(out), "working from memory") {
			t.Fatalf("%s: mount: %v: %s", dir, err, out)
		}
		if got, err := os.ReadFile(s.mnt + "/film.bin"); err != nil || !bytes.Equal(got, s.content) {
			t.Errorf("%s: %d bytes, %v", dir, len(got), err)
		}
		if r := run(t, "status", "--cache-dir", dir, s.mnt); !strings.Contains(r.out, "RAM only") || !strings.Contains(r.out, "log "+s.dir+"/run/") {
			t.Errorf("%s: status: %s%s", dir, r.out, r.err)
		}
		if r := run(t, "umount", "--cache-dir", dir, s.mnt); r.code != codeOK {
			t.Errorf("%s: umount: %d %s", dir, r.code, r.err)
		}
		log, err := os.ReadFile(filepath.Join(s.dir, "run/qqbtfs", logName(s.mnt)))
		if err != nil || strings.Count(string(log), "warn") != 1 || strings.Contains(string(log), "error") {
			t.Errorf("%s: log: %v %s", dir, err, log)
		}
	}
}

// In /proc and /sys nothing can be made, each says so in its own way.
func TestCacheWhereNothingIsMade(t *testing.T) {
	for _, dir := range []string{"/proc/qqbtfs", "/sys/qqbtfs"} {
		p := place{cacheDir: dir}
		if err := p.prepareCache(false); err != nil || p.noCache == nil {
			t.Errorf("%s: %v, from memory because of %v", dir, err, p.noCache)
		}
	}
	link := t.TempDir() + "/link"
	if err := os.Symlink("/none/disk", link); err != nil {
		t.Fatal(err)
	}
	p := place{cacheDir: link}
	if err := p.prepareCache(false); exitCode(err) != codeDisk {
		t.Errorf("a link to nowhere: %v", err)
	}
}

// A directory that others use stays theirs; one that is empty becomes private.
func TestSharedCacheDirectory(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	p := place{cacheDir: dir}
	if err := os.WriteFile(dir+"/other", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := p.prepareCache(false); exitCode(err) != codeUsage {
		t.Errorf("a directory in use: %v", err)
	}
	if fi, err := os.Stat(dir); err != nil || fi.Mode() != os.ModeDir|os.ModeSticky|0o777 {
		t.Errorf("it has the mode %v now, %v", fi.Mode(), err)
	}
	if err := os.Remove(dir + "/other"); err != nil {
		t.Fatal(err)
	}
	if err := p.prepareCache(false); err != nil {
		t.Error(err)
	}
	if fi, err := os.Stat(dir); err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("it has the mode %v then, %v", fi.Mode(), err)
	}
}
