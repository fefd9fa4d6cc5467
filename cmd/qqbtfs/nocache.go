package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/qqbtfs/qqbtfs/cmd/qqbtfs/control"
)

// prepareCache makes the cache directory. Where that cannot be written, on a
// read-only file system or for want of permission, the mount works from memory:
// the error is in noCache, and a log in the background goes beside the socket,
// or nowhere.
func (p *place) prepareCache(background bool) error {
	if isShared(p.cacheDir) {
		return failf(codeUsage, "the cache directory %s is open to other users and holds files already: choose one of your own (or chmod 700 it)", p.cacheDir)
	}
	err := tryDir(p.cacheDir)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ENOSPC): // the caches are made when there is space
		p.moveLog(background)
		return nil
	case !errors.Is(err, syscall.EROFS) && !errors.Is(err, fs.ErrPermission) && !makesNothing(err):
		return failf(codeDisk, "cache directory: %w", err)
	}
	p.noCache = err
	p.moveLog(background)
	return nil
}

// isShared reports whether dir is in use by others, such as /tmp: to make it private would
// take it from them. An empty one is nobody's loss.
func isShared(dir string) bool {
	fi, err := os.Stat(dir)
	if err != nil || fi.Mode().Perm()&0o077 == 0 || unix.Access(dir, unix.W_OK) != nil {
		return false
	}
	f, err := os.Open(dir)
	if err != nil {
		return false
	}
	defer f.Close()
	_, err = f.Readdirnames(1)
	return err == nil
}

// moveLog puts a log that would be in the cache directory elsewhere.
func (p *place) moveLog(background bool) {
	if background && filepath.Dir(p.logFile) == p.cacheDir {
		p.logFile = p.otherLog()
	}
}

// makesNothing reports whether err is that of a file system in which nothing can be
// made, such as /proc: there is no such directory, although the one above is there.
func makesNothing(err error) bool {
	var p *fs.PathError
	if !errors.As(err, &p) || !errors.Is(err, fs.ErrNotExist) {
		return false
	}
	_, lerr := os.Lstat(p.Path) // a link that leads nowhere is there
	return errors.Is(lerr, fs.ErrNotExist) && isDir(filepath.Dir(p.Path))
}

// otherLog finds another place for the log.
func (p *place) otherLog() string {
	for _, dir := range p.runDirs {
		if control.MakeDir(dir) == nil && tryDir(dir) == nil {
			return filepath.Join(dir, filepath.Base(p.logFile))
		}
	}
	return os.DevNull
}

// scratch returns the directory for copies of small files of a cache that cannot be
// written, "" if there is none.
func (p *place) scratch() string {
	for _, dir := range p.runDirs {
		if control.MakeDir(dir) == nil {
			return dir
		}
	}
	return ""
}

// tryDir makes dir for the user alone and tries whether a file can be made in
// it.
func tryDir(dir string) error {
	if err := makePrivateDir(dir); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".try*")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}
