package cache

import (
	"sync"

	"github.com/qqbtfs/qqbtfs/cache/merkle"
)

// Partial is a piece on its way into a Store, of which blocks can be read as soon
// as each was checked against its own hash (BEP 52): what a Piece is for whole
// pieces. It gives no byte of a block before Verify has seen it right. All methods
// are safe for concurrent use.
type Partial struct {
	mu     sync.Mutex // guards these; a leaf
	buf    *Buffer    // nil after Release
	proven []bool     // by block
}

// NewPartial returns the view of a piece that is being put together in buf, with
// no block in it. It holds a reference of its own to buf.
func NewPartial(buf *Buffer) *Partial {
	buf.Retain()
	return &Partial{buf: buf, proven: make([]bool, merkle.Blocks(int64(len(buf.Bytes()))))}
}

// Verify hashes a block, by its number, whose bytes are all in the buffer and must
// not be written from now on. It returns ErrHash if its leaf is another, ErrMiss
// after Release.
func (p *Partial) Verify(block int, leaf merkle.Hash) error {
	buf := p.hold()
	if buf == nil {
		return ErrMiss
	}
	defer buf.Release()
	data := buf.Bytes()[block*merkle.BlockSize:]
	if merkle.Leaf(data[:min(len(data), merkle.BlockSize)]) != leaf {
		return ErrHash
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.proven[block] = true
	return nil
}

// ReadAt fills dst with the bytes of the piece from off on. It returns ErrMiss
// unless every block of them was verified.
func (p *Partial) ReadAt(dst []byte, off int) error {
	buf := p.holdRange(off, len(dst))
	if buf == nil {
		return ErrMiss
	}
	defer buf.Release()
	copy(dst, buf.Bytes()[off:])
	return nil
}

// Release gives the buffer back. There is nothing to read any more.
func (p *Partial) Release() {
	p.mu.Lock()
	buf := p.buf
	p.buf = nil
	p.mu.Unlock()
	if buf != nil {
		buf.Release()
	}
}

// hold returns the buffer with a reference to it, or nil.
func (p *Partial) hold() *Buffer {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.buf != nil {
		p.buf.Retain()
	}
	return p.buf
}

// holdRange is hold if n bytes from off on are of the piece and verified.
func (p *Partial) holdRange(off, n int) *Buffer {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.buf == nil || off < 0 || n <= 0 || n > len(p.buf.Bytes())-off {
		return nil
	}
	for b := off / merkle.BlockSize; b <= (off+n-1)/merkle.BlockSize; b++ {
		if !p.proven[b] {
			return nil
		}
	}
	p.buf.Retain()
	return p.buf
}
