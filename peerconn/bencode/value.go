package bencode

import (
	"bytes"
	"iter"
	"strconv"
)

// Kind is the type of a Value.
type Kind uint8

// The kinds of bencoded values. The zero Value is Absent.
const (
	Absent Kind = iota
	Integer
	String
	List
	Dict
)

func (k Kind) String() string {
	return [...]string{"nothing", "integer", "string", "list", "dictionary"}[k]
}

// Value is a view of one bencoded value that has passed the scan: only Parse
// makes one, so walking over it needs no checks. It shares the bytes it was made
// from, which must not change. The methods that ask for another kind than the
// value has find nothing.
type Value struct{ b []byte }

// Parse checks that b is exactly one value and returns a view of it.
func Parse(b []byte, l Limits) (Value, error) {
	if err := Check(b, l); err != nil {
		return Value{}, err
	}
	return Value{b}, nil
}

// ParsePrefix is Parse for input that goes on behind the value; see CheckPrefix.
func ParsePrefix(b []byte, l Limits) (Value, error) {
	n, err := CheckPrefix(b, l)
	if err != nil {
		return Value{}, err
	}
	return Value{b[:n:n]}, nil
}

// Raw returns the value as it was encoded, byte for byte.
func (v Value) Raw() []byte { return v.b }

// Kind returns the type of v.
func (v Value) Kind() Kind {
	if len(v.b) == 0 {
		return Absent
	}
	switch v.b[0] {
	case 'i':
		return Integer
	case 'l':
		return List
	case 'd':
		return Dict
	}
	return String
}

// Int returns an integer. False: v is none, or it does not fit in 64 bits.
func (v Value) Int() (int64, bool) {
	if v.Kind() != Integer {
		return 0, false
	}
	n, err := strconv.ParseInt(string(v.b[1:len(v.b)-1]), 10, 64)
	return n, err == nil
}

// Bytes returns the bytes of a string. False: v is none.
func (v Value) Bytes() ([]byte, bool) {
	if v.Kind() != String {
		return nil, false
	}
	return v.b[bytes.IndexByte(v.b, ':')+1:], true
}

// Items yields the items of a list.
func (v Value) Items() iter.Seq[Value] {
	return func(yield func(Value) bool) {
		if v.Kind() != List {
			return
		}
		for pos := 1; v.b[pos] != 'e'; {
			item := v.at(pos)
			if !yield(item) {
				return
			}
			pos += len(item.b)
		}
	}
}

// Entries yields the keys and values of a dictionary in the order of the input.
func (v Value) Entries() iter.Seq2[[]byte, Value] {
	return func(yield func([]byte, Value) bool) {
		if v.Kind() != Dict {
			return
		}
		for pos := 1; v.b[pos] != 'e'; {
			key := v.at(pos)
			pos += len(key.b)
			item := v.at(pos)
			pos += len(item.b)
			if k, _ := key.Bytes(); !yield(k, item) {
				return
			}
		}
	}
}

// at returns the value that begins at pos.
func (v Value) at(pos int) Value {
	end := pos
	for depth := 0; ; {
		switch c := v.b[end]; c {
		case 'd', 'l':
			depth++
			end++
		case 'e':
			depth--
			end++
		case 'i':
			end += bytes.IndexByte(v.b[end:], 'e') + 1
		default:
			n := 0
			for ; v.b[end] != ':'; end++ {
				n = n*10 + int(v.b[end]-'0')
			}
			end += 1 + n
		}
		if depth == 0 {
			return Value{v.b[pos:end:end]}
		}
	}
}
