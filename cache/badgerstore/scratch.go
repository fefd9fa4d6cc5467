package badgerstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// scratch is a directory in which Badger opens a database that must not be touched.
// The large files are links to those of the database, which Badger never changes
// when it only reads; the small ones, which are mended first, are copies.
type scratch struct {
	dir  string
	lock *os.File // dir itself, flocked: whoever finds it without a lock may remove it
}

const scratchPrefix = "scratch-"

// newScratch makes a scratch directory in parent, which is its user's alone, after
// removing those that a crash has left there.
func newScratch(parent string) (*scratch, error) {
	turn, err := lockDir(parent, unix.LOCK_EX) // a new one is without a lock for a moment
	if err != nil {
		return nil, err
	}
	defer unlock(turn)
	old, _ := filepath.Glob(filepath.Join(parent, scratchPrefix+"*"))
	for _, dir := range old {
		if lock, err := lockDir(dir, unix.LOCK_EX|unix.LOCK_NB); err == nil {
			os.RemoveAll(dir)
			unlock(lock)
		}
	}
	dir, err := os.MkdirTemp(parent, scratchPrefix)
	if err != nil {
		return nil, err
	}
	lock, err := lockDir(dir, unix.LOCK_EX|unix.LOCK_NB)
	if err != nil {
		return nil, errors.Join(err, os.Remove(dir))
	}
	return &scratch{dir, lock}, nil
}

// lockDir opens a directory, or a file, for reading and flocks it until it is closed.
func lockDir(name string, how int) (*os.File, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	for {
		if err = unix.Flock(int(f.Fd()), how); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("flock %s: %w", name, err)
	}
	return f, nil
}

// close removes the directory. nil means that there is none.
func (s *scratch) close() {
	if s != nil {
		os.RemoveAll(s.dir)
		unlock(s.lock)
	}
}

// fill links and copies the database in the directory data. Only plain files count:
// in a directory of somebody else the rest may be anything.
func (s *scratch) fill(data string) error {
	entries, err := os.ReadDir(data)
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() || info.Size() == 0 {
			continue
		}
		if err := s.take(data, e); err != nil {
			return err
		}
	}
	return trimLogs(s.dir)
}

func (s *scratch) take(data string, e fs.DirEntry) error {
	from, to := filepath.Join(data, e.Name()), filepath.Join(s.dir, e.Name())
	switch {
	case strings.HasSuffix(from, ".vlog"), strings.HasSuffix(from, ".sst"):
		return os.Symlink(from, to)
	case strings.HasSuffix(from, ".mem"):
		b, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		return os.WriteFile(to, b[:logEnd(b)], 0o600)
	case e.Name() == "MANIFEST", e.Name() == "KEYREGISTRY":
		b, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		return os.WriteFile(to, b, 0o600)
	default:
		return nil
	}
}
