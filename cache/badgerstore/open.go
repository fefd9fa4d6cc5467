package badgerstore

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"github.com/qqbtfs/qqbtfs/cache"
)

// start opens the database, for reading only if the disk is full. The caller
// holds the token or is the only one to know s.
func (s *Store) start() error {
	if s.home == nil {
		h, err := openHome(s.dir, s.geo, s.log)
		if isFull(err) {
			s.setState("disk full: RAM only")
			return nil
		}
		if err != nil {
			return err
		}
		s.home = h
	}
	if !s.guard.room(startSize(s.home.data)) {
		s.startReading()
		return nil
	}
	err := s.startWriting()
	if isFull(err) {
		s.startReading()
		return nil
	}
	return err
}

// startSize returns how much Badger may write while it opens the database in
// dir: what its memtable logs hold goes to tables.
func startSize(dir string) int64 {
	size := int64(slack)
	logs, _ := filepath.Glob(filepath.Join(dir, "*.mem"))
	for _, name := range logs {
		if info, err := os.Lstat(name); err == nil {
			size += statBlocks(info)
		}
	}
	return size
}

// startWriting opens the database for writing, and a new one in its place when
// it is damaged beyond mending.
func (s *Store) startWriting() error {
	for attempt := 0; ; attempt++ {
		err := s.tryWriting()
		if err == nil || attempt > 0 || isFull(err) || isSurroundings(err) {
			return err
		}
		s.log.Warn("badgerstore: damaged database is made anew", "dir", s.home.data, "err", err)
		if err := s.home.renew(); err != nil {
			return err
		}
	}
}

func (s *Store) tryWriting() error {
	data := s.home.data
	if err := os.MkdirAll(data, 0o700); err != nil {
		return notWritable(err)
	}
	live, err := sweep(data, s.log)
	if err != nil {
		return err
	}
	garbage, orphans, err := makeDiscard(data, live)
	if err != nil {
		return err
	}
	if orphans >= s.sizes.reclaim {
		s.log.Warn("badgerstore: keys are lost, the space of their values is reclaimed", "dir", data, "bytes", orphans)
	}
	db, err := openBadger(data, false, s.sizes, s.log)
	if err != nil {
		return err
	}
	if err := s.load(db); err != nil {
		return errors.Join(err, db.Close())
	}
	s.db, s.writable = db, true
	s.ahead = newAhead(data, s.sizes)
	s.version = db.MaxVersion()
	db.SetDiscardTs(s.version)
	s.garbage.Store(garbage) // what earlier runs left
	s.setState("ok")
	s.poke()
	return nil
}

// startReading opens what can be read while the disk is full. After a crash there are
// logs to be replayed, for which it needs a scratch directory.
func (s *Store) startReading() {
	s.setState("disk full: reading only")
	_, err := sweep(s.home.data, s.log)
	if logs, _ := filepath.Glob(filepath.Join(s.home.data, "*.mem")); err == nil && len(logs) > 0 {
		err = s.borrow(s.home.data)
	} else if err == nil {
		err = s.openReading(s.home.data)
	}
	if err != nil {
		s.closeReading()
		s.setState("disk full: RAM only")
		s.log.Warn("badgerstore: disk is full, the cache can't be read until there is space", "dir", s.dir, "err", err)
	}
}

// borrow opens the database in data for reading without a change of any file in it.
func (s *Store) borrow(data string) (err error) {
	if s.scratch, err = newScratch(s.aside); err != nil {
		return err
	}
	if err := s.scratch.fill(data); err != nil {
		return err
	}
	if _, err := sweep(s.scratch.dir, s.log); err != nil {
		return err
	}
	return s.openReading(s.scratch.dir)
}

func (s *Store) openReading(data string) (err error) {
	if s.db, err = openBadger(data, true, s.sizes, s.log); err != nil {
		return err
	}
	return s.load(s.db)
}

// closeReading undoes borrow or openReading. The scratch directory goes first: a read
// that ended in a panic may have left Badger locked, and it never ends.
func (s *Store) closeReading() {
	s.scratch.close()
	if s.db != nil {
		s.db.Close()
	}
	s.scratch, s.db = nil, nil
}

// restart opens the database for writing if it is not, now that there is space.
func (s *Store) restart() error {
	if s.writable {
		return nil
	}
	if s.readOnly {
		return cache.ErrReadOnly
	}
	if s.home != nil && !s.guard.room(startSize(s.home.data)) {
		return s.noSpace(errors.New("disk full"))
	}
	s.use.pause()
	defer s.use.resume()
	s.closeReading()
	if err := s.start(); err != nil {
		return fmt.Errorf("open %s again: %w", s.dir, err)
	}
	if !s.writable {
		return s.noSpace(errors.New("disk full"))
	}
	return nil
}

// load learns from the records which pieces are had. It reads no record: ReadAt
// checks them.
func (s *Store) load(db *badger.DB) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("records: panic: %v", r)
		}
	}()
	s.cool.adopt(readHuge(db.Opts().Dir))
	txn := db.NewTransactionAt(latest, false)
	defer txn.Discard()
	opt := badger.DefaultIteratorOptions
	opt.Prefix, opt.PrefetchValues = []byte{recordTag}, false
	it := txn.NewIterator(opt)
	defer it.Close()
	s.order = nil
	for it.Rewind(); it.Valid(); it.Next() {
		if i, ok := parseRecordKey(it.Item().Key()); ok && i < s.geo.NumPieces {
			s.have.add(i)
			s.order = append(s.order, written{it.Item().Version(), i})
		}
	}
	return nil
}

// written is a piece and the timestamp of the commit that put it.
type written struct {
	version uint64
	piece   int
}

// WriteOrder implements cache.WriteOrdered: the pieces that were found by Open.
func (s *Store) WriteOrder() []int {
	slices.SortStableFunc(s.order, func(a, b written) int { return cmp.Compare(a.version, b.version) })
	var list []int
	for _, w := range s.order {
		if s.have.has(w.piece) {
			list = append(list, w.piece)
		}
	}
	s.order = nil
	return list
}

// flushSize is what it takes to flush the memtable, which Close must do, in bytes.
func (s *Store) flushSize() int64 {
	return min(maxFlush, 2*s.ahead.wal.used+512<<10)
}

// shutDown releases everything, in the background of Close.
func (s *Store) shutDown() {
	defer close(s.closed)
	s.tending.Wait()
	s.token <- struct{}{} // for good
	if err := s.bury(); err != nil {
		s.log.Debug("badgerstore: deleted pieces stay on disk", "dir", s.dir, "err", err)
	}
	s.use.close()
	s.have.clear()
	if s.writable {
		if err := s.ahead.close(); err != nil {
			s.log.Debug("badgerstore: an unused file stays on disk", "dir", s.dir, "err", err)
		}
	}
	switch {
	case !s.writable:
		s.closeReading()
	case errors.Is(s.ahead.broken, errTorn):
		return // left as by a crash, and locked until the process ends
	case !s.guard.room(s.flushSize()):
		// To close Badger now would kill the process. Its logs have everything,
		// so it is left as by a crash, and locked until the process ends.
		s.log.Warn("badgerstore: disk is full, the database is left open", "dir", s.dir)
		return
	default:
		if err := s.db.Close(); err != nil {
			s.log.Warn("badgerstore: close", "dir", s.dir, "err", err)
		}
	}
	if !s.readOnly {
		s.guard.giveUp()
	}
	s.home.close()
}
