package metadata

import (
	"bytes"
	"reflect"
	"testing"
)

func TestMessages(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want Message
	}{
		// The examples of BEP 9.
		{"d8:msg_typei0e5:piecei0ee", Message{Kind: Request}},
		{"d8:msg_typei1e5:piecei0e10:total_sizei34256eexxxx", Message{Kind: Data, Total: 34256, Data: []byte("xxxx")}},
		{"d8:msg_typei2e5:piecei0ee", Message{Kind: Reject}},
		// What comes in any order, with more.
		{"d5:extrali1ee5:piecei7e8:msg_typei1eed", Message{Kind: Data, Piece: 7, Data: []byte("d")}},
		{"d8:msg_typei1e5:piecei0e10:total_sizei-1ee", Message{Kind: Data, Total: -1, Data: []byte{}}},
		{"d8:msg_typei9ee", Message{Kind: 9}},
	} {
		got, err := ParseMessage([]byte(tt.in))
		if err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %+v, %v; want %+v", tt.in, got, err, tt.want)
		}
	}
}

func TestBadMessages(t *testing.T) {
	for _, in := range []string{
		"", "x", "i0e", "le", "de", "d8:msg_typei0ee", "d5:piecei0ee",
		"d8:msg_typei-1e5:piecei0ee", "d8:msg_typei0e5:piecei-1ee", "d8:msg_typei0e5:piecei1920ee",
		"d8:msg_typei0e5:piecei4294967296ee", "d8:msg_typei4294967296e5:piecei0ee",
		"d8:msg_typei0e5:piecei9223372036854775808ee", "d8:msg_type1:05:piecei0ee",
		"d8:msg_typei0e8:msg_typei1e5:piecei0ee", "d8:msg_typei0e5:piecei0e",
	} {
		if m, err := ParseMessage([]byte(in)); err == nil {
			t.Errorf("%s: %+v", in, m)
		}
	}
}

func TestServer(t *testing.T) {
	info := bytes.Repeat([]byte("0123456789"), 4000)
	request := func(i int) []byte { return Message{Kind: Request, Piece: i}.Append(nil) }
	s := NewServer(info)
	for i := range 3 {
		m, err := ParseMessage(s.Answer(request(i), false))
		at := i * PieceSize
		if want := info[at:min(at+PieceSize, len(info))]; err != nil || m.Kind != Data || m.Piece != i || m.Total != 40000 || !bytes.Equal(m.Data, want) {
			t.Errorf("piece %d: kind %d, %d bytes of %d, %v", i, m.Kind, len(m.Data), m.Total, err)
		}
	}
	rejected := func(what string, s *Server, i int, busy bool) {
		t.Helper()
		if m, err := ParseMessage(s.Answer(request(i), busy)); err != nil || m.Kind != Reject || m.Piece != i {
			t.Errorf("%s: %+v, %v", what, m, err)
		}
	}
	rejected("past the end", &s, 3, false)
	rejected("busy", &s, 0, true)
	rejected("of nothing", &Server{}, 0, false)
	for _, b := range [][]byte{nil, []byte("x"), Message{Kind: Reject}.Append(nil), Message{Kind: Data, Data: []byte("a")}.Append(nil)} {
		if got := s.Answer(b, false); got != nil {
			t.Errorf("%q is answered with %q", b, got)
		}
	}
	for range generosity*3 - 3 {
		s.Answer(request(0), false)
	}
	rejected("a flood", &s, 0, false)
}

func FuzzParseMessage(f *testing.F) {
	f.Add([]byte("d8:msg_typei0e5:piecei0ee"))
	f.Add([]byte("d8:msg_typei1e5:piecei0e10:total_sizei34256eexxxx"))
	f.Add([]byte("d8:msg_typei2e5:piecei1919ee"))
	f.Add([]byte("d8:msg_typei9e1:xlli1eeee"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseMessage(b)
		if err != nil || m.Kind > Reject {
			return
		}
		again, err := ParseMessage(m.Append(nil))
		if m.Data == nil && m.Kind == Data {
			m.Data = []byte{}
		}
		if err != nil || !reflect.DeepEqual(m, again) {
			t.Fatalf("%q: %+v, then %+v, %v", b, m, again, err)
		}
		s := NewServer(bytes.Repeat([]byte("x"), 20_000))
		s.Answer(b, false)
	})
}
