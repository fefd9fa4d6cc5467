package proto

import (
	"bytes"
	"slices"
	"testing"

	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// unchoked returns a connected Conn that may request.
func unchoked(t *testing.T, opts ...option) *peer {
	p := connect(t, opts...)
	p.feed(wire.Unchoke{})
	p.wantEvents("unchoked")
	return p
}

func TestBlock(t *testing.T) {
	p := unchoked(t)
	a, b := block(0, 1), block(2, 0)
	dstA, dstB := p.request(a), p.request(b)
	p.wantSent("request 0:16384+16384", "request 2:0+8192")
	if n := p.State().InFlight; n != 2 {
		t.Errorf("%d in flight", n)
	}
	p.feed(answer(b), answer(a))
	p.wantEvents("block for request 2:0+8192", "block for request 0:16384+16384")
	if !bytes.Equal(dstA, answer(a).Data) || !bytes.Equal(dstB, answer(b).Data) {
		t.Error("wrong bytes")
	}
	if s := p.State(); s.InFlight != 0 || s.PayloadRead != 16384+8192 {
		t.Errorf("%+v", s)
	}
}

func TestPayloadArrivesInDst(t *testing.T) {
	p := unchoked(t)
	r := block(0, 0)
	dst, want := p.request(r), answer(r)
	b := want.Append(nil)
	p.feedBytes(b[:wire.PieceHeaderLen+1000])
	if !bytes.Equal(dst[:1000], want.Data[:1000]) || dst[1000] != 0 {
		t.Error("the bytes that came are not in dst")
	}
	if cap(p.stage) > keepStage || p.State().InFlight != 1 {
		t.Errorf("%d bytes staged, %d in flight", cap(p.stage), p.State().InFlight)
	}
	p.feedBytes(b[wire.PieceHeaderLen+1000:])
	p.wantEvents("block for request 0:0+16384")
}

// BEP 6 has "if a peer receives a piece that was never requested, the peer MUST
// close the connection"; here the one who counts them decides. No byte is copied.
func TestUnsolicitedPieces(t *testing.T) {
	p := unchoked(t)
	r := block(0, 0)
	dst := p.request(r)
	short, shifted := answer(r), answer(r)
	short.Data = short.Data[1:]
	shifted.Begin, shifted.Data = 1, shifted.Data[1:]
	p.feed(short, shifted, answer(block(1, 1)))
	p.wantEvents(
		"unsolicited answer to request 0:0+16383",
		"unsolicited answer to request 0:1+16383",
		"unsolicited answer to request 1:16384+16384")
	if !bytes.Equal(dst, make([]byte, len(dst))) {
		t.Error("dst was written")
	}
	p.feed(answer(r), answer(r))
	p.wantEvents("block for request 0:0+16384", "unsolicited answer to request 0:0+16384")
	if n := p.State().InFlight; n != 0 {
		t.Errorf("%d in flight", n)
	}
}

// BEP 3: "Choking is a notification that no data will be sent until unchoking
// happens."
func TestChokeWithoutFastRejectsAll(t *testing.T) {
	p := unchoked(t)
	var dsts [][]byte
	for _, r := range []wire.Request{block(1, 0), block(0, 1), block(0, 0)} {
		dsts = append(dsts, p.request(r))
	}
	p.feed(wire.Choke{})
	p.wantEvents("choked",
		"rejected: request 1:0+16384", "rejected: request 0:16384+16384", "rejected: request 0:0+16384")
	p.feed(answer(block(0, 0)))
	p.wantEvents("unsolicited answer to request 0:0+16384")
	for _, dst := range dsts {
		if !bytes.Equal(dst, make([]byte, len(dst))) {
			t.Error("dst was written after Rejected")
		}
	}
}

// BEP 6: "Choke no longer implicitly rejects all pending requests", and "every
// request is guaranteed to result in EXACTLY ONE response which is either the
// corresponding reject or corresponding piece message".
func TestChokeWithFastRejectsNothing(t *testing.T) {
	p := unchoked(t, fast)
	p.request(block(0, 0))
	p.request(block(0, 1))
	p.feed(wire.Choke{})
	p.wantEvents("choked")
	p.feed(answer(block(0, 1)), wire.Reject(block(0, 0)))
	p.wantEvents("block for request 0:16384+16384", "rejected: request 0:0+16384")
	if n := p.State().InFlight; n != 0 {
		t.Errorf("%d in flight", n)
	}
}

func TestUnknownRejectsAreIgnored(t *testing.T) {
	p := unchoked(t, fast)
	p.request(block(0, 0))
	p.feed(wire.Reject(block(0, 1)), wire.Reject{Index: 99}, wire.Reject(block(0, 0)), wire.Reject(block(0, 0)))
	p.wantEvents("rejected: request 0:0+16384")
	if n := p.State().InFlight; n != 0 {
		t.Errorf("%d in flight", n)
	}
}

// BEP 6, Allowed Fast: "if you ask for this piece, I'll give it to you even if
// you're choked."
func TestRequestsWhileChoked(t *testing.T) {
	p := connect(t, fast)
	p.feed(wire.AllowedFast{Index: 1})
	p.wantEvents("allowed fast 1")
	p.request(block(0, 0))
	p.request(block(1, 0))
	p.wantEvents("rejected: request 0:0+16384")
	p.wantSent("request 1:0+16384")
	p.feed(answer(block(1, 0)))
	p.wantEvents("block for request 1:0+16384")

	before, _ := raw(t)
	before.request(block(0, 0))
	before.wantEvents("rejected: request 0:0+16384")
}

// BEP 6: "Even when a request is cancelled, the peer receiving the cancel should
// respond with either the corresponding reject or the corresponding piece".
func TestCancelWithFast(t *testing.T) {
	p := unchoked(t, fast)
	a, b := block(0, 0), block(0, 1)
	dst := p.request(a)
	p.request(b)
	p.sent()
	first, again := p.Cancel(a), p.Cancel(a)
	if !first || !again || !p.Cancel(b) || p.Cancel(block(1, 0)) {
		t.Error("Cancel does not tell what is in flight")
	}
	p.wantSent("cancel 0:0+16384", "cancel 0:16384+16384")
	if n := p.State().InFlight; n != 2 {
		t.Errorf("%d in flight", n)
	}
	p.feed(answer(a), wire.Reject(b))
	p.wantEvents("block for request 0:0+16384", "rejected: request 0:16384+16384")
	if !bytes.Equal(dst, answer(a).Data) {
		t.Error("dst is not filled")
	}
}

func TestCancelWithoutFast(t *testing.T) {
	p := unchoked(t)
	r := block(0, 0)
	dst := p.request(r)
	if !p.Cancel(r) || p.Cancel(r) {
		t.Error("Cancel does not tell what is in flight")
	}
	p.wantSent("request 0:0+16384", "cancel 0:0+16384")
	p.feed(answer(r))
	p.wantEvents("unsolicited answer to request 0:0+16384")
	if !bytes.Equal(dst, make([]byte, len(dst))) {
		t.Error("dst was written after Cancel")
	}
}

// TestLettingGoMidway cancels or abandons a block whose data is coming in.
func TestLettingGoMidway(t *testing.T) {
	for name, test := range map[string]struct {
		opts  []option
		do    func(*peer, wire.Request)
		event string
		keeps bool // dst stays in use
	}{
		"cancel, fast":    {[]option{fast}, func(p *peer, r wire.Request) { p.Cancel(r) }, "block for ", true},
		"cancel, no fast": {nil, func(p *peer, r wire.Request) { p.Cancel(r) }, "unsolicited answer to ", false},
		"abandon":         {nil, func(p *peer, r wire.Request) { p.Abandon(r) }, "discarded answer to ", false},
		"abandon, fast":   {[]option{fast}, func(p *peer, r wire.Request) { p.Abandon(r) }, "discarded answer to ", false},
	} {
		t.Run(name, func(t *testing.T) {
			p := unchoked(t, test.opts...)
			r := block(0, 0)
			dst, b := p.request(r), answer(r).Append(nil)
			p.sent()
			p.feedBytes(b[:5000])
			test.do(p, r)
			p.wantSent()
			got := slices.Clone(dst)
			p.feedBytes(b[5000:])
			p.wantEvents(test.event + r.String())
			if bytes.Equal(dst, got) == test.keeps {
				t.Error("dst was not treated so")
			}
			if n := p.State().InFlight; n != 0 {
				t.Errorf("%d in flight", n)
			}
		})
	}
}

func TestAbandon(t *testing.T) {
	p := unchoked(t, fast)
	a, b := block(0, 0), block(0, 1)
	dst := p.request(a)
	p.request(b)
	p.sent()
	p.Abandon(a)
	p.Abandon(b)
	p.Abandon(block(1, 0))
	p.wantSent()
	p.feed(answer(a), wire.Reject(b))
	p.wantEvents("discarded answer to request 0:0+16384", "rejected: request 0:16384+16384")
	if !bytes.Equal(dst, make([]byte, len(dst))) {
		t.Error("dst was written after Abandon")
	}
}

// TestAskingAgain requests what is in flight: nothing is sent and the new dst is
// filled, unless the data that came is gone already.
func TestAskingAgain(t *testing.T) {
	r := block(0, 0)
	b := answer(r).Append(nil)
	for name, test := range map[string]struct {
		do   func(p *peer)
		sent []string
	}{
		"in flight": {func(p *peer) {}, nil},
		"abandoned": {func(p *peer) { p.Abandon(r) }, nil},
		"cancelled": {func(p *peer) { p.Cancel(r); p.sent() }, nil},
		"coming in": {func(p *peer) { p.feedBytes(b[:3000]) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			p := unchoked(t, fast)
			old := p.request(r)
			p.sent()
			test.do(p)
			got := slices.Clone(old)
			dst := p.request(r)
			p.wantSent(test.sent...)
			from := 0
			if p.arrival.active {
				from = 3000
			}
			p.feedBytes(b[from:])
			p.wantEvents("block for request 0:0+16384")
			if !bytes.Equal(dst, answer(r).Data) || !bytes.Equal(old, got) {
				t.Error("wrong dst")
			}
		})
	}
}

func TestAskingAgainForWhatIsBeingDiscarded(t *testing.T) {
	p := unchoked(t)
	r := block(0, 0)
	b := answer(r).Append(nil)
	p.request(r)
	p.feedBytes(b[:3000])
	p.Abandon(r)
	dst := p.request(r)
	p.wantSent("request 0:0+16384", "request 0:0+16384")
	if n := p.State().InFlight; n != 2 {
		t.Errorf("%d in flight", n)
	}
	p.feedBytes(b[3000:])
	p.feedBytes(b)
	p.wantEvents("discarded answer to request 0:0+16384", "block for request 0:0+16384")
	if !bytes.Equal(dst, answer(r).Data) {
		t.Error("wrong bytes")
	}
}

func TestRequestOutsideOfTheTorrentIsABug(t *testing.T) {
	for _, r := range []wire.Request{
		{Index: 3, Length: 1}, {Index: 2, Length: lastPiece + 1}, {Begin: 1<<32 - 1, Length: 1}, {},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%v was taken", r)
				}
			}()
			p := unchoked(t)
			p.request(r)
		}()
	}
}

func TestAllowedFastIsBounded(t *testing.T) {
	p := connect(t, fast, func(c *Config, _ *wire.Handshake) {
		c.NumPieces, c.PieceLength, c.Total = 5000, 1, 5000
	})
	for i := range uint32(5000) {
		p.feed(wire.AllowedFast{Index: i})
	}
	if n := len(p.AppendEvents(nil)); n != maxAllowedFast {
		t.Errorf("%d events", n)
	}
}
