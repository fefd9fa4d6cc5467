package fetchtest

import (
	"encoding/binary"
	"hash/crc64"
	"math/rand/v2"

	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// Torrent is the shape of a torrent and, by Seed, its content.
type Torrent struct {
	PieceLength int64
	Total       int64
	Seed        uint64
}

// NumPieces returns the number of pieces.
func (t Torrent) NumPieces() int { return int((t.Total + t.PieceLength - 1) / t.PieceLength) }

// PieceSize returns the length of piece i in bytes.
func (t Torrent) PieceSize(i int) int {
	return int(min(t.PieceLength, t.Total-int64(i)*t.PieceLength))
}

// fill writes the content of a block to b. It differs from block to block and is
// cheap to make: one word, counted up.
func (t Torrent) fill(b []byte, r wire.Request) {
	word := t.Seed ^ (uint64(r.Index)<<32|uint64(r.Begin))*0x9e3779b97f4a7c15
	for len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, word)
		word++
		b = b[8:]
	}
	for i := range b {
		b[i] = byte(word >> (8 * i))
	}
}

// isGood reports whether b is the content of a block.
func (t Torrent) isGood(b []byte, r wire.Request) bool {
	word := t.Seed ^ (uint64(r.Index)<<32|uint64(r.Begin))*0x9e3779b97f4a7c15
	for len(b) >= 8 {
		if binary.LittleEndian.Uint64(b) != word {
			return false
		}
		word++
		b = b[8:]
	}
	for i := range b {
		if b[i] != byte(word>>(8*i)) {
			return false
		}
	}
	return true
}

// blocks calls f for every block of piece i with its bytes in b.
func (t Torrent) blocks(i int, b []byte, f func(r wire.Request, b []byte)) {
	for begin := 0; begin < len(b); begin += wire.BlockSize {
		end := min(begin+wire.BlockSize, len(b))
		f(wire.Request{Index: uint32(i), Begin: uint32(begin), Length: uint32(end - begin)}, b[begin:end])
	}
}

// verify reports whether b is piece i, and a checksum of each block.
func (t Torrent) verify(i int, b []byte) (good bool, sums []uint64) {
	good = true
	t.blocks(i, b, func(r wire.Request, b []byte) {
		if ok := t.isGood(b, r); ok {
			sums = append(sums, 0)
		} else {
			good = false
			sums = append(sums, 1+crc64.Checksum(b, crcTable)>>1)
		}
	})
	return good, sums
}

var crcTable = crc64.MakeTable(crc64.ECMA)

// spoil changes a byte of b.
func spoil(rnd *rand.Rand, b []byte) { b[rnd.IntN(len(b))] ^= byte(1 + rnd.IntN(255)) }
