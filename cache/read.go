package cache

import (
	"errors"
	"fmt"
	"math"
)

// load is a piece on its way from disk through its hash check, for all who wait
// for it.
type load struct{ done chan struct{} }

// window is a range of pieces to check ahead of a sequential reader.
type window struct{ next, end int }

// maxLoaders is how many pieces are checked ahead at once. With one, a reader
// is no faster than one core hashes.
const maxLoaders = 4

// ReadAt implements Store. It may wait for the disk and for a piece's hash.
func (c *Cache) ReadAt(dst []byte, index, off int) error {
	for {
		ok, err := c.readOnce(dst, index, off)
		if ok || err != nil {
			return err
		}
	}
}

// readOnce reads, or takes a step towards it and returns false.
func (c *Cache) readOnce(dst []byte, index, off int) (ok bool, err error) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return false, ErrClosed
	}
	if err := c.cfg.CheckRange(index, off, len(dst)); err != nil {
		c.mu.Unlock()
		return false, err
	}
	s := &c.slots[index]
	switch r, l := s.ram, s.load; {
	case r != nil:
		c.hit(r, len(dst))
		c.mu.Unlock()
		copy(dst, r.Bytes()[off:])
		r.Release()
		return true, nil
	case !s.onDisk:
		c.mu.Unlock()
		return false, ErrMiss
	case s.checked:
		c.noteRead(index)
		whole := c.countRead(index, len(dst))
		c.stats.DiskHits++
		c.mu.Unlock()
		ok, err := c.readDisk(dst, index, off)
		if ok && whole {
			c.mu.Lock()
			c.coolDown(index)
			c.mu.Unlock()
		}
		return ok, err
	case l != nil:
		c.noteRead(index)
		c.mu.Unlock()
		<-l.done
		return false, nil
	default:
		c.noteRead(index)
		l := c.startLoad(index)
		c.mu.Unlock()
		return false, c.load(index, l)
	}
}

// Lend implements Lender.
func (c *Cache) Lend(index, n int) (p Piece, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.cfg.CheckRange(index, 0, n) != nil || c.slots[index].ram == nil {
		return Piece{}, false
	}
	r := c.slots[index].ram
	c.hit(r, n)
	return r.Piece, true
}

// hit books a read of n bytes of r and takes a reference to it. c.mu is held.
func (c *Cache) hit(r *resident, n int) {
	c.touch(r)
	c.noteRead(r.Index())
	c.countRead(r.Index(), n)
	c.stats.RAMHits++
}

// countRead notes a read of n bytes and reports whether piece i has been read as a
// whole. c.mu is held.
func (c *Cache) countRead(i, n int) bool {
	s := &c.slots[i]
	s.read = uint32(min(uint64(s.read)+uint64(n), math.MaxUint32))
	return c.readWhole(i)
}

func (c *Cache) readWhole(i int) bool { return uint64(c.slots[i].read) >= uint64(c.cfg.PieceSize(i)) }

// coolDown tells the disk that piece i has been read as a whole. c.mu is held.
func (c *Cache) coolDown(i int) {
	s := &c.slots[i]
	s.read = 0
	if disk, ok := c.cfg.Disk.(Cooler); ok && s.ram == nil && s.onDisk && disk.Cool(i) {
		s.checked = false
	}
}

// touch takes a reference to r for reading. c.mu is held.
func (c *Cache) touch(r *resident) {
	r.Retain()
	if !r.dirty {
		c.clean.MoveToFront(r.elem)
	}
}

// readDisk reads a range of a piece that was checked before.
func (c *Cache) readDisk(dst []byte, index, off int) (ok bool, err error) {
	if err := c.cfg.Disk.ReadAt(dst, index, off); err != nil {
		if errors.Is(err, ErrClosed) {
			return false, err
		}
		var a after
		c.mu.Lock()
		if s := &c.slots[index]; s.onDisk && s.ram == nil && !c.closed {
			c.damaged(index, err, &a)
		}
		c.mu.Unlock()
		c.finish(&a)
		return false, nil
	}
	return true, nil
}

// damaged drops a piece that the disk has lost or spoilt. c.mu is held.
func (c *Cache) damaged(index int, err error, a *after) {
	err = fmt.Errorf("cache: piece %d is damaged on disk: %w", index, err)
	c.stats.Damaged++
	c.forget(index, nil, a)
	a.lost = append(a.lost, loss{index, err})
}

// startLoad marks piece index as being loaded. c.mu is held.
func (c *Cache) startLoad(index int) *load {
	l := &load{done: make(chan struct{})}
	c.slots[index].load = l
	return l
}

// load reads a whole piece from disk, checks its hash, and keeps it in RAM if
// there is room. A damaged piece is no error of load's, but a miss from then on.
func (c *Cache) load(index int, l *load) error {
	defer close(l.done)
	size := c.cfg.PieceSize(index)
	var p Piece
	var err error
	reserved := c.reserve(size)
	if reserved > 0 {
		p, err = c.loadPiece(index, size)
	} else {
		err = c.checkPiece(index, size)
	}
	var a after
	c.mu.Lock()
	c.used -= reserved
	err = c.endLoad(index, l, p, err, &a)
	c.broadcast()
	c.mu.Unlock()
	c.finish(&a)
	return err
}

// endLoad books the result of load; p has no buffer if the piece was damaged or
// is not to be kept. c.mu is held.
func (c *Cache) endLoad(index int, l *load, p Piece, err error, a *after) error {
	s := &c.slots[index]
	current := s.load == l && !c.closed // not deleted meanwhile
	switch {
	case p.buf != nil && current:
		c.insert(p, false)
	case p.buf != nil:
		a.free = append(a.free, p)
	}
	if !current {
		return nil
	}
	s.load = nil
	switch {
	case err == nil:
		s.checked = true
	case errors.Is(err, ErrClosed):
		return err
	default:
		c.damaged(index, err, a)
	}
	return nil
}

// reserve makes room for a piece of size bytes in RAM and returns the bytes to
// give back, or 0 if the piece has to be checked without being kept: it is too
// large beside the tier, or dirty pieces have the room.
func (c *Cache) reserve(size int) int64 {
	n := int64(size)
	if n > c.cfg.RAM/4 || size > c.pool.Size() {
		return 0
	}
	var a after
	c.mu.Lock()
	ok := c.makeRoom(n, &a)
	if ok {
		c.used += n
	}
	c.mu.Unlock()
	c.finish(&a)
	if !ok {
		return 0
	}
	return n
}

// loadPiece reads and checks a piece in a buffer of its own.
func (c *Cache) loadPiece(index, size int) (Piece, error) {
	buf := c.pool.Get(size)
	err := c.cfg.Disk.ReadAt(buf.Bytes(), index, 0)
	if err == nil {
		var p Piece
		if p, err = Verify(index, c.cfg.Sum(index), buf); err == nil {
			return p, nil
		}
	}
	buf.Release()
	return Piece{}, err
}

// checkPiece checks a piece on disk without keeping it.
func (c *Cache) checkPiece(index, size int) error {
	return Check(c.cfg.Sum(index), size, func(dst []byte, off int) error {
		return c.cfg.Disk.ReadAt(dst, index, off)
	})
}

// noteRead remembers that piece index is read. When the one before it was read
// lately, those after it are checked ahead. c.mu is held.
func (c *Cache) noteRead(index int) {
	sequential := false
	for _, i := range c.recent {
		if i == index {
			return
		}
		sequential = sequential || i == index-1
	}
	c.recent[c.recentI] = index
	c.recentI = (c.recentI + 1) % len(c.recent)
	if !sequential || c.cfg.Disk == nil {
		return
	}
	pieces := max(1, int(min(aheadBytes, c.cfg.RAM/4))/max(1, c.longest))
	next, end := index+1, min(index+1+pieces, len(c.slots))
	if c.ahead.next > next && c.ahead.next <= end {
		next = c.ahead.next
	}
	c.ahead = window{next, end}
	c.startLoaders()
}

// startLoaders starts as many loaders as there is work for. c.mu is held.
func (c *Cache) startLoaders() {
	for c.loaders < maxLoaders {
		index, l := c.nextAhead()
		if l == nil {
			return
		}
		c.loaders++
		c.wg.Go(func() { c.loadAhead(index, l) })
	}
}

// nextAhead takes the next piece of the window that needs a check. c.mu is held.
func (c *Cache) nextAhead() (int, *load) {
	for c.ahead.next < c.ahead.end && !c.closed {
		i := c.ahead.next
		c.ahead.next++
		if s := &c.slots[i]; s.onDisk && !s.checked && s.ram == nil && s.load == nil {
			return i, c.startLoad(i)
		}
	}
	return 0, nil
}

// loadAhead is a loader: it runs while the window has pieces to check.
func (c *Cache) loadAhead(index int, l *load) {
	for l != nil {
		c.load(index, l)
		c.mu.Lock()
		index, l = c.nextAhead()
		if l == nil {
			c.loaders--
		}
		c.mu.Unlock()
	}
}
