package cache

import (
	"context"
	"errors"
	"slices"
	"time"
)

// deletion is a piece that the writer must delete from the disk. The writer
// alone changes the disk, so that a piece that is deleted and put again cannot
// be overtaken by its own deletion.
type deletion struct {
	index int
	done  chan<- error // gets the result, has room for it; nil means that nobody waits
}

// Put implements Store. It waits for room in the RAM tier, not for the disk to
// have the pieces.
func (c *Cache) Put(ctx context.Context, pieces ...Piece) error {
	var errs []error
	for _, p := range pieces {
		if err := c.put(ctx, p); err != nil {
			p.Release()
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// put takes over the reference to p if it returns nil.
func (c *Cache) put(ctx context.Context, p Piece) error {
	if err := c.cfg.CheckPiece(p); err != nil {
		return err
	}
	for {
		var a after
		c.mu.Lock()
		ok, err := c.tryPut(p, &a)
		if !ok && err == nil && len(a.free) == 0 {
			err = c.wait(ctx)
		}
		c.mu.Unlock()
		c.finish(&a)
		if ok || err != nil {
			return err
		}
	}
}

// tryPut puts p if there is room for it, or nothing to wait for. c.mu is held.
func (c *Cache) tryPut(p Piece, a *after) (ok bool, err error) {
	if c.closed {
		return false, ErrClosed
	}
	if c.slots[p.Index()].had() {
		a.free = append(a.free, p)
		return true, nil
	}
	n := p.memory()
	room := c.makeRoom(n, a)
	if !room && c.stuck {
		c.dropOldest(n, a)
		room = c.used+n <= c.cfg.RAM
	}
	if !room && c.used > 0 {
		return false, nil
	}
	c.insert(p, c.writes())
	c.startWriter()
	return true, nil
}

// Delete implements Store.
func (c *Cache) Delete(index int) error {
	var a after
	done := make(chan error, 1)
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return ErrClosed
	}
	if index < 0 || index >= len(c.slots) || !c.slots[index].had() {
		c.mu.Unlock()
		return nil
	}
	c.forget(index, done, &a)
	c.mu.Unlock()
	c.finish(&a)
	return <-done
}

// forget drops piece index from both tiers, the disk's copy by and by. c.mu is
// held.
func (c *Cache) forget(index int, done chan<- error, a *after) {
	if c.slots[index].ram != nil {
		c.remove(index, a)
	}
	c.slots[index].load = nil
	c.clearOnDisk(index)
	c.broadcast()
	if c.cfg.Disk == nil {
		if done != nil {
			done <- nil
		}
		return
	}
	c.deletes = append(c.deletes, deletion{index, done})
	c.startWriter()
}

// Flush implements Store. While the disk refuses, it makes it try once more and
// returns its error.
func (c *Cache) Flush(ctx context.Context) error {
	c.mu.Lock()
	closed := c.closed
	c.mu.Unlock()
	if closed {
		return ErrClosed
	}
	return c.flush(ctx)
}

func (c *Cache) flush(ctx context.Context) error {
	if c.cfg.Disk == nil {
		return ctx.Err()
	}
	if err := c.drain(ctx); err != nil {
		return err
	}
	return c.cfg.Disk.Flush(ctx)
}

// drain waits until the disk has taken, or refused, what is dirty now.
func (c *Cache) drain(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	last, failures := c.seq, c.failures
	c.force = c.force || c.failing != nil
	c.startWriter()
	for {
		e := c.dirty.Front()
		switch {
		case e == nil || e.Value.(*resident).seq > last:
			return nil
		case c.failing != nil && c.failures > failures:
			return c.failing
		}
		if err := c.wait(ctx); err != nil {
			return err
		}
	}
}

// startWriter makes sure that the writer sees new work. c.mu is held.
func (c *Cache) startWriter() {
	switch {
	case c.dirty.Len() == 0 && len(c.deletes) == 0 && !c.trim:
	case c.writing:
		select {
		case c.wake <- struct{}{}:
		default:
		}
	default:
		c.writing = true
		c.wg.Go(c.write)
	}
}

// write is the writer: it runs while there is something to write or delete.
func (c *Cache) write() {
	for {
		c.mu.Lock()
		dels := c.deletes
		c.deletes = nil
		trim := c.trim && len(dels) == 0
		c.trim = c.trim && !trim
		if len(dels) == 0 && !trim && (c.dirty.Len() == 0 || c.ctx.Err() != nil) {
			c.writing = false
			c.mu.Unlock()
			return
		}
		idle := time.Until(c.retryAt)
		if c.failing == nil || c.force {
			idle = 0
		}
		c.mu.Unlock()
		switch {
		case len(dels) > 0:
			c.deleteAll(dels)
		case trim:
			_ = c.evict(0) // what readers need stays until they have read it
		case idle > 0:
			c.sleep(idle)
		default:
			c.writeBatch()
		}
	}
}

// sleep waits for d, new work, or Close.
func (c *Cache) sleep(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.wake:
	case <-c.ctx.Done():
	}
}

func (c *Cache) deleteAll(dels []deletion) {
	for _, d := range dels {
		err := c.cfg.Disk.Delete(d.index)
		if d.done != nil {
			d.done <- err
		} else if err != nil {
			c.cfg.Logger.Warn("cache: cannot delete piece", "piece", d.index, "err", err)
		}
	}
}

// writeBatch hands the oldest dirty pieces to the disk.
func (c *Cache) writeBatch() {
	c.mu.Lock()
	c.force = false
	batch, size := c.takeBatch()
	c.mu.Unlock()
	err := c.evict(size)
	if err == nil {
		pieces := make([]Piece, len(batch))
		for i, r := range batch {
			pieces[i] = r.Retain()
		}
		err = c.cfg.Disk.Put(c.ctx, pieces...)
	}
	stored := make([]bool, len(batch))
	for i, r := range batch {
		stored[i] = err == nil || c.cfg.Disk.Has(r.Index())
		r.Release()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, r := range batch {
		r.writing = false
		if stored[i] && c.slots[r.Index()].ram == r {
			c.markClean(r)
		}
	}
	c.settle(err, slices.Contains(stored, true))
	c.broadcast()
}

// takeBatch returns the next pieces to write, with a reference to each, and
// their bytes. c.mu is held.
func (c *Cache) takeBatch() (batch []*resident, size int64) {
	limit := int64(batchBytes)
	if c.cfg.Quota > 0 {
		limit = min(limit, c.cfg.Quota/8) // in small steps: what is evicted for it is gone
	}
	for e := c.dirty.Front(); e != nil; e = e.Next() {
		r := e.Value.(*resident)
		if size += int64(r.Len()); size > limit && len(batch) > 0 {
			return batch, size - int64(r.Len())
		}
		r.Retain()
		r.writing = true
		batch = append(batch, r)
	}
	return batch, size
}

// settle notes how a write ended. One that stored some pieces is followed by the
// next at once, so that a single piece that the disk refuses does not hold up the
// others. c.mu is held.
func (c *Cache) settle(err error, progress bool) {
	c.stuck = err != nil && !progress
	switch {
	case err == nil && c.failing != nil:
		c.failing = nil
		c.cfg.Logger.Info("cache: the disk takes pieces again")
	case err != nil:
		if c.failing == nil {
			c.cfg.Logger.Warn("cache: cannot write to disk, going on from RAM", "err", err)
		}
		c.failing = err
		c.failures++
		c.stats.WriteErrs++
		c.retryAt = time.Now()
		if c.stuck {
			c.retryAt = c.retryAt.Add(retryEvery)
		}
	}
}
