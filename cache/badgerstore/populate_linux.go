package badgerstore

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapping is where the newest value-log file lies in our memory.
type mapping struct {
	name        string
	start, size uintptr
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

// wantHuge asks for huge pages behind the first one. That has a small page already,
// for Badger has written the file's header, and the kernel's readahead gives up huge
// pages where it meets one; told that access is random, it does not read ahead.
func (m *mapping) wantHuge() {
	if m.size > hugePage {
		unix.Syscall(unix.SYS_MADVISE, m.start+hugePage, m.size-hugePage, unix.MADV_HUGEPAGE)
		unix.Syscall(unix.SYS_MADVISE, m.start, m.size, unix.MADV_RANDOM)
	}
}

// find looks the mapping up in the list that the kernel keeps.
func (m *mapping) find(name string) bool {
	f, err := os.Open("/proc/self/maps")
	if err != nil {
		return false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line := lines.Text()
		if !strings.HasSuffix(line, " "+name) {
			continue
		}
		var from, to, off uint64
		var perms string
		if _, err := fmt.Sscanf(line, "%x-%x %s %x", &from, &to, &perms, &off); err == nil && off == 0 && strings.HasPrefix(perms, "rw") {
			*m = mapping{name: name, start: uintptr(from), size: uintptr(to - from)}
			return true
		}
	}
	return false
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
