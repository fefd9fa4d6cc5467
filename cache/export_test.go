package cache

import "fmt"

// CheckInvariants compares the Cache's books with what they are about.
func (c *Cache) CheckInvariants() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var count, resident int
	var bytes, used, onDisk int64
	for i, s := range c.slots {
		n := int64(c.cfg.PieceSize(i))
		if s.had() {
			count++
			bytes += n
		}
		if s.onDisk {
			onDisk += n
		}
		if s.checked && !s.onDisk {
			return fmt.Errorf("piece %d: checked, but not on disk", i)
		}
		if s.ram == nil {
			continue
		}
		resident++
		used += s.ram.memory()
		switch {
		case s.ram.dirty && s.onDisk, !s.ram.dirty && !s.onDisk && c.writes():
			return fmt.Errorf("piece %d: dirty %t, on disk %t", i, s.ram.dirty, s.onDisk)
		}
	}
	listed := c.clean.Len() + c.dirty.Len()
	if count != c.count || bytes != c.bytes || onDisk != c.onDisk || resident != listed {
		return fmt.Errorf("%d pieces, %d bytes, %d on disk, %d in RAM; booked %d, %d, %d, %d",
			count, bytes, onDisk, resident, c.count, c.bytes, c.onDisk, listed)
	}
	// The rest of what is booked are loads in progress.
	if used > c.used || used != c.used && c.closed {
		return fmt.Errorf("%d bytes of RAM, booked %d", used, c.used)
	}
	if c.used > c.cfg.RAM && resident > 1 {
		return fmt.Errorf("%d bytes of RAM booked, limit %d", c.used, c.cfg.RAM)
	}
	return nil
}
