package badgerstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ahead allocates the blocks that the next commit will store into. Badger maps
// sparse files, where a store without a free block is a SIGBUS; fallocate turns
// that into an error. Its users take turns.
type ahead struct {
	vlog, wal tail
	full      int64    // where Badger begins another value-log file
	pos       int64    // where Badger appends to the value log; 0: unknown
	unsynced  []string // full value-log files that nobody has synced, see seal
	broken    error    // why there must be no writes any more
}

// newAhead starts behind the newest files in dir, the directory of a database
// that has just been opened.
func newAhead(dir string, z sizes) *ahead {
	a := &ahead{
		full: z.valueLog,
		vlog: tail{dir: dir, pattern: "%06d.vlog", step: z.step, limit: z.valueLog + z.commit + 2<<20},
		wal:  tail{dir: dir, pattern: "%05d.mem", step: z.walStep, limit: memTableSize + 4<<20},
	}
	for _, t := range []*tail{&a.vlog, &a.wal} {
		t.seek()
	}
	a.pos = vlogHeader // Badger begins a new file whenever it opens
	return a
}

// reserve makes room for vlog bytes in the value log and wal bytes in the
// memtable's log, and in the log of the next memtable.
func (a *ahead) reserve(vlog, wal int64) error {
	err := errors.Join(a.broken, a.vlog.reserve(vlog), a.wal.reserve(wal), a.wal.prepare())
	if err == nil && a.pos > 0 {
		err = a.vlog.mapped.ready(a.vlog.path(a.vlog.id), a.pos, vlog)
	}
	return err
}

// step returns how much more than asked for reserve may take, in bytes.
func (a *ahead) step() int64 { return a.vlog.step + 2*a.wal.step }

// commit runs do, which commits a transaction that adds exactly vlog bytes to the
// value log and at most wal bytes to the memtable's log, and follows Badger into
// new files.
func (a *ahead) commit(vlog, wal int64, do func() error) error {
	full := a.vlog.path(a.vlog.id)
	unseal := a.seal(full, vlog)
	err := do()
	moved := a.vlog.follow()
	if moved {
		a.pos, a.unsynced = vlogHeader, append(a.unsynced, full)
	} else if a.pos > 0 {
		a.pos += vlog
	}
	unseal(moved)
	if a.wal.follow() {
		a.wal.used = wal // it moves before it writes
	}
	return err
}

// close removes what Badger has not come to use. There must be no commit after it.
func (a *ahead) close() error { return a.wal.unprepare() }

// resync is for after writes that were not reserved.
func (a *ahead) resync() {
	a.pos = 0
	a.vlog.resync()
	a.wal.resync()
}

// hugePage is the size of a huge page in bytes. A value log mapped in huge pages is
// written twice as fast where each new page of a process is expensive, as in a
// virtual machine without nested page tables.
const hugePage = 2 << 20

// tail is the growing end of a numbered series of files.
type tail struct {
	dir, pattern string
	step         int64 // what is allocated beyond the need, in bytes
	limit        int64 // the length by which Badger begins another file

	id   int
	used int64 // at least as much as Badger has written into file id
	held int64 // allocated in file id
	next int64 // allocated in file id+1, see prepare

	mapped mapping
}

func (t *tail) path(id int) string { return filepath.Join(t.dir, fmt.Sprintf(t.pattern, id)) }

// seek moves to the newest file there is.
func (t *tail) seek() {
	names, _ := filepath.Glob(filepath.Join(t.dir, "*"+filepath.Ext(t.pattern)))
	for _, name := range names {
		var id int
		if _, err := fmt.Sscanf(filepath.Base(name), t.pattern, &id); err == nil {
			t.id = max(t.id, id)
		}
	}
}

// follow moves on to newer files and reports whether there were any. One that is empty
// is not in use.
func (t *tail) follow() (moved bool) {
	for {
		if info, err := os.Lstat(t.path(t.id + 1)); err != nil || info.Size() == 0 {
			return moved
		}
		t.id, t.used, t.held, t.next, moved = t.id+1, 0, t.next, 0, true
	}
}

// prepare makes the file that is the next, empty but with blocks for a step: the first
// store into it comes before there is a chance to reserve. Badger takes an empty file for
// one that it has just made.
func (t *tail) prepare() error {
	if t.next > 0 {
		return nil
	}
	name := t.path(t.id + 1)
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		err = f.Close()
	}
	if err == nil {
		err = allocate(name, 0, t.step)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("allocate %s: %w", filepath.Base(name), err), t.unprepare())
	}
	t.next = t.step
	return nil
}

// unprepare undoes prepare, unless the file is in use.
func (t *tail) unprepare() error {
	name := t.path(t.id + 1)
	if info, err := os.Lstat(name); err != nil || info.Size() > 0 {
		return nil
	}
	t.next = 0
	return os.Remove(name)
}

// resync finds out how far Badger may have written by itself.
func (t *tail) resync() {
	t.follow()
	if info, err := os.Lstat(t.path(t.id)); err == nil {
		t.held = statBlocks(info)
		t.used = t.held
	}
}

// reserve allocates room for n bytes at the end of the current file.
func (t *tail) reserve(n int64) error {
	t.used += n
	want := min(t.used+t.step, t.limit)
	huge := t.step >= hugePage
	if huge {
		want = want / hugePage * hugePage
	}
	if min(t.used, want) <= t.held {
		return nil
	}
	if err := allocate(t.path(t.id), t.held, want-t.held); err != nil {
		return fmt.Errorf("allocate %s: %w", filepath.Base(t.path(t.id)), err)
	}
	t.mapped.populate(t.path(t.id), t.held, want-t.held, huge)
	t.held = want
	return nil
}

// allocate gives the file name blocks for the bytes [off, off+n) and leaves its
// length alone. A file system that can't is no error.
func allocate(name string, off, n int64) error {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil // flushed and gone: nothing will be written to it
	}
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		switch err := fallocate(f, off, n); {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
			return nil
		default:
			return err
		}
	}
}
