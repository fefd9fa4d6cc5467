package badgerstore

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/qqbtfs/qqbtfs/cache"
)

// ErrLocked is returned by Open for a directory that another store has open, in
// this process or another.
var ErrLocked = errors.New("in use by another qqbtfs")

const (
	lockName    = "lock"
	versionName = "VERSION"
	versionLine = "qqbtfs-badgerstore "
	// formatVersion changes with anything that old data can't be read with,
	// Badger's sizes in openBadger included.
	formatVersion = 1
	dataPrefix    = "data-"
)

// home is the store's directory, locked:
//
//	lock     flocked while the store is open, holds the process id
//	VERSION  format, torrent and number of pieces
//	data-N   Badger's directory. After damage N+1 takes over, so that what an
//	         attempt to open N left running can't touch the new one
//	ballast  see guard
type home struct {
	dir  string
	lock *os.File
	data string // Badger's directory, may not exist yet
}

// openHome makes, locks and checks dir. What it finds there that is not this
// torrent's cache is moved to dir.bad-N; an older cache of it is removed.
func openHome(dir string, g cache.Geometry, log *slog.Logger) (*home, error) {
	h := &home{dir: dir}
	for range 2 {
		if err := h.acquire(); err != nil {
			return nil, err
		}
		again, err := h.settle(versionOf(g), log)
		if err != nil {
			h.close()
			return nil, err
		}
		if !again {
			return h, nil
		}
	}
	h.close()
	return nil, errors.New("directory does not stay as it was made")
}

func versionOf(g cache.Geometry) string {
	return fmt.Sprintf("%s%d\nkey %s\npieces %d\n", versionLine, formatVersion, g.Key, g.NumPieces)
}

func (h *home) path(name string) string { return filepath.Join(h.dir, name) }

// acquire makes the directory and takes its lock.
func (h *home) acquire() error {
	if err := os.MkdirAll(h.dir, 0o700); err != nil {
		return notWritable(err)
	}
	f, err := os.OpenFile(h.path(lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return notWritable(err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return os.NewSyscallError("flock", err)
		}
		pid := make([]byte, 20)
		n, _ := f.Read(pid)
		if _, err := strconv.Atoi(strings.TrimSpace(string(pid[:n]))); err == nil {
			return fmt.Errorf("%w, process %s", ErrLocked, strings.TrimSpace(string(pid[:n])))
		}
		return ErrLocked
	}
	h.lock = f
	// The id is for people; on a full disk the lock does without.
	if f.Truncate(0) == nil {
		fmt.Fprintln(f, os.Getpid())
	}
	return nil
}

func notWritable(err error) error {
	if errors.Is(err, unix.EROFS) || errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("cache directory is not writable: %w", err)
	}
	return err
}

// settle checks what is in the directory. True means that it was moved aside
// and everything begins again.
func (h *home) settle(version string, log *slog.Logger) (again bool, err error) {
	found, err := os.ReadFile(h.path(versionName))
	switch {
	case err == nil && string(found) == version:
	case err == nil && sameTorrent(string(found), version):
		log.Warn("badgerstore: cache of another version is removed", "dir", h.dir)
		if err := h.removeData(); err != nil {
			return false, err
		}
		fallthrough
	case errors.Is(err, fs.ErrNotExist) && h.vacant():
		if err := h.writeVersion(version); err != nil {
			return false, notWritable(err)
		}
	case err == nil || errors.Is(err, fs.ErrNotExist):
		return true, h.moveAside(log)
	default:
		return false, err
	}
	h.data = newestData(h.dir)
	h.removeOlder(h.data)
	return false, nil
}

// sameTorrent reports whether the VERSION found is ours, of this torrent or too
// damaged to tell.
func sameTorrent(found, version string) bool {
	if strings.Trim(found, "\x00") == "" {
		return true
	}
	_, want, _ := strings.Cut(version, "\n")
	_, got, _ := strings.Cut(found, "\n")
	return strings.HasPrefix(found, versionLine) && got == want
}

// vacant reports whether nothing but our own traces is in the directory.
func (h *home) vacant() bool {
	entries, err := os.ReadDir(h.dir)
	for _, e := range entries {
		switch e.Name() {
		case lockName, ballastName, versionName + ".new":
		default:
			return false
		}
	}
	return err == nil
}

func (h *home) writeVersion(version string) error {
	next := h.path(versionName + ".new")
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(version)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(next, h.path(versionName))
}

// moveAside renames the directory and gives up its lock.
func (h *home) moveAside(log *slog.Logger) error {
	for n := 1; ; n++ {
		to := fmt.Sprintf("%s.bad-%d", h.dir, n)
		if _, err := os.Lstat(to); err == nil {
			continue
		}
		if err := os.Rename(h.dir, to); err != nil {
			return fmt.Errorf("not a cache of this torrent, and can't be moved aside: %w", err)
		}
		log.Warn("badgerstore: directory is not a cache of this torrent, moved aside", "dir", h.dir, "to", to)
		os.Remove(filepath.Join(to, lockName))
		unlock(h.lock)
		return nil
	}
}

// generation returns the N of a data-N directory, 0 for anything else.
func generation(name string) int {
	n, err := strconv.Atoi(strings.TrimPrefix(name, dataPrefix))
	if err != nil || !strings.HasPrefix(name, dataPrefix) {
		return 0
	}
	return n
}

// newestData returns the path of the newest data directory in dir.
func newestData(dir string) string {
	newest := 1
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		newest = max(newest, generation(e.Name()))
	}
	return filepath.Join(dir, dataPrefix+strconv.Itoa(newest))
}

// removeOlder removes the data directories that data has taken over from.
func (h *home) removeOlder(data string) {
	entries, _ := os.ReadDir(h.dir)
	for _, e := range entries {
		if n := generation(e.Name()); n > 0 && n < generation(filepath.Base(data)) {
			os.RemoveAll(h.path(e.Name()))
		}
	}
}

// renew removes the data directory, found damaged, and names its successor.
func (h *home) renew() error {
	n := generation(filepath.Base(h.data))
	if err := os.RemoveAll(h.data); err != nil {
		return err
	}
	h.data = h.path(dataPrefix + strconv.Itoa(n+1))
	return nil
}

func (h *home) removeData() error {
	entries, err := os.ReadDir(h.dir)
	for _, e := range entries {
		if generation(e.Name()) > 0 {
			err = errors.Join(err, os.RemoveAll(h.path(e.Name())))
		}
	}
	return err
}

// diskBytes returns the bytes of disk that everything in dir takes.
func diskBytes(dir string) int64 {
	var sum int64
	filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return nil // gone meanwhile
		}
		if info, err := e.Info(); err == nil {
			sum += statBlocks(info)
		}
		return nil
	})
	return sum
}

// unlock gives up a lock and closes its file. To close it is not enough: a process that
// is being started by another goroutine has the descriptor, too, until its exec.
func unlock(f *os.File) {
	_ = unix.Flock(int(f.Fd()), unix.LOCK_UN)
	f.Close()
}

func (h *home) close() {
	if h != nil && h.lock != nil {
		unlock(h.lock)
	}
}
