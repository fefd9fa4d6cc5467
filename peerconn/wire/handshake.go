package wire

import (
	"bytes"
	"errors"
	"fmt"
)

// HandshakeLen is the size in bytes of every handshake.
const HandshakeLen = 68

// protocolID is what a handshake starts with (BEP 3: "character nineteen
// (decimal) followed by the string 'BitTorrent protocol'").
const protocolID = "\x13BitTorrent protocol"

// ErrNotBitTorrent is returned by ParseHandshake for bytes that do not start as
// BEP 3 says: another protocol, or an encrypted handshake.
var ErrNotBitTorrent = errors.New("wire: not a BitTorrent handshake")

// Handshake is the first thing that each side sends (BEP 3).
type Handshake struct {
	Reserved Reserved
	InfoHash [20]byte // in a v2 swarm the truncated SHA-256 (BEP 52)
	PeerID   [20]byte
}

// Append appends the 68 bytes of h to b.
func (h Handshake) Append(b []byte) []byte {
	b = append(b, protocolID...)
	b = append(b, h.Reserved[:]...)
	b = append(b, h.InfoHash[:]...)
	return append(b, h.PeerID[:]...)
}

// ParseHandshake decodes the handshake that b starts with. Bytes after it are
// left alone.
func ParseHandshake(b []byte) (Handshake, error) {
	if !CouldBeHandshake(b) {
		return Handshake{}, ErrNotBitTorrent
	}
	if len(b) < HandshakeLen {
		return Handshake{}, fmt.Errorf("wire: handshake of %d bytes, want %d", len(b), HandshakeLen)
	}
	var h Handshake
	b = b[len(protocolID):]
	b = b[copy(h.Reserved[:], b):]
	b = b[copy(h.InfoHash[:], b):]
	copy(h.PeerID[:], b)
	return h, nil
}

// CouldBeHandshake reports whether b, the first bytes of a connection and
// possibly few, may still become a handshake.
func CouldBeHandshake(b []byte) bool {
	n := min(len(b), len(protocolID))
	return bytes.Equal(b[:n], []byte(protocolID[:n]))
}

// Reserved is the handshake's eight reserved bytes, in which each side says
// what it supports.
type Reserved [8]byte

// HasFast reports the fast extension (BEP 6: "the third least significant bit
// of the 8th reserved byte").
func (r Reserved) HasFast() bool { return r[7]&0x04 != 0 }

// HasExtended reports the extension protocol (BEP 10: "bit 20 from the right").
func (r Reserved) HasExtended() bool { return r[5]&0x10 != 0 }

// HasDHT reports a DHT node and with it the port message (BEP 5: "the last bit
// of the 8-byte reserved flags").
func (r Reserved) HasDHT() bool { return r[7]&0x01 != 0 }

// HasV2 reports support of BitTorrent v2 (BEP 52, Upgrade path: "the 4th most
// significant bit in the last byte").
func (r Reserved) HasV2() bool { return r[7]&0x10 != 0 }

// SetFast announces the fast extension (BEP 6).
func (r *Reserved) SetFast() { r[7] |= 0x04 }

// SetExtended announces the extension protocol (BEP 10).
func (r *Reserved) SetExtended() { r[5] |= 0x10 }

// SetDHT announces a DHT node (BEP 5).
func (r *Reserved) SetDHT() { r[7] |= 0x01 }

// SetV2 announces support of BitTorrent v2 (BEP 52).
func (r *Reserved) SetV2() { r[7] |= 0x10 }
