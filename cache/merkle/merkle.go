// Package merkle is the arithmetic of BitTorrent v2's hash trees (BEP 52).
//
// A file's content is cut into blocks of 16 KiB, whose SHA-256 hashes are the
// leaves: layer 0. Each hash of a layer above covers two of the layer below. A
// layer is as wide as it takes to make its tree binary: what lies behind the
// file's end counts as leaves of zeros, so that whole subtrees of them have known
// hashes, see Pad. They are never stored or sent by themselves.
//
// The layer at which one hash covers one piece is the piece layer. A tree knows
// its hashes from one layer up, without the padding.
//
// It lies below package cache, which checks pieces with it, and knows nothing of
// torrents, pieces or files.
package merkle

import (
	"crypto/sha256"
	"math/bits"
)

// BlockSize is how many bytes one leaf covers (BEP 52, pieces root).
const BlockSize = 16 << 10

// MaxLayers is the most layers that a tree can have above its leaves: that of a
// file of 2^63 bytes.
const MaxLayers = 49

// Hash is a node of a tree.
type Hash [sha256.Size]byte

// Leaf returns the leaf of a block, which is shorter at the end of a file only.
func Leaf(block []byte) Hash { return sha256.Sum256(block) }

// Parent returns the hash above two.
func Parent(left, right Hash) Hash {
	var b [2 * sha256.Size]byte
	copy(b[:], left[:])
	copy(b[sha256.Size:], right[:])
	return sha256.Sum256(b[:])
}

// pads are the hashes of trees of zeros, by their height.
var pads = func() (p [MaxLayers + 1]Hash) {
	for i := 1; i < len(p); i++ {
		p[i] = Parent(p[i-1], p[i-1])
	}
	return p
}()

// Pad returns the hash at a layer that covers nothing but what lies behind the
// end of the file.
func Pad(layer int) Hash { return pads[layer] }

// Height returns how many layers a tree has above a layer of n hashes, n > 0.
func Height(n int64) int { return bits.Len64(uint64(n - 1)) }

// Blocks returns how many leaves size bytes have.
func Blocks(size int64) int64 { return (size-1)/BlockSize + 1 }

// Stack computes the root of hashes that come one after the other, in constant
// memory. The zero Stack is empty.
type Stack struct {
	n    uint64
	full [MaxLayers + 1]Hash // by height; there when n has that bit
}

// Add takes in the next hash of the lowest layer.
func (s *Stack) Add(h Hash) {
	level := 0
	for ; s.n>>level&1 == 1; level++ {
		h = Parent(s.full[level], h)
	}
	s.full[level] = h
	s.n++
}

// Write takes in the leaves of whole blocks; only the last bytes of all may be no
// whole block.
func (s *Stack) Write(data []byte) {
	for len(data) > 0 {
		n := min(len(data), BlockSize)
		s.Add(Leaf(data[:n]))
		data = data[n:]
	}
}

// Root returns the root that lies height layers above what was added, which is of
// the given layer. There is room for all of it.
func (s *Stack) Root(layer, height int) Hash {
	if s.n > 1<<height {
		panic("BUG: merkle: more hashes than the tree is wide")
	}
	if s.n == 0 {
		return Pad(layer + height)
	}
	level := bits.TrailingZeros64(s.n)
	h := s.full[level]
	for ; level < height; level++ {
		if s.n>>level&1 == 1 && level > bits.TrailingZeros64(s.n) {
			h = Parent(s.full[level], h)
		} else {
			h = Parent(h, Pad(layer+level))
		}
	}
	return h
}

// Root returns the root that lies height layers above hashes, which are of the
// given layer.
func Root(hashes []Hash, layer, height int) Hash {
	var s Stack
	for _, h := range hashes {
		s.Add(h)
	}
	return s.Root(layer, height)
}
