package proto

import (
	"encoding/binary"
	"time"

	"github.com/qqbtfs/qqbtfs/peerconn/bitfield"
	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// maxQueued bounds the messages that wait for a peer that does not read, in
// bytes, the data of pieces not counted.
const maxQueued = 1 << 20

// keepStage is how much memory an empty stage may hold on to, in bytes.
const keepStage = 512

// headerLen is a length prefix and a message id: enough to know how a message is
// to be taken.
const headerLen = 5

// Feed takes bytes that were read from the peer, all of them; b is not kept. An
// error tells that the peer broke the protocol, a *ProtocolError, or an earlier
// Tick failed; it is final. Events from before it stay readable.
func (c *Conn) Feed(now time.Time, b []byte) error {
	c.now = now
	if c.err == nil && len(b) > 0 {
		c.lastRead = now
		c.err = c.consume(b)
	}
	if c.err == nil && len(c.out.bytes) > maxQueued {
		c.err = broken("%d bytes wait for the peer to read", len(c.out.bytes))
	}
	return c.err
}

func (c *Conn) consume(b []byte) error {
	for len(b) > 0 {
		switch {
		case c.arrival.active:
			b = c.takePieceData(b)
		case c.skip > 0:
			n := min(c.skip, len(b))
			c.skip -= n
			b = b[n:]
		default:
			unit, rest, err := c.cut(b)
			if unit != nil {
				err = c.receive(unit)
				c.clearStage()
			}
			if err != nil {
				return err
			}
			b = rest
		}
	}
	return nil
}

// cut takes the next unit of the stream off b: a handshake, a whole message, or
// the header of a piece or of an unknown message. If b has only a part of it,
// that part goes to the stage and unit is nil.
func (c *Conn) cut(b []byte) (unit, rest []byte, err error) {
	if len(c.stage) == 0 {
		n, err := c.unitLen(b)
		if err == nil && n <= len(b) {
			return b[:n], b[n:], nil
		}
		c.stage = append(c.stage, b...)
		return nil, nil, err
	}
	for {
		n, err := c.unitLen(c.stage)
		if err != nil {
			return nil, nil, err
		}
		if n == len(c.stage) {
			return c.stage, b, nil
		}
		if len(b) == 0 {
			return nil, nil, nil
		}
		n = min(n-len(c.stage), len(b))
		c.stage = append(c.stage, b[:n]...)
		b = b[n:]
	}
}

func (c *Conn) clearStage() {
	if c.stage = c.stage[:0]; cap(c.stage) > keepStage {
		c.stage = nil
	}
}

// unitLen returns the length of the unit that b starts with, or how many of its
// bytes it takes to know. It refuses a unit as early as it can.
func (c *Conn) unitLen(b []byte) (int, error) {
	if !c.handshaken {
		if !wire.CouldBeHandshake(b) {
			return 0, &ProtocolError{wire.ErrNotBitTorrent}
		}
		return wire.HandshakeLen, nil
	}
	if len(b) < 4 {
		return 4, nil
	}
	n := binary.BigEndian.Uint32(b)
	switch {
	case n == 0:
		return 4, nil
	case n > wire.MaxMessage:
		return 0, broken("message of %d bytes", n)
	case len(b) < headerLen:
		return headerLen, nil
	}
	return c.messageLen(b[4], int(n)-1)
}

func (c *Conn) messageLen(id byte, body int) (int, error) {
	if err := wire.CheckLen(id, body); err != nil {
		return 0, &ProtocolError{err}
	}
	switch {
	case id == wire.IDPiece:
		return wire.PieceHeaderLen, nil
	case !wire.Known(id):
		return headerLen, nil
	case id == wire.IDBitfield && c.known() && body != bitfield.WireLen(c.cfg.NumPieces),
		id == wire.IDBitfield && body > maxPieces/8:
		return 0, broken("bitfield of %d bytes for %d pieces", body, c.cfg.NumPieces)
	}
	return headerLen + body, nil
}

// receive takes one unit of the stream.
func (c *Conn) receive(unit []byte) error {
	switch {
	case !c.handshaken:
		h, err := wire.ParseHandshake(unit)
		if err != nil {
			return &ProtocolError{err}
		}
		return c.receiveHandshake(h)
	case len(unit) < headerLen:
		c.trace(wire.KeepAlive{})
		return c.charge(1)
	}
	size := int(binary.BigEndian.Uint32(unit))
	if err := c.charge(c.price(unit, size)); err != nil {
		return err
	}
	switch id := unit[4]; {
	case id == wire.IDPiece:
		return c.beginPiece(wire.Request{
			Index:  binary.BigEndian.Uint32(unit[5:]),
			Begin:  binary.BigEndian.Uint32(unit[9:]),
			Length: uint32(size - 9),
		})
	case !wire.Known(id):
		c.trace(wire.Unknown{ID: id})
		c.skip = size - 1
		return nil
	}
	m, err := wire.Parse(unit[4], unit[headerLen:])
	if err != nil {
		return &ProtocolError{err}
	}
	c.trace(m)
	return c.dispatch(m)
}

func (c *Conn) trace(m wire.Message) {
	if c.cfg.Trace != nil {
		c.cfg.Trace(true, m)
	}
}

func (c *Conn) dispatch(m wire.Message) error {
	switch m := m.(type) {
	case wire.Choke:
		c.receiveChoke()
	case wire.Unchoke:
		c.receiveUnchoke()
	case wire.Interested:
		c.receiveInterest(true)
	case wire.NotInterested:
		c.receiveInterest(false)
	case wire.Have:
		return c.receiveHave(m.Index)
	case wire.Bitfield:
		return c.receiveSet(m)
	case wire.Request:
		return c.receiveRequest(m)
	case wire.Cancel:
		c.receiveCancel(wire.Request(m))
	case wire.Port:
		c.emit(PeerPort{m.Port})
	case wire.Extended:
		return c.receiveExtended(m)
	case wire.HashRequest, wire.Hashes, wire.HashReject:
		return c.dispatchHashes(m)
	default:
		return c.dispatchFast(m)
	}
	return nil
}

// dispatchFast takes the messages of the fast extension. (BEP 6 says
// of each: "When the fast extension is disabled, if a peer receives" it, "the
// peer MUST close the connection")
func (c *Conn) dispatchFast(m wire.Message) error {
	if !c.fast {
		return broken("%v without the fast extension", m)
	}
	switch m := m.(type) {
	case wire.HaveAll, wire.HaveNone:
		return c.receiveSet(m)
	case wire.Reject:
		c.receiveReject(wire.Request(m))
	case wire.Suggest:
		if err := c.checkIndex(m.Index); err != nil {
			return err
		}
		if c.known() {
			c.emit(Suggested{int(m.Index)})
		}
	case wire.AllowedFast:
		if err := c.checkIndex(m.Index); err != nil {
			return err
		}
		if c.known() {
			c.receiveAllowedFast(m.Index)
		}
	}
	return nil
}
