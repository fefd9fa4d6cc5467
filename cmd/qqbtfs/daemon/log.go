package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// OpenLog opens the log file name for a new run: a log of an earlier run becomes
// name.1, the one before that is dropped. The file is its owner's alone (0600),
// and so is a directory made for it (0700). A name that is no regular file, such
// as /dev/null or a pipe, is opened as it is.
func OpenLog(name string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return nil, fmt.Errorf("log file: %w", err)
	}
	fi, err := os.Stat(name)
	switch {
	case err == nil && !fi.Mode().IsRegular():
		return os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
	case err == nil && fi.Size() > 0:
		if err := os.Rename(name, name+".1"); err != nil {
			return nil, fmt.Errorf("log file: %w", err)
		}
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("log file: %w", err)
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("log file: %w", err)
	}
	if err := f.Chmod(0o600); err != nil {
		f.Close()
		return nil, fmt.Errorf("log file: %w", err)
	}
	return f, nil
}

// DropLog takes the log file f of OpenLog away after a run that came to nothing, and
// gives the log of the run before it its name back. A name that is no regular file, or
// another file by now, stays.
func DropLog(f *os.File) {
	mine, err := f.Stat()
	now, serr := os.Lstat(f.Name())
	if err != nil || serr != nil || !mine.Mode().IsRegular() || !os.SameFile(mine, now) {
		return
	}
	_ = os.Remove(f.Name())
	_ = os.Rename(f.Name()+".1", f.Name()) // if there was one
}
