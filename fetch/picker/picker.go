// Package picker decides which blocks to ask of which sources next.
//
// Work comes in three classes. Urgent: a read is waiting for the piece; each of
// its blocks goes to the source that will deliver it first, and a block that is
// late is asked of a second source. Readahead: a handle will want the piece
// next; sources take blocks in the window's order. Background: the fill; sources
// finish pieces that are begun, then take the rarest.
//
// A source is anything that answers requests for blocks; the picker knows
// nothing of peers. How much a source is asked for is bounded in time, by its
// own pipeline; how much is begun and not finished is bounded in bytes. The
// package is pure: the same calls with the same times and seed give the same
// plan.
package picker

import (
	"math/rand/v2"
	"time"

	"github.com/qqbtfs/qqbtfs/peerconn/bitfield"
)

// BlockSize is the size of a block in bytes; the last of a piece may be short.
const BlockSize = 16 << 10

// SourceID names a source for as long as it is attached.
type SourceID uint32

// Block names a block of a piece by its number.
type Block struct{ Piece, Index int }

// Class is the kind of demand that a piece is under.
type Class uint8

const (
	Idle       Class = iota // nobody wants it
	Background              // the fill wants it
	Readahead               // a handle will want it next
	Urgent                  // a read waits for it
)

func (c Class) String() string {
	return [...]string{"idle", "background", "readahead", "urgent"}[c]
}

// Assignment tells to ask Source for Block. Second is set when another source
// was asked for it before and still owes it: the answer needs a place of its own.
type Assignment struct {
	Source SourceID
	Block
	Class  Class
	Second bool
}

// Range is a run of pieces, both ends included.
type Range struct{ First, Last int }

// Demand is what is wanted now, replaced as a whole whenever it changes.
type Demand struct {
	Urgent    []int   // pieces that reads wait for, in the order to serve them
	Readahead []Range // what handles want next, in the order to serve them
	Fill      bool    // everything else too
	Some      []Range // these too, in the background, if not all
	Next      []Range // with Fill: where to begin with that; costs no byte more
	Rest      []Range // with Fill: where to go on while there are only seeds
	// Blocks are those to ask for first of a piece, and then what follows them: a
	// piece whose blocks are of use before it is complete.
	Blocks map[int][]Range
}

// Config describes the torrent to a picker.
type Config struct {
	NumPieces int
	PieceSize func(i int) int
	Seed      uint64
	// MaxOpen bounds the bytes of pieces begun and not yet verified; zero means
	// 32 MiB, or four pieces up to 96 MiB where that is more. Background may use
	// half of it; one piece is always allowed.
	MaxOpen int64
	// Limit is what downloads are limited to, in bytes per second; zero means that they
	// are not. What no read waits for is asked for only as far ahead as that: it all
	// stands in the limit's one queue, and a read that comes must go behind it.
	Limit int64
}

// Picker is one torrent's picker. It is not safe for concurrent use.
type Picker struct {
	cfg     Config
	longest int          // bytes of the longest piece
	have    bitfield.Set // verified pieces
	settled bitfield.Set // had, or every block asked for or here: nothing to ask
	rarity  *rarity
	seeds   int // sources that have everything

	sources map[SourceID]*source
	ids     []SourceID // of sources, in order of arrival

	open      map[int]*piece
	partial   []*piece // open, not settled, in order of opening
	openBytes int64
	gaveWay   []int // closed by makeWay, since the last GaveWay

	demand Demand
	urgent map[int]int // piece -> its place in demand.Urgent

	lastUrgent time.Time // when a read last waited
	waited     bool      // when the last plan was made
	jumps      int       // waits since somebody last read on
	budget     int64     // bytes that no read waits for and that may be asked for now

	epoch    uint64 // counts the moments at which something became free to ask
	received int64  // blocks
	seconds  int64  // blocks asked for a second time
}

// New returns a picker that has no piece and no source.
func New(cfg Config) *Picker {
	longest := 0
	for i := range cfg.NumPieces {
		longest = max(longest, cfg.PieceSize(i))
	}
	if cfg.MaxOpen == 0 {
		cfg.MaxOpen = max(32<<20, min(4*int64(longest), 96<<20))
	}
	rnd := rand.New(rand.NewPCG(cfg.Seed, cfg.Seed^0x9e3779b97f4a7c15))
	return &Picker{
		cfg:     cfg,
		longest: longest,
		have:    bitfield.New(cfg.NumPieces),
		settled: bitfield.New(cfg.NumPieces),
		rarity:  newRarity(cfg.NumPieces, rnd.Shuffle),
		sources: map[SourceID]*source{},
		open:    map[int]*piece{},
		urgent:  map[int]int{},
	}
}

// Has reports whether piece i is verified.
func (p *Picker) Has(i int) bool { return p.have.Has(i) }

// Count returns how many pieces are verified.
func (p *Picker) Count() int { return p.have.Count() }

// Bitfield returns the verified pieces in wire order.
func (p *Picker) Bitfield() []byte { return p.have.Wire() }

// Availability returns how many sources have piece i.
func (p *Picker) Availability(i int) int { return int(p.rarity.count[i]) + p.seeds }

// SetDemand replaces the demand.
func (p *Picker) SetDemand(d Demand) {
	p.demand = d
	p.epoch++
	clear(p.urgent)
	for at, i := range d.Urgent {
		if !p.have.Has(i) {
			p.urgent[i] = at
		}
	}
}

// Complete records that piece i is verified. Requests for it that are still out
// are returned: they are not needed any more.
func (p *Picker) Complete(i int) []Assignment {
	out := p.closePiece(i)
	if p.have.Add(i) {
		p.settled.Add(i)
		p.rarity.remove(i)
		delete(p.urgent, i)
	}
	return out
}

// Lost records that piece i is not had any more.
func (p *Picker) Lost(i int) {
	if !p.have.Has(i) {
		return
	}
	p.have.Remove(i)
	p.settled.Remove(i)
	p.rarity.insert(i)
	p.SetDemand(p.demand)
}

// blocks returns the number of blocks of piece i.
func (p *Picker) blocks(i int) int { return (p.cfg.PieceSize(i) + BlockSize - 1) / BlockSize }

// blockSize returns the length of a block in bytes.
func (p *Picker) blockSize(b Block) int {
	return min(BlockSize, p.cfg.PieceSize(b.Piece)-b.Index*BlockSize)
}
