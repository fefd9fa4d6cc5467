package cache

import (
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
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

// Sum is what a piece must hash to. The zero Sum matches nothing.
type Sum struct {
	algo algo
	sum  [sha256.Size]byte
}

type algo uint8

const (
	none algo = iota
	sha1Sum
)

// SHA1 returns the Sum of a v1 piece (BEP 3, pieces).
func SHA1(sum [sha1.Size]byte) Sum {
	s := Sum{algo: sha1Sum}
	copy(s.sum[:], sum[:])
	return s
}

func (s Sum) matches(data []byte) bool {
	switch s.algo {
	case sha1Sum:
		return sha1.Sum(data) == [sha1.Size]byte(s.sum[:sha1.Size])
	default:
		return false
	}
}

// scratch holds the buffers of Check.
var scratch = sync.Pool{New: func() any { return new([256 << 10]byte) }}

// Check hashes n bytes that need not fit into memory at once: read fills dst
// with the bytes at off, in order. It returns ErrHash if they are not what sum
// says, or the first error of read.
func Check(sum Sum, n int, read func(dst []byte, off int) error) error {
	if sum.algo != sha1Sum {
		return ErrHash
	}
	b := scratch.Get().(*[256 << 10]byte)
	defer scratch.Put(b)
	h := sha1.New()
	for off := 0; off < n; off += len(b) {
		chunk := b[:min(len(b), n-off)]
		if err := read(chunk, off); err != nil {
			return err
		}
		h.Write(chunk)
	}
	if [sha1.Size]byte(h.Sum(nil)) != [sha1.Size]byte(sum.sum[:sha1.Size]) {
		return ErrHash
	}
	return nil
}

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
