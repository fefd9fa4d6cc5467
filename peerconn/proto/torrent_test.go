package proto

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

func TestPieceSets(t *testing.T) {
	for _, test := range []struct {
		m    wire.Message
		want string
	}{
		{wire.Bitfield{Bits: []byte{0xa0}}, "has set 2/3"},
		{wire.Bitfield{Bits: []byte{0}}, "has set 0/3"},
		{wire.HaveAll{}, "has set 3/3"},
		{wire.HaveNone{}, "has set 0/3"},
	} {
		p := connect(t, fast)
		p.feed(test.m, wire.Have{Index: 1})
		p.wantEvents(test.want, "has 1")
	}
}

// BEP 3: "Spare bits at the end are set to zero." BEP 6: "Exactly one of Have
// All, Have None, or Have Bitfield MUST appear and only immediately after the
// handshake."
func TestHostilePieceSets(t *testing.T) {
	bits := func(b ...byte) []byte { return wire.Bitfield{Bits: b}.Append(nil) }
	all, none := wire.HaveAll{}.Append(nil), wire.HaveNone{}.Append(nil)
	have := func(i uint32) []byte { return wire.Have{Index: i}.Append(nil) }
	for name, test := range map[string][2][]byte{
		"short bitfield":        {nil, bits()},
		"long bitfield":         {nil, bits(0xe0, 0)},
		"spare bit":             {nil, bits(0xf0)},
		"short bitfield again":  {bits(0xe0), bits()},
		"spare bit later":       {have(0), bits(0xf0)},
		"have none after all":   {all, none},
		"have none after have":  {have(0), none},
		"have past the end":     {nil, have(3)},
		"have far past the end": {nil, have(1<<32 - 1)},
	} {
		t.Run(name, func(t *testing.T) {
			p := connect(t, fast)
			p.feedBytes(test[0])
			p.AppendEvents(nil)
			p.broken(test[1])
			p.wantEvents()
		})
	}
}

// aria2 sends a bitfield or have_all in place of many haves, after the
// have_none that it began with.
func TestLaterPieceSets(t *testing.T) {
	p := connect(t, fast)
	p.feed(wire.HaveNone{}, wire.Have{Index: 2}, wire.Bitfield{Bits: []byte{0x60}}, wire.HaveAll{})
	p.wantEvents("has set 0/3", "has 2", "has set 2/3", "has set 3/3")
}

// BEP 6: "When the fast extension is disabled, if a peer receives Have All or
// Have None then the peer MUST close the connection", and the like of the others.
func TestFastMessagesWithoutFast(t *testing.T) {
	for _, m := range []wire.Message{
		wire.HaveAll{}, wire.HaveNone{}, wire.Suggest{}, wire.AllowedFast{}, wire.Reject(block(0, 0)),
	} {
		connect(t).broken(m.Append(nil))
	}
}

func TestSuggestAndAllowedFastPastTheEnd(t *testing.T) {
	for _, m := range []wire.Message{wire.Suggest{Index: 3}, wire.AllowedFast{Index: 3}} {
		connect(t, fast).broken(m.Append(nil))
	}
	p := connect(t, fast)
	p.feed(wire.Suggest{Index: 2}, wire.AllowedFast{Index: 2}, wire.AllowedFast{Index: 2})
	p.wantEvents("suggested 2", "allowed fast 2")
}

func TestBeforeMetadata(t *testing.T) {
	for _, test := range []struct {
		ms   []wire.Message
		want []string
	}{
		{nil, nil},
		{[]wire.Message{wire.HaveAll{}, wire.Have{Index: 1}}, []string{"has set 3/3"}},
		{[]wire.Message{wire.HaveNone{}, wire.Have{Index: 2}}, []string{"has set 1/3"}},
		{[]wire.Message{wire.Have{Index: 0}, wire.Have{Index: 0}}, []string{"has set 1/3"}},
		{[]wire.Message{wire.Bitfield{Bits: []byte{0x80}}, wire.Have{Index: 1}}, []string{"has set 2/3"}},
		{[]wire.Message{wire.Suggest{Index: 1}, wire.AllowedFast{Index: 1}}, nil},
	} {
		p := connect(t, fast, noMetadata)
		p.feed(test.ms...)
		p.wantEvents()
		if err := p.SetMetadata(3, pieceLength, total); err != nil {
			t.Errorf("%v: %v", test.ms, err)
		}
		p.wantEvents(test.want...)
		p.feed(wire.Unchoke{}, wire.Have{Index: 2})
		p.wantEvents("unchoked", "has 2")
		p.request(block(2, 0))
		p.wantSent("request 2:0+8192")
	}
}

func TestWrongOnceMetadataIsKnown(t *testing.T) {
	for _, ms := range [][]wire.Message{
		{wire.Have{Index: 3}},
		{wire.Have{Index: 9}},
		{wire.Bitfield{Bits: []byte{0x80, 0}}},
		{wire.Bitfield{Bits: []byte{0x90}}},
		{wire.Bitfield{}},
	} {
		p := connect(t, fast, noMetadata)
		p.feed(ms...)
		err := p.SetMetadata(3, pieceLength, total)
		if _, ok := err.(*ProtocolError); !ok || p.Feed(p.now, nil) != err {
			t.Errorf("%v: %v", ms, err)
		}
		p.wantEvents()
	}
}

func TestHostileBeforeMetadata(t *testing.T) {
	for _, ms := range [][]wire.Message{
		{wire.Have{Index: maxPieces}},
		{wire.Bitfield{Bits: []byte{0}}, wire.Have{Index: 8}},
		{wire.HaveAll{}, wire.HaveNone{}},
		{wire.Bitfield{Bits: make([]byte, maxPieces/8+1)}},
		{wire.Suggest{Index: maxPieces}},
		{wire.Request{Length: wire.BlockSize + 1}},
		{wire.Piece{Data: make([]byte, wire.BlockSize+1)}},
	} {
		p := connect(t, fast, noMetadata)
		p.feed(ms[:len(ms)-1]...)
		p.broken(ms[len(ms)-1].Append(nil))
	}
	p := connect(t, fast, noMetadata)
	p.Send(wire.Unchoke{})
	p.sent()
	p.feed(block(0, 0), answer(block(0, 0)))
	p.wantSent("reject 0:0+16384")
	p.wantEvents("unsolicited answer to request 0:0+16384")
}

func prefix(n uint32, rest ...byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, n), rest...)
}

// "message over 1 MiB, block over 16 KiB (or what was asked), fixed-size message
// of another size": refused by the header alone, so nothing is allocated.
func TestHostileLengths(t *testing.T) {
	for name, b := range map[string][]byte{
		"over 1 MiB":           prefix(wire.MaxMessage + 1),
		"over 4 GiB":           prefix(1<<32 - 1),
		"choke with a body":    prefix(2, wire.IDChoke),
		"short have":           prefix(4, wire.IDHave),
		"long have":            prefix(6, wire.IDHave),
		"short request":        prefix(12, wire.IDRequest),
		"long cancel":          prefix(14, wire.IDCancel),
		"short piece":          prefix(8, wire.IDPiece),
		"empty piece":          prefix(9, wire.IDPiece, 0, 0, 0, 0, 0, 0, 0, 0),
		"block over 16 KiB":    prefix(9+wire.BlockSize+1, wire.IDPiece, 0, 0, 0, 0, 0, 0, 0, 0),
		"piece past the end":   prefix(9+1, wire.IDPiece, 0, 0, 0, 3, 0, 0, 0, 0),
		"block past the end":   prefix(9+2, wire.IDPiece, 0, 0, 0, 2, 0, 0, 0x1f, 0xff),
		"block at 2^32":        prefix(9+1, wire.IDPiece, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff),
		"extended without id":  prefix(1, wire.IDExtended),
		"long port":            prefix(5, wire.IDPort),
		"bitfield of 1 MiB":    prefix(wire.MaxMessage, wire.IDBitfield),
		"allowed fast too big": prefix(9, wire.IDAllowedFast),
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			p := connect(t, fast, extended)
			p.broken(b)
			p.wantEvents()
			if cap(p.stage) > keepStage {
				t.Errorf("%d bytes allocated", cap(p.stage))
			}
		})
	}
}

func TestUnknownMessagesAreSkipped(t *testing.T) {
	p := connect(t)
	for range 3 {
		p.feed(wire.Unknown{ID: 99, Payload: make([]byte, wire.MaxMessage-1)}, wire.Unknown{ID: 200})
	}
	if cap(p.stage) > keepStage {
		t.Errorf("%d bytes staged", cap(p.stage))
	}
	p.feed(wire.Have{Index: 1}, wire.Port{Port: 99})
	p.wantEvents("has 1", "peer's DHT port 99")
}

// BEP 3: "Messages of length zero are keepalives, and ignored."
func TestKeepAliveIsIgnored(t *testing.T) {
	p := connect(t)
	p.feed(wire.KeepAlive{}, wire.KeepAlive{})
	p.wantEvents()
	p.wantSent()
}

func TestRepeatedStatesAreOneEvent(t *testing.T) {
	p := connect(t, fast)
	p.feed(wire.Choke{}, wire.Unchoke{}, wire.Unchoke{}, wire.Choke{}, wire.Choke{},
		wire.NotInterested{}, wire.Interested{}, wire.Interested{}, wire.NotInterested{})
	p.wantEvents("unchoked", "choked", "peer interested", "peer not interested")
}

func TestEventsBeforeAnErrorStayReadable(t *testing.T) {
	p := connect(t)
	b := append(wire.Have{Index: 1}.Append(nil), wire.Have{Index: 99}.Append(nil)...)
	p.broken(append(b, wire.Have{Index: 2}.Append(nil)...))
	if !p.HasEvents() {
		t.Error("no events")
	}
	p.wantEvents("has 1")
	if p.HasEvents() {
		t.Error("events left")
	}
}
