package badgerstore

import (
	"math/bits"
	"sync"
)

// pieceSet knows which pieces are had, and which are dead: deleted, but their
// keys still in the database. It is safe for concurrent use.
type pieceSet struct {
	sizeOf func(int) int

	mu    sync.Mutex
	words []uint64
	dead  map[int]struct{}
	count int
	bytes int64
}

func newPieceSet(n int, sizeOf func(int) int) *pieceSet {
	return &pieceSet{sizeOf: sizeOf, words: make([]uint64, (n+63)/64), dead: make(map[int]struct{})}
}

func (s *pieceSet) has(i int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bit(i)
}

func (s *pieceSet) bit(i int) bool {
	return i >= 0 && i/64 < len(s.words) && s.words[i/64]&(1<<(i%64)) != 0
}

// add marks pieces as had, unless they are dead.
func (s *pieceSet) add(pieces ...int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range pieces {
		if _, dead := s.dead[i]; !dead && !s.bit(i) {
			s.words[i/64] |= 1 << (i % 64)
			s.count++
			s.bytes += int64(s.sizeOf(i))
		}
	}
}

// kill moves piece i from the had to the dead and reports whether it was had.
func (s *pieceSet) kill(i int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.bit(i) {
		return false
	}
	s.words[i/64] &^= 1 << (i % 64)
	s.count--
	s.bytes -= int64(s.sizeOf(i))
	s.dead[i] = struct{}{}
	return true
}

// revive takes piece i, about to be written, from the dead. It reports false if
// the piece is had already.
func (s *pieceSet) revive(i int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.dead, i)
	return !s.bit(i)
}

// deads returns the dead pieces.
func (s *pieceSet) deads() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]int, 0, len(s.dead))
	for i := range s.dead {
		list = append(list, i)
	}
	return list
}

// buried forgets dead pieces whose keys are gone now.
func (s *pieceSet) buried(pieces []int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range pieces {
		delete(s.dead, i)
	}
}

// snapshot returns the pieces had now, ascending.
func (s *pieceSet) snapshot() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]int, 0, s.count)
	for w, word := range s.words {
		for ; word != 0; word &= word - 1 {
			list = append(list, w*64+bits.TrailingZeros64(word))
		}
	}
	return list
}

func (s *pieceSet) size() (count int, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count, s.bytes
}

// clear forgets everything.
func (s *pieceSet) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.words)
	clear(s.dead)
	s.count, s.bytes = 0, 0
}
