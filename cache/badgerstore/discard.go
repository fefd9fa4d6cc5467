package badgerstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// discardName is the file of Badger's discard statistics: pairs of the id of a
// value-log file and the bytes of it that are garbage, 8 bytes big-endian each,
// ascending by id, zeros behind.
const discardName = "DISCARD"

// maxDiscards is how many entries have blocks from the beginning.
const maxDiscards = 4096

// makeDiscard makes the discard statistics of the database in dir, as Badger would,
// but with blocks for the first entries: Badger stores into the file at any time, and
// ends the process if it can't make it.
//
// Where there are value-log files already the old statistics were damaged, and nobody
// knows what is garbage. For suspect the new ones say that all is: reclaiming looks at
// every entry and keeps what lives, so it costs one rewriting of the store at most,
// and without it the garbage would count against the quota for ever.
func makeDiscard(dir string, suspect bool) error {
	name := filepath.Join(dir, discardName)
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return notWritable(err)
	}
	err = errors.Join(f.Truncate(1<<20), allocate(name, 0, 16*maxDiscards))
	if err == nil && suspect {
		_, err = f.WriteAt(allDiscarded(dir), 0)
	}
	return errors.Join(err, f.Close())
}

// allDiscarded returns statistics in which every value-log file is nothing but
// garbage.
func allDiscarded(dir string) (stats []byte) {
	names, _ := filepath.Glob(filepath.Join(dir, "*.vlog"))
	slices.Sort(names)
	for _, name := range names[:min(len(names), maxDiscards-1)] {
		var id uint64
		info, err := os.Lstat(name)
		if _, serr := fmt.Sscanf(filepath.Base(name), "%d.vlog", &id); err == nil && serr == nil {
			stats = binary.BigEndian.AppendUint64(stats, id)
			stats = binary.BigEndian.AppendUint64(stats, uint64(info.Size()))
		}
	}
	return stats
}
