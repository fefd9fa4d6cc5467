package wire

import (
	"encoding/binary"
	"fmt"
)

// CheckLen tells whether a message of this id may have a body of n bytes, its
// length without prefix and id. It needs no byte of the body, so a caller can
// refuse a message before it makes room for it.
func CheckLen(id byte, n int) error {
	want, atLeast := bodyLen(id)
	switch {
	case n < 0 || n >= MaxMessage:
		return fmt.Errorf("wire: message %d of %d bytes, over the limit of %d", id, 1+n, MaxMessage)
	case id == IDHashes:
		return checkHashes(n)
	case n == want || n > want && atLeast:
		return nil
	default:
		return fmt.Errorf("wire: message %d with a body of %d bytes, want %d", id, n, want)
	}
}

// bodyLen returns the length of the body of a message; if atLeast is set it may
// be longer.
func bodyLen(id byte) (n int, atLeast bool) {
	switch id {
	case IDChoke, IDUnchoke, IDInterested, IDNotInterested, IDHaveAll, IDHaveNone:
		return 0, false
	case IDHave, IDSuggest, IDAllowedFast:
		return 4, false
	case IDRequest, IDCancel, IDReject:
		return 12, false
	case IDHashRequest, IDHashReject:
		return hashRequestLen, false
	case IDPort:
		return 2, false
	case IDPiece:
		return 8, true
	case IDExtended:
		return 1, true
	default:
		return 0, true
	}
}

// Parse decodes the message with this id and body, what comes after the length
// prefix. Every length is checked; ids that are not known give an Unknown, not an
// error. Bitfield, Piece, Extended, Hashes and Unknown keep a part of body, uncopied.
func Parse(id byte, body []byte) (Message, error) {
	if err := CheckLen(id, len(body)); err != nil {
		return nil, err
	}
	switch id {
	case IDChoke:
		return Choke{}, nil
	case IDUnchoke:
		return Unchoke{}, nil
	case IDInterested:
		return Interested{}, nil
	case IDNotInterested:
		return NotInterested{}, nil
	case IDHave:
		return Have{binary.BigEndian.Uint32(body)}, nil
	case IDBitfield:
		return Bitfield{body}, nil
	case IDRequest:
		return parseRequest(body), nil
	case IDPiece:
		return Piece{binary.BigEndian.Uint32(body), binary.BigEndian.Uint32(body[4:]), body[8:]}, nil
	case IDCancel:
		return Cancel(parseRequest(body)), nil
	case IDPort:
		return Port{binary.BigEndian.Uint16(body)}, nil
	case IDSuggest:
		return Suggest{binary.BigEndian.Uint32(body)}, nil
	case IDHaveAll:
		return HaveAll{}, nil
	case IDHaveNone:
		return HaveNone{}, nil
	case IDReject:
		return Reject(parseRequest(body)), nil
	case IDAllowedFast:
		return AllowedFast{binary.BigEndian.Uint32(body)}, nil
	case IDExtended:
		return Extended{body[0], body[1:]}, nil
	case IDHashRequest:
		return parseHashRequest(body), nil
	case IDHashes:
		return Hashes{parseHashRequest(body), body[hashRequestLen:]}, nil
	case IDHashReject:
		return HashReject(parseHashRequest(body)), nil
	default:
		return Unknown{id, body}, nil
	}
}

func parseRequest(b []byte) Request {
	return Request{
		Index:  binary.BigEndian.Uint32(b),
		Begin:  binary.BigEndian.Uint32(b[4:]),
		Length: binary.BigEndian.Uint32(b[8:]),
	}
}

// Known reports whether id is one of a message other than Unknown.
func Known(id byte) bool {
	return id <= IDPort || id >= IDSuggest && id <= IDAllowedFast || id >= IDExtended && id <= IDHashReject
}
