package proto

import (
	"bytes"

	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// Output is a queue of bytes to be written to the peer. The zero Output is
// empty. It belongs to whoever holds it: see Conn.TakeOutput.
type Output struct {
	bytes []byte // all messages, without the data of pieces
	data  []pieceData
	sent  []SentPiece
	size  int64
}

// pieceData is the data of a piece; it goes between bytes[:at] and bytes[at:].
type pieceData struct {
	at   int
	data []byte
}

// SentPiece tells where in an Output a piece ends.
type SentPiece struct {
	Token uint64 // as it was given to SendPiece
	End   int64  // offset in bytes: the piece is written once this much is
}

// Len returns the number of bytes, the data of pieces included.
func (o *Output) Len() int64 { return o.size }

// Buffers appends to v what is to be written, in order, as net.Buffers wants it.
// The buffers are valid until o is handed to TakeOutput or is Reset.
func (o *Output) Buffers(v [][]byte) [][]byte {
	from := 0
	for _, p := range o.data {
		v = append(v, o.bytes[from:p.at], p.data)
		from = p.at
	}
	if from < len(o.bytes) {
		v = append(v, o.bytes[from:])
	}
	return v
}

// Pieces returns the pieces of SendPiece in o, in order, valid as Buffers is.
func (o *Output) Pieces() []SentPiece { return o.sent }

// keepOutput is how much memory an empty Output may hold on to, in bytes.
const keepOutput = 8 << 10

// Reset empties o. It keeps a little memory for the next time and lets go of all
// data of pieces.
func (o *Output) Reset() {
	clear(o.data)
	o.data, o.sent, o.size = o.data[:0], o.sent[:0], 0
	if o.bytes = o.bytes[:0]; cap(o.bytes) > keepOutput {
		o.bytes = nil
	}
}

func (o *Output) append(m wire.Message) {
	before := len(o.bytes)
	o.bytes = m.Append(o.bytes)
	o.size += int64(len(o.bytes) - before)
}

func (o *Output) appendPiece(p wire.Piece) {
	o.bytes = p.AppendHeader(o.bytes)
	o.data = append(o.data, pieceData{len(o.bytes), p.Data})
	o.size += wire.PieceHeaderLen + int64(len(p.Data))
}

// TakeOutput moves what is queued for the peer into o, whose own content has
// been written and is forgotten. o's memory becomes the Conn's next queue, so
// two Outputs alternate and nothing is copied.
func (c *Conn) TakeOutput(o *Output) {
	o.Reset()
	c.out, *o = *o, c.out
}

// OutputLen returns the number of bytes that wait in the queue.
func (c *Conn) OutputLen() int64 { return c.out.size }

// Output returns what is queued for the peer as one slice, valid until the next
// call of Output. It copies the data of pieces; TakeOutput does not.
func (c *Conn) Output() []byte {
	c.TakeOutput(&c.flat)
	if len(c.flat.data) == 0 {
		return c.flat.bytes
	}
	return bytes.Join(c.flat.Buffers(nil), nil)
}
