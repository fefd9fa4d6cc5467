package badgerstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// discardName is the file of Badger's discard statistics: pairs of the id of a
// value-log file and the bytes of it that are garbage, 8 bytes big-endian each,
// ascending by id, zeros behind.
const discardName = "DISCARD"

const (
	discardSize = 1 << 20 // of the file as Badger makes it
	maxDiscards = 4096    // entries that have blocks from the beginning
)

// pointed counts, by the id of a value-log file, the bytes of it that keys point to.
type pointed map[uint32]int64

// bitPointer says in the first byte of an entry's flags that the value is a pointer:
// file id, length and offset of an entry of the value log, 4 bytes each in the order of
// the machine.
const bitPointer = 1 << 1

// add counts the value of a key.
func (p pointed) add(flags byte, value []byte) {
	if flags&bitPointer != 0 && len(value) == 12 {
		p[binary.NativeEndian.Uint32(value)] += int64(binary.NativeEndian.Uint32(value[4:]))
	}
}

// addLogs counts the keys of the memtable logs in dir.
func (p pointed) addLogs(dir string) {
	names, _ := filepath.Glob(filepath.Join(dir, "*.mem"))
	for _, name := range names {
		b, _ := os.ReadFile(name) // what can't be read Badger will complain of
		for pos := min(vlogHeader, len(b)); ; {
			e, ok := parseLogEntry(b[pos:])
			if !ok {
				break
			}
			p.add(e.flags, e.value)
			pos += e.length
		}
	}
}

// makeDiscard makes the discard statistics of the database in dir: garbage is what no key
// points to. Badger's own know only of what it dropped while it merged tables; where keys
// are lost to damage, their values would stay for good. It returns how many bytes of
// garbage there are, and of how many of them the old statistics said nothing.
//
// The first entries get blocks, as Badger stores into the file at any time, and ends the
// process if it can't make it. It is overwritten in place: a database whose Close hung
// may still have it mapped.
func makeDiscard(dir string, live pointed) (garbage, orphans int64, err error) {
	name := filepath.Join(dir, discardName)
	old, _ := os.ReadFile(name)
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return 0, 0, notWritable(err)
	}
	stats, garbage := live.discards(dir)
	err = errors.Join(f.Truncate(max(discardSize, int64(2*len(stats)))), allocate(name, 0, int64(16*maxDiscards+len(stats))))
	if err == nil {
		_, err = f.WriteAt(append(stats, make([]byte, 16)...), 0)
	}
	return garbage, garbage - discarded(old), errors.Join(err, f.Close())
}

// discards returns the statistics of the value-log files in dir, and their sum.
func (p pointed) discards(dir string) (stats []byte, sum int64) {
	names, _ := filepath.Glob(filepath.Join(dir, "*.vlog"))
	slices.Sort(names)
	for _, name := range names {
		var id uint32
		info, err := os.Lstat(name)
		if _, serr := fmt.Sscanf(filepath.Base(name), "%d.vlog", &id); err != nil || serr != nil {
			continue
		}
		// After a crash the last file is longer than what is in it.
		if n := min(info.Size(), statBlocks(info)) - p[id]; n > 0 {
			stats = binary.BigEndian.AppendUint64(stats, uint64(id))
			stats = binary.BigEndian.AppendUint64(stats, uint64(n))
			sum += n
		}
	}
	return stats, sum
}

// discarded returns the sum of statistics that may be damaged.
func discarded(stats []byte) (sum int64) {
	for ; len(stats) >= 16 && binary.BigEndian.Uint64(stats) != 0; stats = stats[16:] {
		sum += int64(binary.BigEndian.Uint64(stats[8:]))
	}
	return sum
}
