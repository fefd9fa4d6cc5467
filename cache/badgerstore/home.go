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
// torrent's cache is moved to dir.bad-N; an older cache of it, or one that does not say
// what it is, is removed; one of a newer version is an error.
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
	if err := os.MkdirAll(h.dir, 0o700); errors.Is(err, unix.ENOTDIR) {
		return errors.New("a file is where the directory must be: remove it")
	} else if err != nil {
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
	b, err := os.ReadFile(h.path(versionName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	found := string(b)
	format, whole := parseVersion(found)
	data, foreign := h.holds()
	switch {
	case found == version:
	case strings.HasPrefix(found, versionLine) && format > formatVersion:
		return false, fmt.Errorf("made by a newer qqbtfs (format %d): use that one, or remove the directory", format)
	case format == formatVersion && rotten(found, version):
		log.Warn("badgerstore: damaged VERSION is written anew", "dir", h.dir)
		if err := h.writeVersion(version); err != nil {
			return false, notWritable(err)
		}
	case foreign, whole && !rotten(found, version):
		return true, h.moveAside(log)
	default:
		if data {
			log.Warn("badgerstore: cache of an older version, or that does not say what it is, is removed", "dir", h.dir)
		}
		if err := errors.Join(h.removeData(), h.writeVersion(version)); err != nil {
			return false, notWritable(err)
		}
	}
	h.data = newestData(h.dir)
	h.removeOlder(h.data)
	return false, nil
}

// parseVersion returns the format that a VERSION names, 0 for none, and whether the rest of
// it has the form of one.
func parseVersion(v string) (format int, whole bool) {
	head, _, _ := strings.Cut(v, "\n")
	format, _ = strconv.Atoi(head[min(len(versionLine), len(head)):])
	return format, strings.HasPrefix(v, versionLine) && strings.Count(v, "\n") == 3
}

// rotten reports whether found is version but for a few bytes that a disk has spoilt. Of
// two torrents most of the key differs.
func rotten(found, version string) bool {
	if len(found) != len(version) {
		return false
	}
	wrong := 0
	for i := range version {
		if found[i] != version[i] {
			wrong++
		}
	}
	return wrong < 4
}

// holds reports whether data directories are in the directory, and whether something is
// that is not ours.
func (h *home) holds() (data, foreign bool) {
	entries, err := os.ReadDir(h.dir)
	for _, e := range entries {
		switch e.Name() {
		case lockName, ballastName, versionName, versionName + ".new":
		default:
			ours := generation(e.Name()) > 0
			data, foreign = data || ours, foreign || !ours
		}
	}
	return data, foreign || err != nil
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
		log.Warn("badgerstore: directory is not a cache of this torrent, moved aside: remove it if nobody needs it", "dir", h.dir, "to", to)
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
