package cachetest

import (
	"crypto/sha1"
	"math/rand/v2"
	"testing"

	"github.com/qqbtfs/qqbtfs/cache"
)

// Torrent is made-up content in pieces, the same every time for the same shape.
type Torrent struct {
	PieceLength int    // bytes of every piece but the last
	Data        []byte // all pieces, one after the other

	sums [][sha1.Size]byte
}

// NewTorrent makes a torrent of n pieces of pieceLength random bytes, the last
// one of lastLength.
func NewTorrent(n, pieceLength, lastLength int) *Torrent {
	data := make([]byte, (n-1)*pieceLength+lastLength)
	rand.NewChaCha8([32]byte{1: byte(n), 2: byte(lastLength)}).Read(data)
	return FromData(pieceLength, data)
}

// FromData divides data, which is not empty, into pieces.
func FromData(pieceLength int, data []byte) *Torrent {
	tor := &Torrent{PieceLength: pieceLength, Data: data}
	for i := 0; i*pieceLength < len(data); i++ {
		tor.sums = append(tor.sums, sha1.Sum(tor.Bytes(i)))
	}
	return tor
}

// Bytes returns the content of piece i, read-only.
func (tor *Torrent) Bytes(i int) []byte {
	begin := i * tor.PieceLength
	return tor.Data[begin:min(begin+tor.PieceLength, len(tor.Data))]
}

// NumPieces returns the number of pieces.
func (tor *Torrent) NumPieces() int { return len(tor.sums) }

// Geometry returns what a store must know of the torrent.
func (tor *Torrent) Geometry() cache.Geometry {
	return cache.Geometry{
		Key:       cache.KeyOf(tor.Data[:min(64, len(tor.Data))]),
		NumPieces: tor.NumPieces(),
		PieceSize: func(i int) int { return len(tor.Bytes(i)) },
		Sum:       func(i int) cache.Sum { return cache.SHA1(tor.sums[i]) },
	}
}

// Pool returns a pool for pieces of this torrent.
func (tor *Torrent) Pool() *cache.Pool { return cache.NewPool(tor.PieceLength, 4) }

// Piece returns the verified piece i in a buffer of pool; nil means a buffer of
// its own.
func (tor *Torrent) Piece(t testing.TB, pool *cache.Pool, i int) cache.Piece {
	t.Helper()
	b := tor.Bytes(i)
	buf := cache.NewBuffer(make([]byte, len(b)))
	if pool != nil {
		buf = pool.Get(len(b))
	}
	copy(buf.Bytes(), b)
	p, err := cache.Verify(i, cache.SHA1(tor.sums[i]), buf)
	if err != nil {
		t.Fatalf("piece %d: %v", i, err)
	}
	return p
}
