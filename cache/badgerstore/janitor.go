package badgerstore

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/qqbtfs/qqbtfs/cache"
)

const (
	// reclaimRatio is the part of a value-log file that must be garbage for it to be
	// rewritten.
	reclaimRatio = 0.3
	// lastRatio is the same when the quota is in use.
	lastRatio = 0.05
	// leastGarbage is how much of it is worth looking for when space is short, in bytes:
	// every file has some, and to merge writes tables where others may be writing too.
	leastGarbage = 1 << 20
)

// poke wakes the janitor.
func (s *Store) poke() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// syncAfter is how long nothing must have been written for full files to be
// synced. To sync a file that is mapped, the kernel takes its pages away one by
// one, which cost a sixth of a download's CPU time; it writes them back by
// itself as well, only later.
const syncAfter = 5 * time.Second

// janitor removes the keys of dead pieces, gives their space back and syncs full
// files when it is quiet, until Close.
func (s *Store) janitor() {
	quiet := time.NewTimer(syncAfter)
	defer quiet.Stop()
	for {
		var err error
		select {
		case <-s.ctx.Done():
			return
		case <-s.kick:
			quiet.Reset(syncAfter)
			err = s.tidy()
		case <-quiet.C:
			err = s.syncFull()
		}
		if err != nil && !errors.Is(err, cache.ErrClosed) {
			s.log.Debug("badgerstore: tidy", "dir", s.dir, "err", err)
		}
	}
}

func (s *Store) tidy() error {
	if err := s.alone(s.bury); err != nil {
		return err
	}
	garbage := s.garbage.Load()
	if garbage < s.sizes.reclaim && (garbage < leastGarbage || *s.state.Load() == "ok") {
		return nil
	}
	if s.quota > 0 { // in one go: a writer that needs room must not find it half done
		return s.alone(func() error { return s.reclaimNow(func() bool { return false }, reclaimRatio) })
	}
	if err := s.reclaim(reclaimRatio, s.alone); err != nil {
		return err
	}
	s.spent(garbage)
	return nil
}

// spent takes n bytes off the garbage that is known. A writer in need may have
// reclaimed some of it meanwhile.
func (s *Store) spent(n int64) {
	for {
		was := s.garbage.Load()
		if s.garbage.CompareAndSwap(was, max(0, was-n)) {
			return
		}
	}
}

// alone runs do with the token.
func (s *Store) alone(do func() error) error {
	if err := s.acquire(s.ctx); err != nil {
		return err
	}
	defer s.release()
	return do()
}

// bury deletes the keys of the dead pieces. Its caller holds the token.
func (s *Store) bury() error {
	dead := s.have.deads()
	if len(dead) == 0 {
		return nil
	}
	b := batch{s: s, ctx: context.Background()}
	defer b.discard()
	for _, i := range dead {
		if err := b.remove(i); err != nil {
			return err
		}
	}
	if err := b.commit(); err != nil {
		return err
	}
	s.have.buried(dead)
	return nil
}

// syncFull syncs the value-log files that are full, without the token, so that
// Close has little left to wait for.
func (s *Store) syncFull() error {
	var names []string
	err := s.alone(func() error {
		if s.ahead != nil {
			names = slices.Clone(s.ahead.unsynced)
		}
		return nil
	})
	if err != nil || len(names) == 0 {
		return err
	}
	if err := syncFiles(names); err != nil {
		return err
	}
	return s.alone(func() error {
		s.ahead.unsynced = slices.DeleteFunc(s.ahead.unsynced, func(name string) bool { return slices.Contains(names, name) })
		return nil
	})
}

// reclaim gives back the disk space of deleted pieces. Badger learns what is
// garbage when tables are merged, so that is done first. Each step is done by do,
// which has the token.
func (s *Store) reclaim(ratio float64, do func(func() error) error) error {
	if err := do(s.merge); err != nil {
		return err
	}
	for {
		err := do(func() error { return s.rewrite(ratio) })
		if errors.Is(err, badger.ErrNoRewrite) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// reclaimNow gives back disk space until enough says so, rewriting files with less
// and less garbage. Its caller holds the token.
func (s *Store) reclaimNow(enough func() bool, ratios ...float64) error {
	garbage := s.garbage.Swap(0)
	if garbage == 0 {
		return nil
	}
	err := s.bury()
	for _, ratio := range ratios {
		if err == nil && !enough() {
			err = s.reclaim(ratio, func(step func() error) error { return step() })
		}
	}
	if err != nil {
		s.garbage.Add(garbage)
	}
	return err
}

// merge flushes the memtable and merges all tables: a key is written and dropped,
// which makes Badger do the one, and flattening does the other.
func (s *Store) merge() error {
	b := batch{s: s, ctx: s.ctx}
	defer b.discard()
	if err := b.set([]byte{scratchTag}, nil); err != nil {
		return err
	}
	if err := b.commit(); err != nil {
		return err
	}
	lsm, _ := s.db.EstimateSize(nil)
	if !s.guard.room(int64(lsm) + slack) {
		return cache.ErrNoSpace
	}
	if err := s.ahead.reserve(0, 0); err != nil { // for the new memtable
		return err
	}
	defer s.ahead.resync()
	if err := s.db.DropPrefix([]byte{scratchTag}); err != nil {
		s.failed(err)
		// Else memtables that were let go of halfway are in Badger's lists still, and the
		// next one to look through these would end the process. The logs have everything.
		s.giveUp(errTorn, err)
		return err
	}
	err := s.db.Flatten(1)
	s.failed(err)
	return err
}

// rewrite frees the value-log file with the most garbage, moving what lives.
func (s *Store) rewrite(ratio float64) error {
	if !s.guard.room(s.sizes.valueLog + slack) {
		return cache.ErrNoSpace
	}
	if err := s.ahead.reserve(0, 0); err != nil {
		return err
	}
	defer s.ahead.resync()
	s.unsynced = true
	err := s.db.RunValueLogGC(ratio)
	s.failed(err)
	return err
}
