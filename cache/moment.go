package cache

// HadIn returns how many of the pieces [from, end) are had, and whether the first and
// the last of them are, all at one moment. An empty range has none.
func (c *Cache) HadIn(from, end int) (n int, first, last bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := from; i < end && !c.closed; i++ {
		if last = c.slots[i].had(); last {
			n++
			first = first || i == from
		}
	}
	return n, first, last
}

// Next returns the first of the pieces [from, end) that is had, or that is not, as all
// of them are at one moment; end if there is none.
func (c *Cache) Next(from, end int, had bool) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := from; i < end; i++ {
		if had == (c.slots[i].had() && !c.closed) {
			return i
		}
	}
	return end
}
