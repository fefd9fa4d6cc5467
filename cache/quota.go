package cache

import "fmt"

// writeMark is a place in the order in which pieces came to disk. It counts
// while the piece's slot has the same mark and is on disk.
type writeMark struct {
	index int
	mark  uint64
}

// evict deletes the pieces that came to disk first, except pinned ones, until n
// more bytes are within the quota. The writer calls it.
func (c *Cache) evict(n int64) error {
	if c.cfg.Quota <= 0 {
		return nil
	}
	var kept []writeMark
	defer func() { c.keepMarks(kept) }()
	for {
		m, state := c.oldest(n)
		switch {
		case state == fits:
			return nil
		case state == nothing:
			return fmt.Errorf("cache: quota of %d bytes is in use by pieces that readers need: %w", c.cfg.Quota, ErrQuota)
		case c.cfg.Pinned(m.index):
			kept = append(kept, m)
		default:
			c.evictPiece(m)
		}
	}
}

type room int

const (
	fits room = iota
	nothing
	candidate
)

// oldest takes the first valid mark from the queue if n more bytes do not fit.
func (c *Cache) oldest(n int64) (writeMark, room) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.onDisk+n <= c.cfg.Quota {
		return writeMark{}, fits
	}
	for len(c.written) > 0 {
		m := c.written[0]
		c.written = c.written[1:]
		if s := &c.slots[m.index]; s.onDisk && s.mark == m.mark {
			return m, candidate
		}
	}
	return writeMark{}, nothing
}

// keepMarks puts pinned marks back to the front of the queue.
func (c *Cache) keepMarks(kept []writeMark) {
	if len(kept) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.written = append(kept, c.written...)
}

// evictPiece deletes one piece and reports it.
func (c *Cache) evictPiece(m writeMark) {
	var a after
	c.mu.Lock()
	s := &c.slots[m.index]
	if !s.onDisk || s.mark != m.mark {
		c.mu.Unlock()
		return
	}
	if s.ram != nil && !s.ram.dirty {
		c.remove(m.index, &a)
	}
	s.load = nil
	c.clearOnDisk(m.index)
	if !s.had() {
		a.lost = append(a.lost, loss{index: m.index, err: ErrEvicted})
	}
	c.mu.Unlock()
	if err := c.cfg.Disk.Delete(m.index); err != nil {
		c.cfg.Logger.Warn("cache: cannot evict piece", "piece", m.index, "err", err)
	}
	c.finish(&a)
}
