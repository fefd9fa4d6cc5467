package proto

import (
	"errors"
	"time"

	"github.com/qqbtfs/qqbtfs/peerconn/extension"
	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// ErrFlood is wrapped by the ProtocolError of a peer that sends more messages than
// anybody has use for, which cost us more than it.
var ErrFlood = errors.New("more messages than anybody has use for")

// A peer may send a message in every messageTime, and maxBurst of them at once, those of
// all pieces not counted. Clients send some tens a second, and some thousands at
// once when they cancel their requests or ask on while they are choked.
const (
	messageTime = time.Millisecond
	maxBurst    = 20_000
)

// charge counts a message of this price. Whatever comes is counted; payBack is for what
// was of use, so that no speed of a transfer is a flood.
func (c *Conn) charge(price int) error {
	if c.paid.Before(c.now) {
		c.paid = c.now
	}
	c.paid = c.paid.Add(time.Duration(price) * messageTime)
	if c.paid.Sub(c.now) > time.Duration(maxBurst+c.cfg.NumPieces)*messageTime {
		return &ProtocolError{ErrFlood}
	}
	return nil
}

func (c *Conn) payBack() { c.paid = c.paid.Add(-messageTime) }

// price returns how many cheap messages a message costs us, by what it begins with and
// its length.
func (c *Conn) price(unit []byte, length int) int {
	bulk := length / (4 << 10)
	switch id := unit[4]; id {
	case wire.IDPiece:
		return 1 // what is not wanted is skipped, and the swarm counts its bytes
	case wire.IDBitfield, wire.IDHaveAll, wire.IDHaveNone:
		return 1 + bulk + c.cfg.NumPieces/256
	case wire.IDPort:
		return 100
	case wire.IDExtended:
		switch {
		case unit[headerLen] == extension.HandshakeID:
			return 100 + bulk
		case length > 6: // a dictionary, which may have an answer; 4 bytes say what a peer lost
			return 5 + bulk
		}
	}
	return 1 + bulk
}
