package wire

import (
	"encoding/binary"
	"fmt"
)

const (
	// BlockSize is what one request asks for, at most: 16 KiB (BEP 3: "All
	// current implementations use 2^14 (16 kiB), and close connections which
	// request an amount greater than that").
	BlockSize = 16384
	// MaxMessage is the longest message that is accepted, in bytes, without its
	// length prefix.
	MaxMessage = 1 << 20
	// PieceHeaderLen is the size in bytes of a piece message without its data.
	PieceHeaderLen = 13
)

// The message ids of BEP 3 (0 to 8), BEP 5 (9), BEP 6 (13 to 17), BEP 10 (20) and
// BEP 52 (21 to 23).
const (
	IDChoke         = 0
	IDUnchoke       = 1
	IDInterested    = 2
	IDNotInterested = 3
	IDHave          = 4
	IDBitfield      = 5
	IDRequest       = 6
	IDPiece         = 7
	IDCancel        = 8
	IDPort          = 9
	IDSuggest       = 13
	IDHaveAll       = 14
	IDHaveNone      = 15
	IDReject        = 16
	IDAllowedFast   = 17
	IDExtended      = 20
	IDHashRequest   = 21
	IDHashes        = 22
	IDHashReject    = 23
)

// Message is one message of the peer wire protocol. The set of types is closed:
// those of this package.
type Message interface {
	// Append appends the message with its length prefix to b.
	Append(b []byte) []byte
	// String describes the message in one short line, for logs.
	String() string
	message()
}

type (
	// KeepAlive says nothing (BEP 3: "Messages of length zero are keepalives").
	KeepAlive struct{}
	// Choke tells that no requests will be served (BEP 3).
	Choke struct{}
	// Unchoke tells that requests will be served (BEP 3).
	Unchoke struct{}
	// Interested tells that the sender would send requests if unchoked (BEP 3).
	Interested struct{}
	// NotInterested takes Interested back (BEP 3).
	NotInterested struct{}
	// Have announces a complete piece (BEP 3).
	Have struct{ Index uint32 }
	// Bitfield announces complete pieces, in wire order (BEP 3). See package
	// bitfield.
	Bitfield struct{ Bits []byte }
	// Request asks for Length bytes at Begin in piece Index (BEP 3).
	Request struct{ Index, Begin, Length uint32 }
	// Piece answers a Request with a block of data (BEP 3).
	Piece struct {
		Index, Begin uint32
		Data         []byte
	}
	// Cancel takes a Request back (BEP 3).
	Cancel struct{ Index, Begin, Length uint32 }
	// Port tells the UDP port of the sender's DHT node (BEP 5).
	Port struct{ Port uint16 }
	// Suggest advises to download a piece (BEP 6, Suggest Piece).
	Suggest struct{ Index uint32 }
	// HaveAll stands for a Bitfield of ones (BEP 6).
	HaveAll struct{}
	// HaveNone stands for a Bitfield of zeros (BEP 6).
	HaveNone struct{}
	// Reject tells that a Request will not be satisfied (BEP 6).
	Reject struct{ Index, Begin, Length uint32 }
	// AllowedFast allows requests for a piece while choked (BEP 6).
	AllowedFast struct{ Index uint32 }
	// Extended carries a message of an extension, or with ID 0 the extension
	// handshake (BEP 10). See package extension.
	Extended struct {
		ID      uint8
		Payload []byte
	}
	// HashRequest asks for hashes of the tree of a file (BEP 52, hash request). See
	// hashes.go.
	HashRequest struct {
		Root                       [32]byte // of the file
		Base, Index, Length, Proof uint32
	}
	// Hashes answers a HashRequest, which it repeats, with hashes of 32 bytes: those
	// asked for, then their uncles from the lowest up (BEP 52).
	Hashes struct {
		HashRequest
		Hashes []byte
	}
	// HashReject tells that a HashRequest will not be answered (BEP 52).
	HashReject HashRequest
	// Unknown is a message with an id that is none of the above.
	Unknown struct {
		ID      uint8
		Payload []byte
	}
)

// Request returns the request that p answers.
func (p Piece) Request() Request {
	return Request{p.Index, p.Begin, uint32(len(p.Data))}
}

func (KeepAlive) Append(b []byte) []byte     { return append(b, 0, 0, 0, 0) }
func (Choke) Append(b []byte) []byte         { return appendHeader(b, IDChoke, 0) }
func (Unchoke) Append(b []byte) []byte       { return appendHeader(b, IDUnchoke, 0) }
func (Interested) Append(b []byte) []byte    { return appendHeader(b, IDInterested, 0) }
func (NotInterested) Append(b []byte) []byte { return appendHeader(b, IDNotInterested, 0) }
func (HaveAll) Append(b []byte) []byte       { return appendHeader(b, IDHaveAll, 0) }
func (HaveNone) Append(b []byte) []byte      { return appendHeader(b, IDHaveNone, 0) }

func (m Have) Append(b []byte) []byte        { return appendIndex(b, IDHave, m.Index) }
func (m Suggest) Append(b []byte) []byte     { return appendIndex(b, IDSuggest, m.Index) }
func (m AllowedFast) Append(b []byte) []byte { return appendIndex(b, IDAllowedFast, m.Index) }

func (m Request) Append(b []byte) []byte { return appendRequest(b, IDRequest, m) }
func (m Cancel) Append(b []byte) []byte  { return appendRequest(b, IDCancel, Request(m)) }
func (m Reject) Append(b []byte) []byte  { return appendRequest(b, IDReject, Request(m)) }

func (m Bitfield) Append(b []byte) []byte {
	return append(appendHeader(b, IDBitfield, len(m.Bits)), m.Bits...)
}

func (m Piece) Append(b []byte) []byte { return append(m.AppendHeader(b), m.Data...) }

// AppendHeader appends the PieceHeaderLen bytes of m that go before its Data.
func (m Piece) AppendHeader(b []byte) []byte {
	b = appendHeader(b, IDPiece, 8+len(m.Data))
	b = binary.BigEndian.AppendUint32(b, m.Index)
	return binary.BigEndian.AppendUint32(b, m.Begin)
}

func (m Port) Append(b []byte) []byte {
	return binary.BigEndian.AppendUint16(appendHeader(b, IDPort, 2), m.Port)
}

func (m Extended) Append(b []byte) []byte {
	b = append(appendHeader(b, IDExtended, 1+len(m.Payload)), m.ID)
	return append(b, m.Payload...)
}

func (m Unknown) Append(b []byte) []byte {
	return append(appendHeader(b, m.ID, len(m.Payload)), m.Payload...)
}

func (KeepAlive) String() string     { return "keep-alive" }
func (Choke) String() string         { return "choke" }
func (Unchoke) String() string       { return "unchoke" }
func (Interested) String() string    { return "interested" }
func (NotInterested) String() string { return "not interested" }
func (HaveAll) String() string       { return "have all" }
func (HaveNone) String() string      { return "have none" }
func (m Have) String() string        { return fmt.Sprintf("have %d", m.Index) }
func (m Bitfield) String() string    { return fmt.Sprintf("bitfield of %d bytes", len(m.Bits)) }
func (m Request) String() string     { return "request " + m.span() }
func (m Piece) String() string       { return "piece " + m.Request().span() }
func (m Cancel) String() string      { return "cancel " + Request(m).span() }
func (m Port) String() string        { return fmt.Sprintf("port %d", m.Port) }
func (m Suggest) String() string     { return fmt.Sprintf("suggest %d", m.Index) }
func (m Reject) String() string      { return "reject " + Request(m).span() }
func (m AllowedFast) String() string { return fmt.Sprintf("allowed fast %d", m.Index) }
func (m Extended) String() string {
	return fmt.Sprintf("extended %d, %d bytes", m.ID, len(m.Payload))
}
func (m Unknown) String() string {
	return fmt.Sprintf("unknown message %d, %d bytes", m.ID, len(m.Payload))
}

// span describes the block as "piece:begin+length".
func (m Request) span() string { return fmt.Sprintf("%d:%d+%d", m.Index, m.Begin, m.Length) }

func (KeepAlive) message()     {}
func (Choke) message()         {}
func (Unchoke) message()       {}
func (Interested) message()    {}
func (NotInterested) message() {}
func (Have) message()          {}
func (Bitfield) message()      {}
func (Request) message()       {}
func (Piece) message()         {}
func (Cancel) message()        {}
func (Port) message()          {}
func (Suggest) message()       {}
func (HaveAll) message()       {}
func (HaveNone) message()      {}
func (Reject) message()        {}
func (AllowedFast) message()   {}
func (Extended) message()      {}
func (Unknown) message()       {}

func appendHeader(b []byte, id byte, body int) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(1+body)), id)
}

func appendIndex(b []byte, id byte, index uint32) []byte {
	return binary.BigEndian.AppendUint32(appendHeader(b, id, 4), index)
}

func appendRequest(b []byte, id byte, r Request) []byte {
	b = appendHeader(b, id, 12)
	b = binary.BigEndian.AppendUint32(b, r.Index)
	b = binary.BigEndian.AppendUint32(b, r.Begin)
	return binary.BigEndian.AppendUint32(b, r.Length)
}
