// Package bencode is the bounded door in front of
// github.com/anacrolix/torrent/bencode for bytes that come from outside.
//
// The decoder behind it has no limit on depth, integers or what it allocates. So
// an iterative scan reads every input first and refuses what is malformed, too
// deep, too much, or has a dictionary key twice. What passes can be decoded in
// time and memory proportional to its length: into Go values with Unmarshal, or
// in place, without a copy and whatever the order of its keys, with Parse.
//
// It knows nothing of what the values mean.
package bencode

import (
	"errors"
	"fmt"

	"github.com/anacrolix/torrent/bencode"
)

// RawMessage is one encoded value, kept as it is by Unmarshal and Marshal.
type RawMessage []byte

// UnmarshalBencode keeps a copy of b.
func (m *RawMessage) UnmarshalBencode(b []byte) error {
	*m = append(RawMessage(nil), b...)
	return nil
}

// MarshalBencode returns m. An empty message is no value: leave it out with
// omitempty.
func (m RawMessage) MarshalBencode() ([]byte, error) {
	if len(m) == 0 {
		return nil, errors.New("bencode: empty RawMessage")
	}
	return m, nil
}

// Unmarshal checks that b is exactly one value within the limits and decodes it
// into v, a pointer, by the rules of the library behind: struct fields are named
// by `bencode:"name"` tags. The error is a *SyntaxError, or says where b does not
// fit into v.
func Unmarshal(b []byte, l Limits, v any) error {
	if err := Check(b, l); err != nil {
		return err
	}
	return decode(b, v)
}

// decode runs the library over checked bytes.
func decode(b []byte, v any) error {
	if err := bencode.Unmarshal(b, v); err != nil {
		return fmt.Errorf("bencode: decode: %w", err)
	}
	return nil
}

// Marshal encodes v. Keys of maps and structs come out sorted.
func Marshal(v any) ([]byte, error) {
	b, err := bencode.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("bencode: encode: %w", err)
	}
	return b, nil
}
