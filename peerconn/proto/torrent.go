package proto

import (
	"github.com/qqbtfs/qqbtfs/peerconn/bitfield"
	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// maxBlock is the longest block that fits into a message.
const maxBlock = wire.MaxMessage - 9

// maxPieces bounds what a peer may claim before the metadata is known. A torrent
// of 30 MiB of metadata has fewer.
const maxPieces = 1 << 21

// announce is what the peer announced to have before the metadata was known.
type announce struct {
	some     bool   // anything was announced, no have_none may follow
	all      bool   // have_all came
	fromWire bool   // bits is the body of a bitfield, its length is that of the torrent
	bits     []byte // in wire order
}

func (c *Conn) known() bool { return c.cfg.NumPieces > 0 }

// inTorrent reports whether a block lies in the torrent and is not empty.
func (c *Conn) inTorrent(r wire.Request) bool {
	if r.Length == 0 || int64(r.Index) >= int64(c.cfg.NumPieces) {
		return false
	}
	size := min(c.cfg.PieceLength, c.cfg.Total-int64(r.Index)*c.cfg.PieceLength)
	return int64(r.Begin)+int64(r.Length) <= size
}

// SetMetadata tells about the torrent once its metadata is known; bytes are the
// unit. What the peer announced before is checked now, and comes as HasSet.
func (c *Conn) SetMetadata(numPieces int, pieceLength, total int64) error {
	if c.known() || numPieces <= 0 {
		panic("BUG: metadata set twice, or of no pieces")
	}
	c.cfg.NumPieces, c.cfg.PieceLength, c.cfg.Total = numPieces, pieceLength, total
	if c.err == nil && c.have.some {
		c.err = c.announceEarly()
	}
	return c.err
}

func (c *Conn) announceEarly() error {
	early := c.have
	c.have = announce{some: true}
	if early.all {
		c.announceAll()
		return nil
	}
	missing := bitfield.WireLen(c.cfg.NumPieces) - len(early.bits)
	if missing > 0 && !early.fromWire {
		early.bits = append(early.bits, make([]byte, missing)...)
	}
	return c.announceBits(early.bits)
}

func (c *Conn) announceBits(bits []byte) error {
	set, err := bitfield.FromWire(bits, c.cfg.NumPieces)
	if err != nil {
		return &ProtocolError{err}
	}
	c.emit(HasSet{set})
	return nil
}

func (c *Conn) announceAll() {
	set := bitfield.New(c.cfg.NumPieces)
	set.Fill()
	c.emit(HasSet{set})
}

// receiveSet takes a bitfield, have_all or have_none. BEP 3 says that "'bitfield' is
// only ever sent as the first message", but aria2 sends a bitfield or have_all also
// later, where that is shorter than the haves that are due: it replaces what was said
// before.
func (c *Conn) receiveSet(m wire.Message) error {
	if _, none := m.(wire.HaveNone); none && c.have.some {
		return broken("%v after a bitfield or have", m)
	}
	c.have.some = true
	switch m := m.(type) {
	case wire.Bitfield:
		if c.known() {
			return c.announceBits(m.Bits)
		}
		c.have.bits, c.have.fromWire = append([]byte(nil), m.Bits...), true
	case wire.HaveAll:
		if c.known() {
			c.announceAll()
		} else {
			c.have.all = true
		}
	case wire.HaveNone:
		if c.known() {
			c.emit(HasSet{bitfield.New(c.cfg.NumPieces)})
		}
	}
	return nil
}

func (c *Conn) receiveHave(piece uint32) error {
	if err := c.checkIndex(piece); err != nil {
		return err
	}
	c.have.some = true
	switch {
	case c.known():
		c.emit(Has{int(piece)})
	case !c.have.all:
		return c.noteEarly(int(piece))
	}
	return nil
}

// noteEarly keeps a have until the metadata is known.
func (c *Conn) noteEarly(piece int) error {
	bits := c.have.bits
	if missing := piece/8 + 1 - len(bits); missing > 0 {
		if c.have.fromWire {
			return broken("have %d, past the end of the bitfield", piece)
		}
		bits = append(bits, make([]byte, missing)...)
	}
	bits[piece/8] |= 0x80 >> (piece % 8)
	c.have.bits = bits
	return nil
}

func (c *Conn) checkIndex(piece uint32) error {
	limit := c.cfg.NumPieces
	if !c.known() {
		limit = maxPieces
	}
	if int64(piece) >= int64(limit) {
		return broken("piece %d of %d", piece, limit)
	}
	return nil
}
