// Package cache keeps verified pieces of one torrent.
//
// It is the only place where readers and downloaders meet: a downloader puts
// whole verified pieces in, a reader takes byte ranges out, and neither knows
// the other. A Store never holds bytes that were not checked against the
// torrent's hashes, by type: Put takes a Piece and only Verify makes one.
//
// Cache is the Store that the program uses: a RAM tier that answers for hot
// pieces at once and hands cold ones to a disk tier (badgerstore, filestore) in
// batches. The package knows nothing of peers, files or the network.
package cache

import (
	"context"
	"errors"
	"fmt"
	"iter"
)

var (
	// ErrMiss is returned by ReadAt for a piece that the store does not have,
	// or no longer: a piece found damaged is deleted and is a miss from then on.
	ErrMiss = errors.New("cache: piece is not in the store")
	// ErrNoSpace is returned by Put when the disk guard or the quota forbids
	// writing. The store stays usable for reads.
	ErrNoSpace = errors.New("cache: no space left for this torrent")
	// ErrQuota is the ErrNoSpace of a store that may take no more disk, while the
	// disk itself has space.
	ErrQuota = fmt.Errorf("%w: the cache is at its limit", ErrNoSpace)
	// ErrReadOnly is returned by Put of a store that can't be written.
	ErrReadOnly = errors.New("cache: store is read-only")
	// ErrEvicted is what OnLost reports for a piece that made room for newer ones.
	ErrEvicted = errors.New("cache: piece was evicted to make room")
	// ErrClosed is returned by every operation after Close.
	ErrClosed = errors.New("cache: store is closed")
)

// Store keeps verified pieces. All methods are safe for concurrent use; none
// is called with a lock held and none calls back with a lock held.
type Store interface {
	// Put stores pieces. It takes over the caller's reference to every one of
	// them, also when it fails. After a nil error each is readable. With an
	// error an arbitrary subset has been stored; Has tells which. Put may wait
	// for the disk; ctx ends the wait. A piece that is had already may be kept
	// as it is.
	Put(ctx context.Context, pieces ...Piece) error
	// ReadAt fills dst with bytes [off, off+len(dst)) of piece index. It
	// returns ErrMiss when the piece is not had, including when it was found
	// damaged now. It never fills dst with bytes that were not verified and
	// never waits for the network.
	ReadAt(dst []byte, index, off int) error
	// Has reports whether the piece is had, without touching it. It is false
	// for an index out of range and after Close.
	Has(index int) bool
	// Pieces yields the indices of all pieces had, ascending: a snapshot.
	Pieces() iter.Seq[int]
	// Delete forgets a piece. Deleting a piece that is not had is no error.
	Delete(index int) error
	// Flush waits until everything put so far is on disk, or can't be.
	Flush(ctx context.Context) error
	// Stats returns counters and gauges.
	Stats() Stats
	// Close keeps everything put so far and releases the rest. It is bounded in
	// time, so only Flush promises that a power failure takes nothing; idempotent.
	Close() error
}

// Lender is what a Store may implement besides: it lends what it has in memory, for
// whom a copy would cost time.
type Lender interface {
	// Lend returns piece index if its bytes are in memory, for a reader of n bytes of it.
	// The caller releases it.
	Lend(index, n int) (p Piece, ok bool)
}

// Stats is a store's account of itself. Sizes are in bytes.
type Stats struct {
	Pieces    int    `json:"pieces"`               // pieces had, in any tier
	Bytes     int64  `json:"bytes"`                // their bytes
	RAMBytes  int64  `json:"ram_bytes"`            // held in the RAM tier
	DiskBytes int64  `json:"disk_bytes"`           // taken on disk, garbage included
	DiskLimit int64  `json:"disk_limit,omitempty"` // what may be taken; 0: no limit
	RAMHits   int64  `json:"ram_hits"`             // reads answered by the RAM tier
	DiskHits  int64  `json:"disk_hits"`            // reads answered by the disk tier
	Damaged   int64  `json:"damaged"`              // pieces found damaged on disk, deleted
	WriteErrs int64  `json:"write_errs"`           // failed batches
	State     string `json:"state"`                // "ok", or in words what is wrong: "disk full: RAM only"
}
