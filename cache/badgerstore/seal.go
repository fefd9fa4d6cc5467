package badgerstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
)

// When a value-log file is full, Badger cuts it to its length, and to do that
// waits until all of it is on disk: a download would run at the speed of the disk.
// It does neither if the file has the right length already. So the length is set
// before the commit that fills the file, which takes knowing where it will end to
// the byte; where that is in doubt Badger goes its way. The file is synced later,
// in the background.

const (
	vlogHeader = 20 // bytes before the first entry of a value-log file
	// sealPad is kept behind the last entry, zeros: Badger's scan of a file reads
	// 4 KiB at a time, and beyond the end of a mapped file is SIGBUS.
	sealPad = 8 << 10
)

// vlogEntryLen returns the length of an entry in the value log: two bytes of
// flags, the lengths of key and value and an empty expiry as varints, the key
// with its timestamp, the value, a CRC.
func vlogEntryLen(key, value int) int64 {
	key += 8
	var buf [binary.MaxVarintLen64]byte
	lengths := binary.PutUvarint(buf[:], uint64(key)) + binary.PutUvarint(buf[:], uint64(value)) + 1
	return int64(2 + lengths + key + value + 4)
}

// seal sets the length of the value-log file name if a commit of n bytes will fill
// it. The function that it returns must be called after the commit and told
// whether Badger began another file.
func (a *ahead) seal(name string, n int64) (unseal func(full bool)) {
	end := a.pos + n
	if a.pos == 0 || end <= a.full || !endsAt(name, a.pos) || os.Truncate(name, end) != nil {
		return func(bool) {}
	}
	return func(full bool) {
		length := 2 * a.full // as Badger made it
		if full {
			length = (end+4095)/4096*4096 + sealPad
		}
		// Without it Badger would store or read beyond the end of the file.
		a.broken = errors.Join(a.broken, os.Truncate(name, length))
	}
}

// endsAt reports whether the entries of a value-log file end at pos.
func endsAt(name string, pos int64) bool {
	f, err := os.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	const before, after = 16, 64
	var b [before + after]byte
	if _, err := f.ReadAt(b[:], pos-before); err != nil {
		return false
	}
	zeros := make([]byte, after)
	return bytes.Equal(b[before:], zeros) && !bytes.Equal(b[:before], zeros[:before])
}

// syncFiles waits until files are on disk. One that is gone is no error.
func syncFiles(names []string) error {
	var errs []error
	for _, name := range names {
		f, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = errors.Join(f.Sync(), f.Close())
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
