package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/dgraph-io/badger/v4"

	"github.com/qqbtfs/qqbtfs/cache"
)

// ReadAt implements cache.Store. Every slab that the range touches is read whole
// and checked.
func (s *Store) ReadAt(dst []byte, index, off int) error {
	if s.ctx.Err() != nil {
		return cache.ErrClosed
	}
	if err := s.geo.CheckRange(index, off, len(dst)); err != nil {
		return err
	}
	err := s.tryRead(dst, index, off)
	if errors.Is(err, errDamaged) {
		err = s.readAgain(dst, index, off)
	}
	if err == nil {
		s.diskHits.Add(1)
	}
	return err
}

// errDamaged is what a read finds that is not what was written.
var errDamaged = errors.New("damaged")

// readAgain reads without a writer beside it: reclaiming moves values, and a read
// in between looks like damage. What still is damage then is deleted.
func (s *Store) readAgain(dst []byte, index, off int) error {
	if err := s.acquire(context.Background()); err != nil {
		return err
	}
	defer s.release()
	err := s.tryRead(dst, index, off)
	if !errors.Is(err, errDamaged) {
		return err
	}
	if s.ahead != nil && errors.Is(s.ahead.broken, errNoMemtable) {
		return cache.ErrMiss // which says nothing of the piece
	}
	if s.have.kill(index) {
		s.damaged.Add(1)
		s.garbage.Add(int64(s.geo.PieceSize(index)))
		s.log.Debug("badgerstore: damaged piece is deleted", "dir", s.dir, "piece", index, "err", err)
		s.poke()
	}
	return cache.ErrMiss
}

// tryRead reads once. A mapped page that the disk can't give is damage too.
func (s *Store) tryRead(dst []byte, index, off int) (err error) {
	if !s.use.enter() {
		return cache.ErrClosed
	}
	defer s.use.leave()
	if !s.have.has(index) {
		return cache.ErrMiss
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: panic: %v", errDamaged, r)
		}
	}()
	txn := s.db.NewTransactionAt(latest, false)
	defer txn.Discard()
	size := s.geo.PieceSize(index)
	rec, err := readRecord(s.db, txn, index, size)
	if err != nil {
		return err
	}
	for len(dst) > 0 {
		slab, begin := off/slabSize, off%slabSize
		n := min(len(dst), slabLen(size, slab)-begin)
		saw := func(v []byte) { s.cool.saw(index, slab, v) }
		err := readSlab(s.db, txn, slabKey(index, slab), slabLen(size, slab), rec.sum(slab), dst[:n], begin, saw)
		if err != nil {
			return err
		}
		dst, off = dst[n:], off+n
	}
	return nil
}

func readRecord(db *badger.DB, txn *badger.Txn, index, size int) (record, error) {
	var rec record
	err := readValue(db, txn, recordKey(index), func(v []byte) error {
		rec = append(rec, v...)
		return rec.check(size)
	})
	return rec, err
}

// readSlab fills dst from begin of the slab at key, after checking that all of it
// has the length size and the checksum sum. It shows saw where it lies.
func readSlab(db *badger.DB, txn *badger.Txn, key []byte, size int, sum uint32, dst []byte, begin int, saw func([]byte)) error {
	return readValue(db, txn, key, func(v []byte) error {
		if len(v) != size {
			return fmt.Errorf("slab of %d bytes, not %d", len(v), size)
		}
		saw(v)
		populateRead(v)
		if len(dst) == size {
			copy(dst, v)
			v = dst // the copy is in the processor's cache
		}
		if slabSum(v) != sum {
			return errors.New("slab with a wrong checksum")
		}
		if len(dst) < size {
			copy(dst, v[begin:])
		}
		return nil
	})
}

// readValue calls check with the value at key. All that goes wrong is damage: the
// piece is had.
func readValue(db *badger.DB, txn *badger.Txn, key []byte, check func([]byte) error) error {
	item, err := txn.Get(key)
	if err == nil {
		shown, done := false, false
		defer func() {
			if !shown && !done { // it panics
				unlockValue(db, item)
			}
		}()
		err = item.Value(func(v []byte) error {
			shown = true
			return check(v)
		})
		done = true
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	return nil
}
