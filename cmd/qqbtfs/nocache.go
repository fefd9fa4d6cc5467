package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// prepareCache makes the cache directory. Where that cannot be written, on a
// read-only file system or for want of permission, the mount works from memory:
// the error is in noCache, and a log in the background goes beside the socket,
// or nowhere.
func (p *place) prepareCache(background bool) error {
	err := tryDir(p.cacheDir)
	switch {
	case err == nil:
		return nil
	case !errors.Is(err, syscall.EROFS) && !errors.Is(err, fs.ErrPermission):
		return failf(codeDisk, "cache directory: %w", err)
	}
	p.noCache = err
	if background && filepath.Dir(p.logFile) == p.cacheDir {
		p.logFile = p.otherLog()
	}
	return nil
}

// otherLog finds another place for the log.
func (p *place) otherLog() string {
	for _, dir := range p.runDirs {
		if tryDir(dir) == nil {
			return filepath.Join(dir, filepath.Base(p.logFile))
		}
	}
	return os.DevNull
}

// tryDir makes dir for the user alone and tries whether a file can be made in
// it. A full disk passes: its content can still be read.
func tryDir(dir string) error {
	if err := makePrivateDir(dir); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".try*")
	if errors.Is(err, syscall.ENOSPC) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}
