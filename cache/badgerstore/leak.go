package badgerstore

import (
	"reflect"
	"strings"
	"sync"
	"unsafe"

	"github.com/dgraph-io/badger/v4"
)

// Badger 4.9 leaves a value-log file read-locked for good when it meets a value whose
// header is damaged: valueLog.Read locks, and then either returns without the function
// that unlocks, or panics. After that the file can be neither deleted nor closed, and
// whoever reads of it waits behind who tries. So the lock is given back here, by way of
// fields that Badger does not export; TestDamagedHeader holds that they are there.

// leaks reports whether an error that Badger logs, from within the read, is that of a read
// that leaves a lock behind, and on which file.
func leaks(format string, args []any) (file uint64, ok bool) {
	if !strings.HasPrefix(format, "Invalid read: vp:") || len(args) != 1 {
		return 0, false
	}
	fid := reflect.ValueOf(args[0]).FieldByName("Fid")
	return fid.Uint(), true
}

// unlockFile gives back the read lock of a value-log file that a read has left behind.
func unlockFile(db *badger.DB, file uint64) {
	vlog := reflect.ValueOf(db).Elem().FieldByName("vlog")
	files := lockOf(vlog, "filesLock")
	files.RLock()
	defer files.RUnlock()
	id := uint32(file)
	if f := vlog.FieldByName("filesMap").MapIndex(reflect.ValueOf(id)); f.IsValid() {
		lockOf(f.Elem(), "lock").RUnlock()
	}
}

// unlockValue is unlockFile after a panic in item.Value, before it had a value to show:
// which is of the header, when the file is locked.
func unlockValue(db *badger.DB, item *badger.Item) {
	pointer := reflect.ValueOf(item).Elem().FieldByName("vptr").Bytes()
	const pointerLen = 3 * 4 // file, length, offset
	if len(pointer) == pointerLen {
		unlockFile(db, uint64(*(*uint32)(unsafe.Pointer(&pointer[0])))) // as Badger writes it
	}
}

// lockOf returns a lock in a struct that is reached by a pointer.
func lockOf(v reflect.Value, field string) *sync.RWMutex {
	return (*sync.RWMutex)(unsafe.Pointer(v.FieldByName(field).UnsafeAddr()))
}
