package cache

// This file is the bookkeeping of the Cache: every change of a slot goes through
// one of these methods. All but finish and wait want c.mu held.

import (
	"container/list"
	"context"
	"fmt"
)

// after collects what must happen once c.mu is released.
type after struct {
	free []Piece
	lost []loss
}

type loss struct {
	index int
	err   error
}

// finish does what a collected. It is called without locks.
func (c *Cache) finish(a *after) {
	for _, p := range a.free {
		p.Release()
	}
	for _, l := range a.lost {
		c.cfg.OnLost(l.index, l.err)
	}
}

// change applies f to slot i and keeps the account of what is had.
func (c *Cache) change(i int, f func(s *slot)) {
	s := &c.slots[i]
	before := s.had()
	f(s)
	if s.had() == before {
		return
	}
	n := int64(c.cfg.PieceSize(i))
	if before {
		c.count--
		c.bytes -= n
	} else {
		c.count++
		c.bytes += n
	}
}

// setOnDisk notes that the disk has piece i.
func (c *Cache) setOnDisk(i int, checked bool) {
	c.change(i, func(s *slot) {
		if !s.onDisk {
			c.onDisk += int64(c.cfg.PieceSize(i))
			s.mark++
			c.written = append(c.written, writeMark{i, s.mark})
		}
		s.onDisk, s.checked = true, checked
	})
}

// clearOnDisk notes that the disk does not have piece i.
func (c *Cache) clearOnDisk(i int) {
	c.change(i, func(s *slot) {
		if s.onDisk {
			c.onDisk -= int64(c.cfg.PieceSize(i))
		}
		s.onDisk, s.checked = false, false
	})
}

// insert puts p into the RAM tier, whose room was made before. It takes over
// the caller's reference.
func (c *Cache) insert(p Piece, dirty bool) {
	r := &resident{Piece: p, dirty: dirty}
	c.used += p.memory()
	if dirty {
		c.seq++
		r.seq = c.seq
		r.elem = c.dirty.PushBack(r)
	} else {
		r.elem = c.clean.PushFront(r)
	}
	c.change(p.Index(), func(s *slot) { s.ram = r })
}

// remove takes piece i out of the RAM tier.
func (c *Cache) remove(i int, a *after) {
	r := c.slots[i].ram
	if r.dirty {
		c.dirty.Remove(r.elem)
	} else {
		c.clean.Remove(r.elem)
	}
	c.used -= r.memory()
	c.change(i, func(s *slot) { s.ram = nil })
	a.free = append(a.free, r.Piece)
}

// markClean notes that the disk has the dirty r, too.
func (c *Cache) markClean(r *resident) {
	c.dirty.Remove(r.elem)
	r.dirty = false
	r.elem = c.clean.PushFront(r)
	c.setOnDisk(r.Index(), true)
}

// makeRoom drops clean pieces until n more bytes fit, and reports whether they
// do. Without a disk, what it drops is lost.
func (c *Cache) makeRoom(n int64, a *after) bool {
	for c.used+n > c.cfg.RAM {
		e := c.clean.Back()
		if e == nil {
			return false
		}
		i := e.Value.(*resident).Index()
		if c.drop(e, ErrEvicted, a); c.readWhole(i) {
			c.coolDown(i)
		}
	}
	return true
}

// dropOldest drops dirty pieces until n more bytes fit, except those that the
// writer has in its hands.
func (c *Cache) dropOldest(n int64, a *after) {
	var next *list.Element
	for e := c.dirty.Front(); e != nil && c.used+n > c.cfg.RAM; e = next {
		next = e.Next()
		if !e.Value.(*resident).writing {
			c.drop(e, fmt.Errorf("%w: %w", ErrEvicted, c.failing), a)
		}
	}
}

// drop removes the resident of list element e, a loss if it was the only copy.
func (c *Cache) drop(e *list.Element, err error, a *after) {
	i := e.Value.(*resident).Index()
	c.remove(i, a)
	if !c.slots[i].had() {
		a.lost = append(a.lost, loss{index: i, err: err})
	}
}

// broadcast wakes everyone in wait.
func (c *Cache) broadcast() {
	close(c.moved)
	c.moved = make(chan struct{})
}

// wait gives up c.mu until the next broadcast, or the end of ctx.
func (c *Cache) wait(ctx context.Context) error {
	moved := c.moved
	c.mu.Unlock()
	defer c.mu.Lock()
	select {
	case <-moved:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
