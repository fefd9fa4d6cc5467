package badgerstore

import (
	"bufio"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapping is where a file, or a part of it, lies in our memory.
type mapping struct {
	name             string
	start, size, off uintptr
}

// populate brings the bytes [off, off+n) of the file name into Badger's mapping
// of it at once. Badger's stores would do so one page and one fault at a time,
// which costs more than all else that a write does. It is a hint: where it fails
// nothing is lost but time.
//
// With huge it does so in huge pages; off+n must be a multiple of hugePage then, or
// what is dirty on disk is more than that.
func (m *mapping) populate(name string, off, n int64, huge bool) {
	if m.name != name {
		if !m.find(name) {
			return
		}
		if huge {
			m.wantHuge()
		}
	}
	from := uintptr(off) &^ uintptr(os.Getpagesize()-1)
	to := min(uintptr(off+n), m.size)
	if from >= to {
		return
	}
	if first := max(from, hugePage); huge && first < to { // a read makes huge pages, a write small ones
		unix.Syscall(unix.SYS_MADVISE, m.start+first, to-first, unix.MADV_POPULATE_READ)
	}
	unix.Syscall(unix.SYS_MADVISE, m.start+from, to-from, unix.MADV_POPULATE_WRITE)
}

// ready makes sure that Badger can store into the bytes [off, off+n) of the file name:
// on a page that the disk can't give its store would end the process. A mapping that was
// not found is no error.
func (m *mapping) ready(name string, off, n int64) error {
	from, to := uintptr(off)&^uintptr(os.Getpagesize()-1), uintptr(off+n)
	if m.name != name || to > m.size {
		return nil
	}
	_, _, errno := unix.Syscall(unix.SYS_MADVISE, m.start+from, to-from, unix.MADV_POPULATE_WRITE)
	if errno == unix.EFAULT || errno == unix.EHWPOISON {
		return fmt.Errorf("%s: %w", filepath.Base(name), unix.EIO)
	}
	return nil
}

// wantHuge asks for huge pages behind the first one. That has a small page already,
// for Badger has written or read the file's header, and the kernel's readahead gives
// up huge pages where it meets a small one; told that access is random, it does not
// read ahead.
func (m *mapping) wantHuge() {
	if m.size > hugePage {
		unix.Syscall(unix.SYS_MADVISE, m.start+hugePage, m.size-hugePage, unix.MADV_HUGEPAGE)
		unix.Syscall(unix.SYS_MADVISE, m.start, m.size, unix.MADV_RANDOM)
	}
}

// find looks the mapping up, in as many parts as the kernel has split it into.
func (m *mapping) find(name string) bool {
	*m = mapping{}
	for part := range mappings(func(other string) bool { return other == name }) {
		switch {
		case part.off == 0:
			*m = part
		case part.start == m.start+m.size:
			m.size += part.size
		}
	}
	return m.name != ""
}

// readHuge has the value-log files in dir, which have just been mapped, read in huge
// pages, and returns where they are, in the order of their addresses.
func readHuge(dir string) (logs []mapping) {
	isLog := func(name string) bool { return filepath.Dir(name) == dir && filepath.Ext(name) == ".vlog" }
	for m := range mappings(isLog) {
		if m.off == 0 {
			m.wantHuge()
			logs = append(logs, m)
		}
	}
	return logs
}

// locate returns which of the files, which are in the order of their addresses, v is a
// part of, and where in it v is.
func locate(files []mapping, v []byte) (file int, off int64, ok bool) {
	at := uintptr(unsafe.Pointer(unsafe.SliceData(v)))
	file = sort.Search(len(files), func(i int) bool { return at < files[i].start+files[i].size })
	if file == len(files) || at < files[file].start {
		return 0, 0, false
	}
	return file, int64(at - files[file].start), true
}

// mappings returns the parts of the mapped files that match, by the list that the
// kernel keeps.
func mappings(match func(name string) bool) iter.Seq[mapping] {
	return func(yield func(mapping) bool) {
		f, err := os.Open("/proc/self/maps")
		if err != nil {
			return
		}
		defer f.Close()
		for lines := bufio.NewScanner(f); lines.Scan(); {
			line := lines.Text()
			slash := strings.IndexByte(line, '/')
			if slash < 0 || !match(line[slash:]) {
				continue
			}
			var from, to, off uint64
			if _, err := fmt.Sscanf(line, "%x-%x %s %x", &from, &to, new(string), &off); err != nil {
				continue
			}
			if !yield(mapping{line[slash:], uintptr(from), uintptr(to - from), uintptr(off)}) {
				return
			}
		}
	}
}

// populateRead brings the pages of v, a part of a mapped file, in at once rather
// than fault by fault.
func populateRead(v []byte) {
	page := uintptr(os.Getpagesize())
	start := uintptr(unsafe.Pointer(unsafe.SliceData(v)))
	end := start + uintptr(len(v))
	start &^= page - 1
	unix.Syscall(unix.SYS_MADVISE, start, end-start, unix.MADV_POPULATE_READ)
}

// pageOut writes the bytes [off, off+n) of the mapped file name to disk and gives their
// memory back. What is meanwhile in the place of the mapping, if that ends, is at worst
// read from disk again.
func pageOut(name string, off, n int64) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	var m mapping
	if m.find(name) && uintptr(off+n) <= m.size {
		// Out of the mapping at once: dirty pages stay in the page cache. Those that are
		// mapped would be written one by one, each with a flush of all TLBs.
		unix.Syscall(unix.SYS_MADVISE, m.start+uintptr(off), uintptr(n), unix.MADV_PAGEOUT)
	}
	const all = unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER
	if err := unix.SyncFileRange(int(f.Fd()), off, n, all); err != nil {
		return err
	}
	return unix.Fadvise(int(f.Fd()), off, n, unix.FADV_DONTNEED)
}
