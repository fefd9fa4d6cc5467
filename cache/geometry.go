package cache

import "fmt"

// Geometry is what a store must know of its torrent to keep its pieces.
type Geometry struct {
	Key       Key
	NumPieces int
	// PieceSize returns the length of piece index in bytes. The last one may be
	// short, and in a v2 torrent the last one of every file.
	PieceSize func(index int) int
	// Sum returns what piece index must hash to.
	Sum func(index int) Sum
}

// MaxPiece returns the length of the longest piece in bytes.
func (g Geometry) MaxPiece() int {
	size := 0
	for i := range g.NumPieces {
		size = max(size, g.PieceSize(i))
	}
	return size
}

// CheckPiece returns an error unless p can be a piece of this torrent by its
// index and length. Its hash was checked by Verify.
func (g Geometry) CheckPiece(p Piece) error {
	if i := p.Index(); i < 0 || i >= g.NumPieces {
		return fmt.Errorf("cache: piece %d of a torrent of %d pieces", i, g.NumPieces)
	}
	if want := g.PieceSize(p.Index()); p.Len() != want {
		return fmt.Errorf("cache: piece %d has %d bytes, not %d", p.Index(), p.Len(), want)
	}
	return nil
}

// CheckRange returns an error unless bytes [off, off+n) lie within piece index:
// ErrMiss for a piece that the torrent does not have.
func (g Geometry) CheckRange(index, off, n int) error {
	if index < 0 || index >= g.NumPieces {
		return ErrMiss
	}
	if size := g.PieceSize(index); off < 0 || n < 0 || off > size || n > size-off {
		return fmt.Errorf("cache: bytes %d+%d are not in piece %d of %d bytes", off, n, index, size)
	}
	return nil
}
