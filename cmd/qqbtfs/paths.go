package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/qqbtfs/qqbtfs/cmd/qqbtfs/control"
)

// realPath returns path absolute and with the symbolic links of as much of it as
// exists resolved. It does not touch what the last component leads to, which may
// be a dead mount.
func realPath(path string) (string, error) {
	for range 16 {
		abs, err := absPath(path)
		if err != nil {
			return "", err
		}
		real, err := realParent(abs)
		if err != nil {
			return "", err
		}
		target, err := os.Readlink(real)
		if err != nil {
			return real, nil // no link: the usual case
		}
		if path = target; !filepath.IsAbs(target) {
			path = filepath.Join(filepath.Dir(real), target)
		}
	}
	return "", syscall.ELOOP
}

// absPath is filepath.Abs that also works in a directory which is removed by now: the
// shell remembers where that was.
func absPath(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err == nil {
		return abs, nil
	}
	if wd := os.Getenv("PWD"); filepath.IsAbs(wd) {
		return filepath.Join(wd, path), nil
	}
	return "", errors.New("the current directory does not exist any more: give an absolute path")
}

// realParent resolves the links above the last component of abs.
func realParent(abs string) (string, error) {
	for dir := filepath.Dir(abs); ; dir = filepath.Dir(dir) {
		real, err := filepath.EvalSymlinks(dir)
		if err == nil {
			rel, err := filepath.Rel(dir, abs)
			return filepath.Join(real, rel), err
		}
		if dir == filepath.Dir(dir) {
			return "", err
		}
	}
}

// inside reports whether path is dir or lies in it.
func inside(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// place is where a mount has its parts, all real paths.
type place struct {
	mountpoint string
	cacheDir   string
	logFile    string // "": standard error
	runDirs    []string
	noCache    error // if not nil, why nothing can be kept in cacheDir
}

// newPlace resolves and checks the paths of a mount. Nothing that the program
// itself uses may lie inside the mount, and the cache must not be covered by it:
// the file system would wait for itself.
func (a *app) newPlace(mountpoint string, background bool) (place, error) {
	p := place{logFile: string(a.common.logFile), runDirs: control.Dirs(string(a.common.cacheDir))}
	var err error
	if p.mountpoint, err = realPath(mountpoint); err != nil {
		return p, failf(codeMount, "mount point %s: %w", mountpoint, err)
	}
	if p.cacheDir, err = realPath(string(a.common.cacheDir)); err != nil {
		return p, failf(codeDisk, "cache directory %s: %w", a.common.cacheDir, err)
	}
	switch {
	case inside(p.cacheDir, p.mountpoint):
		return p, failf(codeUsage, "the cache directory %s lies inside the mount point %s: choose another one of them", p.cacheDir, p.mountpoint)
	case inside(p.mountpoint, p.cacheDir):
		return p, failf(codeUsage, "the mount point %s lies inside the cache directory %s: choose another one of them", p.mountpoint, p.cacheDir)
	}
	if p.logFile == "" && background {
		p.logFile = filepath.Join(p.cacheDir, logName(p.mountpoint))
	}
	if p.logFile == "" {
		return p, nil
	}
	if p.logFile, err = realPath(p.logFile); err != nil {
		return p, failf(codeDisk, "log file %s: %w", a.common.logFile, err)
	}
	if inside(p.logFile, p.mountpoint) {
		return p, failf(codeUsage, "the log file %s lies inside the mount point %s: set --log-file", p.logFile, p.mountpoint)
	}
	return p, nil
}

// checkSources refuses torrents that the mount itself would cover.
func (p place) checkSources(sources []string) error {
	for _, s := range sources {
		if isURL(s) || isMagnet(s) {
			continue
		}
		if real, err := realPath(s); err == nil && inside(real, p.mountpoint) {
			return failf(codeUsage, "the torrent %s lies inside the mount point %s: move it elsewhere", s, p.mountpoint)
		}
	}
	return nil
}

// logName is the file name of the log of the mount at mountpoint: /mnt/t has
// mnt-t.log.
func logName(mountpoint string) string {
	name := strings.ReplaceAll(strings.Trim(mountpoint, "/"), "-", "--")
	name = strings.ReplaceAll(name, "/", "-")
	if len(name) > 200 {
		sum := sha256.Sum256([]byte(mountpoint))
		name = fmt.Sprintf("%s-%x", name[len(name)-150:], sum[:8])
	}
	return name + ".log"
}

// makePrivateDir makes dir with all above it. Its content is its owner's alone:
// what somebody reads in a torrent is nobody else's business.
func makePrivateDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	fi, err := os.Stat(dir)
	if err == nil && fi.Mode().Perm()&0o077 != 0 {
		err = os.Chmod(dir, 0o700)
	}
	return err
}
