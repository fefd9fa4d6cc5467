package bitfield

import "math/bits"

// NextClear returns the first index from i on that is not in the set, or -1
// when there is none.
func (s Set) NextClear(i int) int {
	if i < 0 {
		i = 0
	}
	for i < s.n {
		// Bit 63 is the lowest index: what is before i is shifted out.
		if w := ^s.words[i>>6] << (i & 63); w != 0 {
			if i += bits.LeadingZeros64(w); i < s.n {
				return i
			}
			return -1
		}
		i = (i | 63) + 1
	}
	return -1
}

// HasOutside reports whether the set has a member that other has not.
func (s Set) HasOutside(other Set) bool {
	for i, w := range s.words {
		if w&^other.words[i] != 0 {
			return true
		}
	}
	return false
}
