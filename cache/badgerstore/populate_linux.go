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
func (m *mapping) populate(name string, off, n int64) {
	if m.name != name && !m.find(name) {
		return
	}
	from := uintptr(off) &^ uintptr(os.Getpagesize()-1)
	to := min(uintptr(off+n), m.size)
	if from >= to {
		return
	}
	unix.Syscall(unix.SYS_MADVISE, m.start+from, to-from, unix.MADV_POPULATE_WRITE)
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
