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
	slabs int // of the longest piece
	queue chan chunk

	mu    sync.Mutex
	files []coolFile // of earlier runs, then those that pieces have been put into since Open
	old   []mapping  // the first of files, those that Open has found
	in    []place    // by slab, those of a piece behind each other; nil: no place is known
}

// coolFile is a value-log file.
type coolFile struct {
	name   string
	end    int64   // of what has been written
	cooled []int64 // by chunk, bytes whose piece is not needed in memory, since it was last dropped
}

// place is where a slab begins. The zero place is none.
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
	return &cooler{geo: g, slabs: numSlabs(g.MaxPiece()), queue: make(chan chunk, coolQueue)}
}

// adopt takes over the files of earlier runs: where a slab lies in them is learnt when it
// is read.
func (c *cooler) adopt(files []mapping) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.files, c.old, c.in = nil, files, nil
	for _, m := range files {
		c.files = append(c.files, coolFile{name: m.name, end: int64(m.size)})
	}
}

// saw notes that v, a part of a mapped file, is a slab of a piece.
func (c *cooler) saw(index, slab int, v []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if file, off, ok := locate(c.old, v); ok {
		c.places(index)[slab] = place{uint32(file + 1), uint32(off / placeUnit)}
	}
}

// places returns where the slabs of a piece are. c.mu is held.
func (c *cooler) places(index int) []place {
	if c.in == nil {
		c.in = make([]place, c.geo.NumPieces*c.slabs)
	}
	return c.in[index*c.slabs:][:numSlabs(c.geo.PieceSize(index))]
}

// wrote notes that the bytes [off, off+n) of the value-log file name hold pieces. Their
// slabs are there in an order that Badger does not tell: places are near enough.
func (c *cooler) wrote(name string, off, n int64, pieces []int) {
	if len(pieces) == 0 || off == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := len(c.files); k == 0 || c.files[k-1].name != name {
		c.files = append(c.files, coolFile{name: name})
	}
	file := len(c.files)
	c.files[file-1].end = off + n
	for _, i := range pieces {
		places := c.places(i)
		for k := range places {
			places[k] = place{uint32(file), uint32((off + int64(k)*slabSize) / placeUnit)}
		}
		off += int64(c.geo.PieceSize(i))
	}
}

// Cool implements cache.Cooler.
func (s *Store) Cool(index int) bool {
	c := s.cool
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.in == nil {
		return false
	}
	known := false
	places := c.places(index)
	for k, p := range places {
		if p.file != 0 {
			known = true
			places[k] = place{}
			c.add(&c.files[p.file-1], int64(p.off)*placeUnit, int64(slabLen(c.geo.PieceSize(index), k)))
		}
	}
	return known
}

// add notes that nobody needs the bytes [off, off+n) of f in memory. c.mu is held.
func (c *cooler) add(f *coolFile, off, n int64) {
	for end := off + n; off < end; {
		k := int(off / coolSize)
		next := min(end, int64(k+1)*coolSize)
		for len(f.cooled) <= k {
			f.cooled = append(f.cooled, 0)
		}
		f.cooled[k] += next - off
		if f.cooled[k] >= coolPart && f.end >= int64(k+1)*coolSize {
			f.cooled[k] = 0
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
