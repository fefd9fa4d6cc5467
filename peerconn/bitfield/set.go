// Package bitfield holds sets of piece indices in the wire order of BEP 3.
//
// A Set has a fixed size, the number of pieces of a torrent, and counts its
// members as they come and go, so Count and All cost nothing. It is plain data:
// no locks, no sharing. Indices outside of the torrent are never members.
package bitfield

import (
	"encoding/binary"
	"fmt"
	"iter"
	"math/bits"
)

// Set is a fixed-size set of piece indices in wire order (BEP 3: "The first byte
// of the bitfield corresponds to indices 0 - 7 from high bit to low bit"). The
// zero Set is empty and has no room. Assigning a Set moves it: use Clone for a
// second one, since both would write to the same bits.
type Set struct {
	words []uint64 // bit 63 of word 0 is piece 0; bits past n are zero
	n     int
	count int
}

// New returns an empty set with room for the pieces 0 to n-1.
func New(n int) Set {
	return Set{words: make([]uint64, (n+63)/64), n: n}
}

// WireLen returns the length in bytes of a bitfield message of n pieces.
func WireLen(n int) int { return (n + 7) / 8 }

// FromWire returns the set that the body of a bitfield message describes. It is
// an error if b is not exactly as long as n pieces need or has one of its spare
// bits set (BEP 3: "Spare bits at the end are set to zero"). b is not kept.
func FromWire(b []byte, n int) (Set, error) {
	if n < 0 || len(b) != WireLen(n) {
		return Set{}, fmt.Errorf("bitfield: %d bytes for %d pieces", len(b), n)
	}
	if spare := n % 8; spare != 0 && b[len(b)-1]&(0xff>>spare) != 0 {
		return Set{}, fmt.Errorf("bitfield: spare bits set after %d pieces", n)
	}
	s := New(n)
	for i := range s.words {
		var word [8]byte
		copy(word[:], b[i*8:])
		s.words[i] = binary.BigEndian.Uint64(word[:])
		s.count += bits.OnesCount64(s.words[i])
	}
	return s, nil
}

// Wire returns a copy of the set as the body of a bitfield message.
func (s Set) Wire() []byte {
	b := make([]byte, 0, len(s.words)*8)
	for _, w := range s.words {
		b = binary.BigEndian.AppendUint64(b, w)
	}
	return b[:WireLen(s.n)]
}

// Len returns how many pieces the set has room for.
func (s Set) Len() int { return s.n }

// Count returns how many pieces are in the set.
func (s Set) Count() int { return s.count }

// All reports whether every piece is in the set.
func (s Set) All() bool { return s.count == s.n }

// Has reports whether piece i is in the set.
func (s Set) Has(i int) bool {
	return i >= 0 && i < s.n && s.words[i>>6]&mask(i) != 0
}

// Add puts piece i into the set. It reports whether i is new there; an index
// outside of the set is not.
func (s *Set) Add(i int) bool {
	if i < 0 || i >= s.n || s.words[i>>6]&mask(i) != 0 {
		return false
	}
	s.words[i>>6] |= mask(i)
	s.count++
	return true
}

// Remove takes piece i out of the set and reports whether it was there.
func (s *Set) Remove(i int) bool {
	if !s.Has(i) {
		return false
	}
	s.words[i>>6] &^= mask(i)
	s.count--
	return true
}

// Fill puts every piece into the set.
func (s *Set) Fill() {
	for i := range s.words {
		s.words[i] = ^uint64(0)
	}
	if tail := s.n % 64; tail != 0 {
		s.words[len(s.words)-1] <<= 64 - tail
	}
	s.count = s.n
}

// Clone returns a set of its own with the same members.
func (s Set) Clone() Set {
	s.words = append([]uint64(nil), s.words...)
	return s
}

// Ones yields the members in ascending order. Members may be added or removed
// meanwhile; changes in the 64 pieces around the current one may be missed.
func (s Set) Ones() iter.Seq[int] {
	return func(yield func(int) bool) {
		for i, w := range s.words {
			for w != 0 {
				lead := bits.LeadingZeros64(w)
				if !yield(i*64 + lead) {
					return
				}
				w &^= 1 << (63 - lead)
			}
		}
	}
}

// String returns how much of the torrent is in the set, as "3/12".
func (s Set) String() string { return fmt.Sprintf("%d/%d", s.count, s.n) }

func mask(i int) uint64 { return 1 << (63 - i&63) }
