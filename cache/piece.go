package cache

import (
	"crypto/sha256"
	"errors"
	"fmt"
)

// Key names the cached data of one torrent: the SHA-256 of its raw info
// dictionary, the same for v1, v2 and hybrid torrents.
type Key [sha256.Size]byte

// KeyOf returns the key of the torrent with the raw, bencoded info dictionary.
func KeyOf(rawInfo []byte) Key { return sha256.Sum256(rawInfo) }

// String returns k in hexadecimal.
func (k Key) String() string { return fmt.Sprintf("%x", k[:]) }

// ErrHash is returned by Verify for data that is not the piece it claims to be.
var ErrHash = errors.New("cache: piece does not match its hash")

// Piece is a whole piece whose bytes have been checked against its Sum. Only
// Verify makes one, so unverified bytes cannot enter a Store. It carries one
// reference to its Buffer.
type Piece struct {
	index int
	buf   *Buffer
}

// Verify hashes the bytes of buf and returns them as the verified piece index.
// The piece takes over the caller's reference to buf. With ErrHash the
// reference stays with the caller.
func Verify(index int, sum Sum, buf *Buffer) (Piece, error) {
	if !sum.matches(buf.Bytes()) {
		return Piece{}, ErrHash
	}
	return Piece{index: index, buf: buf}, nil
}

// memory returns how many bytes of memory the piece occupies.
func (p Piece) memory() int64 { return int64(cap(p.buf.Bytes())) }

// Index returns the piece's number in its torrent.
func (p Piece) Index() int { return p.index }

// Len returns the piece's length in bytes.
func (p Piece) Len() int { return len(p.buf.Bytes()) }

// Bytes returns the piece's bytes, read-only and valid until Release.
func (p Piece) Bytes() []byte { return p.buf.Bytes() }

// Retain adds a reference, for a second holder of the same bytes.
func (p Piece) Retain() Piece { p.buf.Retain(); return p }

// Release gives the reference back. The bytes must not be touched after it.
func (p Piece) Release() { p.buf.Release() }
