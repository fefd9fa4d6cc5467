package badgerstore

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"strconv"
)

// A crash leaves memtable logs with a tail: zeros that were allocated, or half a
// transaction. Badger cuts it off when it opens for writing, and refuses to open
// for reading. It does so after it has started goroutines that nothing ends, so
// the tail goes before it looks.

// The bits of an entry's first byte that say how it belongs to a transaction.
const (
	bitTxn    = 1 << 6 // a part of one
	bitFinTxn = 1 << 7 // the end of one, the value is its timestamp in decimal
)

// logEntry is an entry of a memtable's log: two bytes of flags, the lengths of key
// and value and the expiry as varints, the key with its timestamp, the value, a
// CRC-32C of all that.
type logEntry struct {
	flags      byte
	key, value []byte
	length     int // of all of it, in bytes
}

// parseLogEntry parses the entry at the beginning of b. It reports false at the
// zeros behind the last entry and for anything that is not whole.
func parseLogEntry(b []byte) (e logEntry, ok bool) {
	if len(b) < 2 {
		return e, false
	}
	var fields [3]uint64
	n := 2
	for i := range fields {
		v, size := binary.Uvarint(b[n:])
		if size <= 0 {
			return e, false
		}
		fields[i], n = v, n+size
	}
	key, value, rest := fields[0], fields[1], uint64(len(b)-n)
	if key == 0 || key > 1<<16 || value > math.MaxUint32 || key+value+crc32.Size > rest {
		return e, false
	}
	end := n + int(key+value)
	if crc32.Checksum(b[:end], castagnoli) != binary.BigEndian.Uint32(b[end:]) {
		return e, false
	}
	return logEntry{b[0], b[n:][:key], b[n+int(key) : end], end + crc32.Size}, true
}

// timestamp returns the timestamp at the end of the key.
func (e logEntry) timestamp() uint64 {
	if len(e.key) <= 8 {
		return 0
	}
	return math.MaxUint64 - binary.BigEndian.Uint64(e.key[len(e.key)-8:])
}

// logEnd returns where the last whole transaction of a memtable's log ends, as
// Badger's replay finds it.
func logEnd(b []byte) int {
	end, pos, open := min(vlogHeader, len(b)), vlogHeader, uint64(0)
	for pos < len(b) {
		e, ok := parseLogEntry(b[pos:])
		if !ok {
			return end
		}
		pos += e.length
		switch {
		case e.flags&bitTxn != 0 && (open == 0 || open == e.timestamp()):
			open = e.timestamp()
		case e.flags&bitTxn == 0 && e.flags&bitFinTxn != 0:
			if ts, err := strconv.ParseUint(string(e.value), 10, 64); err != nil || ts != open {
				return end
			}
			open, end = 0, pos
		case e.flags&bitTxn == 0 && open == 0:
			end = pos
		default:
			return end
		}
	}
	return end
}

// trimLogs cuts the tails off the memtable logs in dir and removes those with
// nothing in them.
func trimLogs(dir string) error {
	names, _ := filepath.Glob(filepath.Join(dir, "*.mem"))
	var errs []error
	for _, name := range names {
		b, err := os.ReadFile(name)
		switch end := logEnd(b); {
		case err != nil:
		case end <= vlogHeader:
			err = os.Remove(name)
		case end < len(b):
			err = os.Truncate(name, int64(end))
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
