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
// the error is in noCache, and a log in the background goes beside the socket.
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
		return p.moveLog()
	}
	return nil
}

// moveLog finds another directory for the log.
func (p *place) moveLog() error {
	for _, dir := range p.runDirs {
		if tryDir(dir) == nil {
			p.logFile = filepath.Join(dir, filepath.Base(p.logFile))
			return nil
		}
	}
	return failf(codeDisk, "cache directory: %w, and there is no other place for the log: set --log-file", p.noCache)
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
