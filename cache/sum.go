package cache

import (
	"crypto/sha1"
	"hash"
	"sync"

	"github.com/qqbtfs/qqbtfs/cache/merkle"
)

// Sum is what a piece must hash to, in one way or in two. The zero Sum matches
// nothing.
type Sum struct {
	v1 *sha1Sum // nil: has no v1 hash
	v2 *rootSum // nil: has no v2 hash
}

// sha1Sum is the hash of a piece with so many zeros behind it.
type sha1Sum struct {
	sum   [sha1.Size]byte
	zeros int
}

// rootSum is the root of a tree with so many layers above its leaves.
type rootSum struct {
	root   merkle.Hash
	height int
}

// SHA1 returns the Sum of a v1 piece (BEP 3, pieces).
func SHA1(sum [sha1.Size]byte) Sum { return SHA1Padded(sum, 0) }

// SHA1Padded returns the Sum of a v1 piece whose last bytes are of a padding file
// (BEP 47): zeros, which are hashed and not kept.
func SHA1Padded(sum [sha1.Size]byte, zeros int) Sum { return Sum{v1: &sha1Sum{sum, zeros}} }

// Root returns the Sum of a v2 piece (BEP 52): the root of the tree of its blocks,
// height layers above them.
func Root(root merkle.Hash, height int) Sum { return Sum{v2: &rootSum{root, height}} }

// And returns the Sum that matches what both do: that of a piece of a hybrid
// torrent (BEP 52, Upgrade Path: "they must also verify that pieces match both
// piece hash formats").
func (s Sum) And(o Sum) Sum {
	if s.v1 == nil {
		s.v1 = o.v1
	}
	if s.v2 == nil {
		s.v2 = o.v2
	}
	return s
}

func (s Sum) matches(data []byte) bool {
	c := s.start()
	c.write(data)
	return c.ok()
}

// checking compares bytes that come in order with a Sum. All but the last are
// whole blocks.
type checking struct {
	sum  Sum
	sha1 hash.Hash
	tree merkle.Stack
}

func (s Sum) start() *checking {
	c := &checking{sum: s}
	if s.v1 != nil {
		c.sha1 = sha1.New()
	}
	return c
}

func (c *checking) write(b []byte) {
	if c.sum.v1 != nil {
		c.sha1.Write(b)
	}
	if c.sum.v2 != nil {
		c.tree.Write(b)
	}
}

var zeros [64 << 10]byte

func (c *checking) ok() bool {
	v1, v2 := c.sum.v1, c.sum.v2
	if v1 != nil {
		for n := v1.zeros; n > 0; n -= len(zeros) {
			c.sha1.Write(zeros[:min(n, len(zeros))])
		}
		if [sha1.Size]byte(c.sha1.Sum(nil)) != v1.sum {
			return false
		}
	}
	return (v1 != nil || v2 != nil) && (v2 == nil || c.tree.Root(0, v2.height) == v2.root)
}

// scratch holds the buffers of Check.
var scratch = sync.Pool{New: func() any { return new([256 << 10]byte) }}

// Check hashes n bytes that need not fit into memory at once: read fills dst
// with the bytes at off, in order. It returns ErrHash if they are not what sum
// says, or the first error of read.
func Check(sum Sum, n int, read func(dst []byte, off int) error) error {
	b := scratch.Get().(*[256 << 10]byte)
	defer scratch.Put(b)
	c := sum.start()
	for off := 0; off < n; off += len(b) {
		chunk := b[:min(len(b), n-off)]
		if err := read(chunk, off); err != nil {
			return err
		}
		c.write(chunk)
	}
	if !c.ok() {
		return ErrHash
	}
	return nil
}
