package cache

import (
	"sync"
	"sync/atomic"
)

// Pool hands out piece buffers of up to one size and keeps a bounded number of
// returned ones, so that a download runs in constant memory. It is safe for
// concurrent use.
type Pool struct {
	size int

	inUse atomic.Int64

	mu   sync.Mutex
	free [][]byte
	keep int
}

// NewPool returns a pool of buffers of size bytes that keeps at most keep of
// them while they are unused.
func NewPool(size, keep int) *Pool { return &Pool{size: size, keep: keep} }

// Get returns a buffer of n <= size bytes with undefined content and one
// reference, which is the caller's. A buffer of at most half the size is made
// for the occasion, so that short pieces do not occupy the memory of long ones.
func (p *Pool) Get(n int) *Buffer {
	if n > p.size {
		panic("BUG: cache: buffer larger than its pool's size")
	}
	p.inUse.Add(1)
	buf := &Buffer{b: p.take(n), pool: p}
	buf.refs.Store(1)
	return buf
}

func (p *Pool) take(n int) []byte {
	if n <= p.size/2 {
		return make([]byte, n)
	}
	p.mu.Lock()
	if k := len(p.free); k > 0 {
		b := p.free[k-1]
		p.free = p.free[:k-1]
		p.mu.Unlock()
		return b[:n]
	}
	p.mu.Unlock()
	return make([]byte, n, p.size)
}

// Size returns the largest buffer that the pool gives, in bytes.
func (p *Pool) Size() int { return p.size }

// InUse returns how many buffers were handed out and not given back yet.
func (p *Pool) InUse() int { return int(p.inUse.Load()) }

func (p *Pool) put(b []byte) {
	p.inUse.Add(-1)
	if cap(b) < p.size {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.free) < p.keep {
		p.free = append(p.free, b)
	}
}

// Buffer is a reference-counted run of bytes. With the last Release it goes
// back to its pool.
type Buffer struct {
	b    []byte
	pool *Pool
	refs atomic.Int32
}

// NewBuffer wraps b, which belongs to the Buffer from now on, outside any pool.
func NewBuffer(b []byte) *Buffer {
	buf := &Buffer{b: b}
	buf.refs.Store(1)
	return buf
}

// Bytes returns the buffer's bytes, valid until the caller's Release.
func (b *Buffer) Bytes() []byte { return b.b }

// Retain adds a reference. The caller must hold one already.
func (b *Buffer) Retain() { b.refs.Add(1) }

// Release gives a reference back.
func (b *Buffer) Release() {
	switch n := b.refs.Add(-1); {
	case n < 0:
		panic("BUG: cache: buffer released twice")
	case n == 0 && b.pool != nil:
		p, mem := b.pool, b.b
		b.b = nil
		p.put(mem)
	}
}
