package wire

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"
)

var sampleHashes = HashRequest{Root: [32]byte{'a'}, Base: 1, Index: 2, Length: 4, Proof: 5}

const hashesBody = "6100000000000000000000000000000000000000000000000000000000000000" + "00000001" + "00000002" + "00000004" + "00000005"

// samples has a message of every type.
var samples = []struct {
	m    Message
	hex  string
	text string
}{
	{KeepAlive{}, "00000000", "keep-alive"},
	{Choke{}, "0000000100", "choke"},
	{Unchoke{}, "0000000101", "unchoke"},
	{Interested{}, "0000000102", "interested"},
	{NotInterested{}, "0000000103", "not interested"},
	{Have{7}, "000000050400000007", "have 7"},
	{Bitfield{[]byte{0xa0, 1}}, "0000000305a001", "bitfield of 2 bytes"},
	{Request{1, 2, 3}, "0000000d06000000010000000200000003", "request 1:2+3"},
	{Piece{1, 2, []byte("abc")}, "0000000c070000000100000002616263", "piece 1:2+3"},
	{Cancel{1, 2, 3}, "0000000d08000000010000000200000003", "cancel 1:2+3"},
	{Port{6881}, "00000003091ae1", "port 6881"},
	{Suggest{7}, "000000050d00000007", "suggest 7"},
	{HaveAll{}, "000000010e", "have all"},
	{HaveNone{}, "000000010f", "have none"},
	{Reject{1, 2, 3}, "0000000d10000000010000000200000003", "reject 1:2+3"},
	{AllowedFast{7}, "000000051100000007", "allowed fast 7"},
	{Extended{3, []byte("de")}, "0000000414036465", "extended 3, 2 bytes"},
	{sampleHashes, "00000031" + "15" + hashesBody, "hash request 61000000/1:2+4^5"},
	{Hashes{sampleHashes, bytes.Repeat([]byte("h"), 32)}, "00000051" + "16" + hashesBody + strings.Repeat("68", 32), "1 hashes 61000000/1:2+4^5"},
	{HashReject(sampleHashes), "00000031" + "17" + hashesBody, "hash reject 61000000/1:2+4^5"},
	{Unknown{24, []byte("xy")}, "00000003187879", "unknown message 24, 2 bytes"},
}

func TestMessages(t *testing.T) {
	for _, s := range samples {
		b := s.m.Append(nil)
		if got := hex.EncodeToString(b); got != s.hex {
			t.Errorf("%v: encoded as %s, want %s", s.m, got, s.hex)
		}
		if got := s.m.String(); got != s.text {
			t.Errorf("%#v: described as %q", s.m, got)
		}
		if len(b) == 4 {
			continue
		}
		if got, err := Parse(b[4], b[5:]); err != nil || !reflect.DeepEqual(got, s.m) {
			t.Errorf("%v: parsed as %#v, %v", s.m, got, err)
		}
		if known := Known(b[4]); known == strings.HasPrefix(s.text, "unknown") {
			t.Errorf("%v: Known is %v", s.m, known)
		}
	}
}

func TestPieceHeader(t *testing.T) {
	p := Piece{9, 16384, make([]byte, BlockSize)}
	if h := p.AppendHeader(nil); len(h) != PieceHeaderLen || !bytes.HasPrefix(p.Append(nil), h) {
		t.Errorf("header %x", h)
	}
	if r := p.Request(); r != (Request{9, 16384, BlockSize}) {
		t.Errorf("answers %v", r)
	}
}

// BEP 3: "'choke', 'unchoke', 'interested', and 'not interested' have no payload."
func TestOtherSizesAreRefused(t *testing.T) {
	for id := range byte(255) {
		if id == IDHashes {
			continue
		}
		want, atLeast := bodyLen(id)
		for n := range 20 {
			fits := n == want || atLeast && n > want
			if err := CheckLen(id, n); (err == nil) != fits {
				t.Errorf("message %d with %d bytes: %v", id, n, err)
			}
			if _, err := Parse(id, make([]byte, n)); (err == nil) != fits {
				t.Errorf("parse message %d with %d bytes: %v", id, n, err)
			}
		}
		if CheckLen(id, -1) == nil || CheckLen(id, MaxMessage) == nil {
			t.Errorf("message %d has no limits", id)
		}
	}
	for _, id := range []byte{IDBitfield, IDPiece, IDExtended, 99} {
		if err := CheckLen(id, MaxMessage-1); err != nil {
			t.Errorf("message %d of the longest size: %v", id, err)
		}
	}
}

func TestSizesOfHashes(t *testing.T) {
	const most = hashRequestLen + (MaxHashes+maxUncles)*hashLen
	for n, ok := range map[int]bool{
		-1: false, 0: false, hashRequestLen - 1: false, hashRequestLen: true, hashRequestLen + 31: false,
		hashRequestLen + 32: true, most: true, most + 32: false, MaxMessage - 1: false,
	} {
		if err := CheckLen(IDHashes, n); (err == nil) != ok {
			t.Errorf("hashes with %d bytes: %v", n, err)
		}
	}
}

func handshake() Handshake {
	var h Handshake
	copy(h.InfoHash[:], "infohash infohash 20")
	copy(h.PeerID[:], "-QQ0001-abcdefghijkl")
	return h
}

// BEP 3: "The handshake starts with character nineteen (decimal) followed by the
// string 'BitTorrent protocol'."
func TestHandshake(t *testing.T) {
	h := handshake()
	h.Reserved.SetFast()
	h.Reserved.SetExtended()
	b := h.Append(nil)
	want := "\x13BitTorrent protocol\x00\x00\x00\x00\x00\x10\x00\x04infohash infohash 20-QQ0001-abcdefghijkl"
	if string(b) != want || len(b) != HandshakeLen {
		t.Fatalf("got %q", b)
	}
	if got, err := ParseHandshake(append(b, "more"...)); err != nil || got != h {
		t.Errorf("parsed as %+v, %v", got, err)
	}
	for n := range b {
		if !CouldBeHandshake(b[:n]) {
			t.Errorf("refused after %d bytes", n)
		}
		if _, err := ParseHandshake(b[:n]); err == nil || errors.Is(err, ErrNotBitTorrent) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func TestNotAHandshake(t *testing.T) {
	for _, b := range []string{"\x12", "GET / HTTP/1.1\r\n", "\x13BitTorrent protocoL", strings.Repeat("\x00", 68)} {
		if _, err := ParseHandshake([]byte(b)); !errors.Is(err, ErrNotBitTorrent) || CouldBeHandshake([]byte(b)) {
			t.Errorf("%q: %v", b, err)
		}
	}
}

func TestReserved(t *testing.T) {
	for _, test := range []struct {
		set func(*Reserved)
		has func(Reserved) bool
		b   Reserved
	}{
		{(*Reserved).SetFast, Reserved.HasFast, Reserved{7: 0x04}},         // BEP 6: "reserved[7] |= 0x04"
		{(*Reserved).SetExtended, Reserved.HasExtended, Reserved{5: 0x10}}, // BEP 10: "reserved_byte[5] & 0x10"
		{(*Reserved).SetDHT, Reserved.HasDHT, Reserved{7: 0x01}},           // BEP 5
		{(*Reserved).SetV2, Reserved.HasV2, Reserved{7: 0x10}},             // BEP 52
	} {
		var r Reserved
		if test.has(r) {
			t.Errorf("%x: set in zeros", test.b)
		}
		if test.set(&r); r != test.b || !test.has(r) {
			t.Errorf("set %x, want %x", r, test.b)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range samples[1:] {
		b := s.m.Append(nil)
		f.Add(b[4], b[5:])
	}
	f.Fuzz(func(t *testing.T, id byte, body []byte) {
		m, err := Parse(id, body)
		if err != nil {
			return
		}
		b := m.Append(nil)
		if int(binary.BigEndian.Uint32(b)) != len(b)-4 || b[4] != id || !bytes.Equal(b[5:], body) {
			t.Errorf("%d %x became %x", id, body, b)
		}
		if s := m.String(); s == "" || len(s) > 80 {
			t.Errorf("described as %q", s)
		}
	})
}

func FuzzParseHandshake(f *testing.F) {
	f.Add(handshake().Append(nil))
	f.Add([]byte("\x13BitTorrent protocol"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ParseHandshake(b)
		if err == nil && !bytes.Equal(h.Append(nil), b[:HandshakeLen]) {
			t.Errorf("%x became %+v", b, h)
		}
	})
}

func BenchmarkAppendRequests(b *testing.B) {
	var buf []byte
	b.SetBytes(17)
	b.ReportAllocs()
	for b.Loop() {
		buf = Request{1, 2, 3}.Append(buf[:0])
	}
}
