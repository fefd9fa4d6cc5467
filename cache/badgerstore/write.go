package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/dgraph-io/badger/v4"

	"github.com/qqbtfs/qqbtfs/cache"
)

// Put implements cache.Store. Pieces become had transaction by transaction, in
// the order given.
func (s *Store) Put(ctx context.Context, pieces ...cache.Piece) error {
	defer func() {
		for _, p := range pieces {
			p.Release()
		}
	}()
	if err := s.acquire(ctx); err != nil {
		return err
	}
	defer s.release()
	b := batch{s: s, ctx: ctx}
	defer b.discard()
	var errs []error
	for _, p := range pieces {
		if err := s.geo.CheckPiece(p); err != nil {
			errs = append(errs, err)
		} else if err := b.add(p); err != nil {
			return errors.Join(append(errs, putError(p.Index(), err))...)
		}
	}
	if err := b.commit(); err != nil {
		errs = append(errs, putError(pieces[len(pieces)-1].Index(), err))
	}
	return errors.Join(errs...)
}

func putError(piece int, err error) error {
	return fmt.Errorf("badgerstore: put piece %d: %w", piece, err)
}

// batch gathers changes into transactions. Its maker holds the token.
type batch struct {
	s   *Store
	ctx context.Context

	txn       *badger.Txn
	vlog, wal int64 // what the transaction adds to either log, in bytes; wal at most
	added     []int // pieces whose record is in the transaction
}

// entryOverhead is more than Badger writes around key and value in a log, and for
// a pointer to the value log, in bytes.
const entryOverhead = 64

// add writes piece p: its slabs, then its record. A piece that fits into one
// transaction is not spread over two.
func (b *batch) add(p cache.Piece) error {
	i, data := p.Index(), p.Bytes()
	if !b.s.have.revive(i) {
		return nil
	}
	if b.vlog > 0 && b.vlog+int64(len(data)) > b.s.sizes.commit {
		if err := b.commit(); err != nil {
			return err
		}
	}
	rec := newRecord(len(data))
	for n := range numSlabs(len(data)) {
		slab := data[n*slabSize:][:slabLen(len(data), n)]
		rec.setSum(n, slabSum(slab))
		if err := b.set(slabKey(i, n), slab); err != nil {
			return err
		}
	}
	if err := b.set(recordKey(i), rec); err != nil {
		return err
	}
	b.added = append(b.added, i)
	return nil
}

// remove deletes the keys of piece i, the record first.
func (b *batch) remove(i int) error {
	if err := b.delete(recordKey(i)); err != nil {
		return err
	}
	for n := range numSlabs(b.s.geo.PieceSize(i)) {
		if err := b.delete(slabKey(i, n)); err != nil {
			return err
		}
	}
	return nil
}

func (b *batch) set(key, value []byte) error {
	return b.change(len(key), len(value), func() error { return b.txn.Set(key, value) })
}

func (b *batch) delete(key []byte) error {
	return b.change(len(key), 0, func() error { return b.txn.Delete(key) })
}

// change does one change of an entry, in a new transaction when it does not fit
// into this one.
func (b *batch) change(key, value int, do func() error) error {
	if b.vlog >= b.s.sizes.commit {
		if err := b.commit(); err != nil {
			return err
		}
	}
	err := b.begin()
	if err == nil {
		err = do()
	}
	if errors.Is(err, badger.ErrTxnTooBig) {
		if err = b.commit(); err == nil {
			if err = b.begin(); err == nil {
				err = do()
			}
		}
	}
	if err != nil {
		return err
	}
	if value < valueThreshold {
		b.wal += int64(key + value + entryOverhead)
	} else {
		b.wal += int64(key + entryOverhead)
		b.vlog += vlogEntryLen(key, value)
	}
	return nil
}

func (b *batch) begin() error {
	if b.txn != nil {
		return nil
	}
	if err := b.s.restart(); err != nil {
		return err
	}
	b.txn = b.s.db.NewTransactionAt(latest, true)
	b.wal = 2 * entryOverhead // Badger's own entry at its end
	return nil
}

func (b *batch) discard() {
	if b.txn != nil {
		b.txn.Discard()
	}
	b.txn, b.vlog, b.wal, b.added = nil, 0, 0, nil
}

// commit writes what was gathered, if there is space for it.
func (b *batch) commit() error {
	if b.txn == nil {
		return nil
	}
	defer b.discard()
	if err := b.live(); err != nil {
		return err
	}
	s := b.s
	if err := s.reserve(b.vlog, b.wal, b.added == nil); err != nil {
		return s.noSpace(err)
	}
	file, pos := s.ahead.vlog.path(s.ahead.vlog.id), s.ahead.pos
	err := s.ahead.commit(b.vlog, b.wal, func() error { return b.txn.CommitAt(s.version+1, nil) })
	if len(s.ahead.unsynced) > 0 {
		s.poke()
	}
	if err != nil {
		s.failed(err)
		s.writeErrs.Add(1)
		s.setState("write error: " + err.Error())
		return err
	}
	s.version++
	s.db.SetDiscardTs(s.version)
	s.unsynced = true
	s.have.add(b.added...)
	s.cool.wrote(file, pos, b.vlog, b.added)
	if b.added != nil {
		s.setState("ok")
	}
	return nil
}

// errNoMemtable is why a store reads and writes nothing more until it is opened again.
// errTorn is one of a database that cannot even be closed.
var (
	errNoMemtable = errors.New("no memtable")
	errTorn       = fmt.Errorf("%w, but halves of some", errNoMemtable)
)

// failed ends all writing if err says that Badger has no memtable any more: the next
// write would end the process. Its caller holds the token.
func (s *Store) failed(err error) {
	if err != nil && strings.Contains(err.Error(), "cannot create new mem table") {
		s.giveUp(errNoMemtable, err)
	}
}

// giveUp ends all writing, for why, unless it has ended.
func (s *Store) giveUp(why, err error) {
	if s.ahead.broken == nil {
		s.ahead.broken = fmt.Errorf("%w: %w", why, err)
		s.log.Warn("badgerstore: the disk fails, pieces stay in memory until the next mount", "dir", s.dir, "err", err)
	}
}

// live returns an error when the caller or the store has ended.
func (b *batch) live() error {
	if b.ctx.Err() != nil {
		return b.ctx.Err()
	}
	if b.added != nil && b.s.ctx.Err() != nil {
		return cache.ErrClosed
	}
	return nil
}

// reserve makes sure that a commit has the space it needs. A must is a commit
// that makes space in the end: for it reserve and quota don't count.
func (s *Store) reserve(vlog, wal int64, must bool) error {
	need := vlog + wal
	if must {
		if !s.guard.room(need + slack) {
			return cache.ErrNoSpace
		}
	} else if err := s.guard.admit(need); err != nil {
		return err
	} else if err := s.admit(need); err != nil {
		return err
	}
	return s.ahead.reserve(vlog, wal)
}

// admit returns cache.ErrQuota unless need bytes fit into the quota, after making
// room for them if there is garbage.
func (s *Store) admit(need int64) error {
	if s.quota <= 0 {
		return nil
	}
	fits := func() bool { return diskBytes(s.dir)+need+s.ahead.step() <= s.quota-s.sizes.spare }
	if fits() {
		return nil
	}
	if err := s.reclaimNow(fits, reclaimRatio, lastRatio); err != nil {
		return err
	}
	if !fits() {
		return fmt.Errorf("%w: %d MiB", cache.ErrQuota, s.quota>>20)
	}
	return nil
}

// noSpace turns err into an ErrNoSpace if it is about space, counts it, says so
// in the state and has the garbage looked at.
func (s *Store) noSpace(err error) error {
	s.writeErrs.Add(1)
	if !isFull(err) && s.writable {
		s.setState("write error: " + err.Error())
		return err
	}
	if !errors.Is(err, cache.ErrNoSpace) {
		err = fmt.Errorf("%w: %w", cache.ErrNoSpace, err)
	}
	if s.db == nil {
		s.setState("disk full: RAM only")
	} else if errors.Is(err, cache.ErrQuota) {
		s.setState("cache limit reached: reading only")
	} else {
		s.setState("disk full: reading only")
	}
	if s.garbage.Load() > 0 {
		s.poke()
	}
	return err
}
