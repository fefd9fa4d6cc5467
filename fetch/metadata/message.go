// Package metadata decides how the info dictionary of a torrent, of which only the
// info-hash is known, is fetched from peers, and answers peers who fetch it from us
// (BEP 9, ut_metadata).
//
// A Fetch is a state machine without I/O or a clock, stepped as a swarm.Swarm is: events
// and the time go in, commands come out. It keeps the addresses of peers, asks those
// who offer metadata for its pieces of 16 KiB, and hands the whole out once it is what
// the info-hash names. Nothing that a peer says is believed before that: sizes that
// differ are tried side by side, pieces of one size come from all who claim it, and if
// the sum is wrong they are fetched again from one peer at a time, so that whoever
// lies is found out.
//
// It does not parse the dictionary.
package metadata

import (
	"errors"
	"fmt"

	"github.com/qqbtfs/qqbtfs/peerconn/bencode"
	"github.com/qqbtfs/qqbtfs/peerconn/extension"
)

const (
	// Extension is the name of the extension in handshakes (BEP 10).
	Extension = "ut_metadata"
	// PieceSize is the bytes of every piece but the last one.
	PieceSize = 16 << 10
	// MaxSize is the largest info dictionary in bytes.
	MaxSize = extension.MaxMetadataSize
)

// Kind is what a message is. Others than these have to be ignored (BEP 9: "in order
// to support future extensibility").
type Kind int

// The kinds of messages.
const (
	Request Kind = 0
	Data    Kind = 1
	Reject  Kind = 2
)

// Message is one message of the extension.
type Message struct {
	Kind  Kind
	Piece int
	Total int64  // Data: bytes of all pieces; zero: not said
	Data  []byte // Data: the piece; shares the memory it was parsed from
}

// headLimits leave room for keys that we do not know.
var headLimits = bencode.Limits{Size: 64 << 10, Depth: 8, Tokens: 64}

// ParseMessage reads the payload of an extension message: a dictionary and, behind
// it, the bytes of a piece.
func ParseMessage(b []byte) (Message, error) {
	head, err := bencode.ParsePrefix(b, headLimits)
	if err != nil {
		return Message{}, fmt.Errorf("metadata: message: %w", err)
	}
	if head.Kind() != bencode.Dict {
		return Message{}, fmt.Errorf("metadata: message is a %v", head.Kind())
	}
	kind, piece, total := int64(-1), int64(-1), int64(0)
	for key, v := range head.Entries() {
		n, ok := v.Int()
		if !ok {
			continue
		}
		switch string(key) {
		case "msg_type":
			kind = n
		case "piece":
			piece = n
		case "total_size":
			total = n
		}
	}
	if kind < 0 || kind > 255 {
		return Message{}, errors.New("metadata: message without a type")
	}
	m := Message{Kind: Kind(kind)}
	if m.Kind > Reject {
		return m, nil
	}
	if piece < 0 || piece >= MaxSize/PieceSize {
		return Message{}, errors.New("metadata: message about no piece")
	}
	m.Piece = int(piece)
	if m.Kind == Data {
		m.Total, m.Data = total, b[len(head.Raw()):]
	}
	return m, nil
}

// Append appends the payload of m to b.
func (m Message) Append(b []byte) []byte {
	if m.Kind == Data {
		b = fmt.Appendf(b, "d8:msg_typei%de5:piecei%de10:total_sizei%dee", m.Kind, m.Piece, m.Total)
		return append(b, m.Data...)
	}
	return fmt.Appendf(b, "d8:msg_typei%de5:piecei%dee", m.Kind, m.Piece)
}

// pieces is the number of pieces of size bytes.
func pieces(size int64) int { return int((size + PieceSize - 1) / PieceSize) }

// pieceLen is the bytes of piece i of size bytes.
func pieceLen(size int64, i int) int { return int(min(PieceSize, size-int64(i)*PieceSize)) }
