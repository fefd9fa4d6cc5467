package badgerstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/qqbtfs/qqbtfs/cache"
)

// OpenReadOnly opens the store of the torrent g in the directory dir, which cannot
// or must not be written, for reading. Put returns cache.ErrReadOnly; Delete lasts
// until Close. What has to be mended is mended in a directory that it makes in
// opt.Scratch; Close removes it, or the next one who makes one after a crash.
//
// It returns an fs.ErrNotExist if there is no store, and ErrLocked if somebody has
// it open for writing. It does not keep anybody from that later: what a writer then
// removes turns up as misses.
func OpenReadOnly(dir string, g cache.Geometry, opt Options) (*Store, error) {
	s := newStore(dir, g, opt)
	s.readOnly = true
	s.setState("directory not writable: reading only")
	if err := s.startBorrowing(); err != nil {
		s.closeReading()
		return nil, fmt.Errorf("badgerstore: open %s for reading: %w", dir, err)
	}
	s.tend()
	return s, nil
}

// startBorrowing opens the database while nobody writes to it.
func (s *Store) startBorrowing() error {
	lock, err := lockDir(filepath.Join(s.dir, lockName), unix.LOCK_SH|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return ErrLocked
	}
	if err != nil {
		return err
	}
	defer unlock(lock)
	found, err := os.ReadFile(filepath.Join(s.dir, versionName))
	if err != nil {
		return err
	}
	if string(found) != versionOf(s.geo) {
		return errors.New("not a cache of this torrent and this version")
	}
	data, err := filepath.Abs(newestData(s.dir)) // links lead to it
	if err != nil {
		return err
	}
	return s.borrow(data)
}
