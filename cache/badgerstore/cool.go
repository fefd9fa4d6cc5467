package badgerstore

import (
	"context"
	"log/slog"
	"sync"

	"github.com/qqbtfs/qqbtfs/cache"
)

// cooler takes parts of value-log files out of the page cache once most of what is in
// them has been read and is not needed there any more.
type cooler struct {
	geo   cache.Geometry
	queue chan chunk

	mu    sync.Mutex
	files []coolFile // that pieces have been put into since Open, oldest first
	in    []place    // by piece; nil: no piece was put
}

// coolFile is a value-log file.
type coolFile struct {
	name   string
	end    int64   // of what has been written
	cooled []int64 // by chunk, bytes whose piece is not needed in memory
}

// place is where a piece begins. The zero place is none.
type place struct {
	file uint32 // index in files, plus one
	off  uint32 // in units of placeUnit
}

// chunk is a part of a file, coolSize long: whole huge pages.
type chunk struct {
	name  string
	index int
}

const (
	coolSize  = 4 * hugePage
	coolPart  = coolSize / 8 * 7 // of a chunk that must not be needed any more; offsets are near enough
	coolQueue = 64
	placeUnit = 4096
)

func newCooler(g cache.Geometry) *cooler {
	return &cooler{geo: g, queue: make(chan chunk, coolQueue)}
}

// wrote notes that the bytes [off, off+n) of the value-log file name hold pieces, in
// this order.
func (c *cooler) wrote(name string, off, n int64, pieces []int) {
	if len(pieces) == 0 || off == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.in == nil {
		c.in = make([]place, c.geo.NumPieces)
	}
	if k := len(c.files); k == 0 || c.files[k-1].name != name {
		c.files = append(c.files, coolFile{name: name})
	}
	file := len(c.files)
	c.files[file-1].end = off + n
	for _, i := range pieces {
		c.in[i] = place{uint32(file), uint32(off / placeUnit)}
		off += int64(c.geo.PieceSize(i))
	}
}

// Cool implements cache.Cooler. Pieces of an earlier run stay where they are.
func (s *Store) Cool(index int) bool {
	c := s.cool
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.in == nil || c.in[index].file == 0 {
		return false
	}
	p := c.in[index]
	c.in[index] = place{}
	c.add(&c.files[p.file-1], int64(p.off)*placeUnit, int64(c.geo.PieceSize(index)))
	return true
}

// add notes that nobody needs the bytes [off, off+n) of f in memory. c.mu is held.
func (c *cooler) add(f *coolFile, off, n int64) {
	for end := off + n; off < end; {
		k := int(off / coolSize)
		next := min(end, int64(k+1)*coolSize)
		for len(f.cooled) <= k {
			f.cooled = append(f.cooled, 0)
		}
		was := f.cooled[k]
		f.cooled[k] += next - off
		if was < coolPart && f.cooled[k] >= coolPart && f.end >= int64(k+1)*coolSize {
			select {
			case c.queue <- chunk{f.name, k}:
			default: // the disk is slower than we are, and the kernel will see to it
			}
		}
		off = next
	}
}

// run drops chunks from the page cache until ctx ends.
func (c *cooler) run(ctx context.Context, log *slog.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case k := <-c.queue:
			if err := pageOut(k.name, int64(k.index)*coolSize, coolSize); err != nil {
				log.Debug("badgerstore: page out", "file", k.name, "err", err)
			}
		}
	}
}
