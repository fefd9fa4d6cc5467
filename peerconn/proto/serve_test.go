package proto

import (
	"bytes"
	"net"
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// serving returns a connected Conn that has unchoked the peer.
func serving(t *testing.T, opts ...option) *peer {
	p := connect(t, opts...)
	p.Send(wire.Unchoke{})
	p.wantSent("unchoke")
	return p
}

func TestServing(t *testing.T) {
	p := serving(t)
	r := block(0, 1)
	p.feed(r, r) // asked twice, served once
	p.wantEvents("peer: request 0:16384+16384")
	if n := p.State().PeerRequests; n != 1 {
		t.Errorf("%d requests", n)
	}
	p.Send(answer(r))
	p.wantSent("piece 0:16384+16384")
	if p.SendPiece(answer(r), 1) {
		t.Error("sent twice")
	}
	p.wantSent()
}

// BEP 3: "All current implementations use 2^14 (16 kiB), and close connections
// which request an amount greater than that."
func TestHostileRequests(t *testing.T) {
	for _, r := range []wire.Request{
		{Index: 0, Length: wire.BlockSize + 1},
		{Index: 0, Length: 1<<32 - 1},
		{Index: 0, Length: 0},
		{Index: 3, Length: 1},
		{Index: 2, Length: lastPiece + 1},
		{Index: 0, Begin: pieceLength, Length: 1},
		{Index: 0, Begin: 1<<32 - 1, Length: 1},
		{Index: 1<<32 - 1, Begin: 1<<32 - 1, Length: wire.BlockSize},
	} {
		p := serving(t, fast)
		p.broken(r.Append(nil))
		p.wantEvents()
	}
}

// BEP 6: "If a peer receives a request from a peer its choking, the peer receiving
// the request SHOULD send a reject unless the piece is in the allowed fast set."
func TestRequestsWhilePeerIsChoked(t *testing.T) {
	p := connect(t, fast)
	p.Send(wire.AllowedFast{Index: 1})
	p.wantSent("allowed fast 1")
	p.feed(block(0, 0), block(1, 0))
	p.wantSent("reject 0:0+16384")
	p.wantEvents("peer: request 1:0+16384")

	p = connect(t)
	p.feed(block(0, 0))
	p.wantSent()
	p.wantEvents()
}

func TestRequestFlood(t *testing.T) {
	p := serving(t, fast, maxRequests(2))
	p.feed(block(0, 0), block(0, 1), block(1, 0), block(2, 0))
	p.wantEvents("peer: request 0:0+16384", "peer: request 0:16384+16384")
	p.wantSent("reject 1:0+16384", "reject 2:0+8192")
	p.Send(answer(block(0, 0)))
	p.feed(block(1, 0))
	p.wantEvents("peer: request 1:0+16384")

	p = serving(t, maxRequests(-1))
	p.feed(block(0, 0))
	p.wantEvents()
	p.wantSent()
}

// TestPeerThatDoesNotRead floods us with what asks for an answer.
func TestPeerThatDoesNotRead(t *testing.T) {
	p := connect(t, fast)
	flood := bytes.Repeat(block(0, 0).Append(nil), 1000)
	for range 1000 {
		p.now = p.now.Add(time.Second) // not faster than it may
		if err := p.Feed(p.now, flood); err != nil {
			if n := p.OutputLen(); n > maxQueued+int64(len(flood)) {
				t.Errorf("%d bytes were queued", n)
			}
			return
		}
	}
	t.Error("no error")
}

func TestPeerCancels(t *testing.T) {
	for _, test := range []struct {
		opts []option
		sent []string
	}{{nil, nil}, {[]option{fast}, []string{"reject 0:0+16384"}}} {
		p := serving(t, test.opts...)
		p.feed(block(0, 0), wire.Cancel(block(0, 0)), wire.Cancel(block(0, 0)), wire.Cancel{Index: 99})
		p.wantEvents("peer: request 0:0+16384", "peer cancelled request 0:0+16384")
		p.wantSent(test.sent...)
		if p.SendPiece(answer(block(0, 0)), 1) || p.State().PeerRequests != 0 {
			t.Error("the request is still there")
		}
	}
}

// BEP 6: "A peer SHOULD choke first and then reject requests", and it "SHOULD NOT
// reject requests for pieces that are in the allowed fast set".
func TestChoking(t *testing.T) {
	p := serving(t, fast)
	p.Send(wire.AllowedFast{Index: 1})
	p.feed(block(2, 0), block(1, 0), block(0, 0))
	p.AppendEvents(nil)
	p.sent()
	p.Send(wire.Choke{})
	p.Send(wire.Choke{})
	p.wantSent("choke", "reject 2:0+8192", "reject 0:0+16384")
	if p.SendPiece(answer(block(0, 0)), 1) || !p.SendPiece(answer(block(1, 0)), 2) {
		t.Error("wrong requests are left")
	}

	p = serving(t)
	p.feed(block(0, 0))
	p.Send(wire.Choke{})
	p.wantSent("choke")
	if p.State().PeerRequests != 0 {
		t.Error("a request is left")
	}
}

func TestRejecting(t *testing.T) {
	for _, test := range []struct {
		opts []option
		sent []string
	}{{nil, nil}, {[]option{fast}, []string{"reject 0:0+16384"}}} {
		p := serving(t, test.opts...)
		p.feed(block(0, 0))
		p.Send(wire.Reject(block(0, 0)))
		p.Send(wire.Reject(block(0, 0)))
		p.wantSent(test.sent...)
	}
}

func TestStateIsSentOnce(t *testing.T) {
	p := connect(t)
	for _, m := range []wire.Message{
		wire.Choke{}, wire.NotInterested{}, // known from the start
		wire.Unchoke{}, wire.Unchoke{}, wire.Interested{}, wire.Interested{},
	} {
		p.Send(m)
	}
	p.wantSent("unchoke", "interested")
	if s := p.State(); s.AmChoking || !s.AmInterested {
		t.Errorf("%+v", s)
	}
	p.Send(wire.NotInterested{})
	p.wantSent("not interested")
}

// BEP 3: "Downloaders which don't have anything yet may skip the 'bitfield'
// message."
func TestFastMessagesAreTranslated(t *testing.T) {
	all := []wire.Message{
		wire.HaveAll{}, wire.HaveNone{}, wire.Suggest{Index: 1}, wire.AllowedFast{Index: 1}, wire.Have{Index: 1},
	}
	p := connect(t)
	for _, m := range all {
		p.Send(m)
	}
	if got := p.output(); !bytes.HasPrefix(got, []byte{0, 0, 0, 2, wire.IDBitfield, 0xe0}) {
		t.Errorf("have all was sent as %x", got)
	}
	p.wantSent("bitfield of 1 bytes", "have 1")

	p = connect(t, fast)
	for _, m := range all {
		p.Send(m)
	}
	p.wantSent("have all", "have none", "suggest 1", "allowed fast 1", "have 1")
}

func TestNothingIsSentBeforeTheHandshake(t *testing.T) {
	p, _ := raw(t)
	p.Send(wire.Interested{})
	if n := p.OutputLen(); n != wire.HandshakeLen || p.State().AmInterested {
		t.Errorf("%d bytes queued", n)
	}
}

// TestTakeOutput swaps two Outputs as a driver does.
func TestTakeOutput(t *testing.T) {
	p := serving(t)
	p.feed(block(0, 0), block(0, 1), block(2, 0))
	first, second := answer(block(0, 0)), answer(block(2, 0))
	copied := answer(block(0, 1))
	p.Send(wire.Have{Index: 1})
	p.SendPiece(first, 10)
	p.Send(copied)
	p.Send(wire.Have{Index: 2})
	p.SendPiece(second, 11)
	clear(copied.Data) // it is ours again

	var want []byte
	for _, m := range []wire.Message{
		wire.Have{Index: 1}, first, answer(block(0, 1)), wire.Have{Index: 2}, second,
	} {
		want = m.Append(want)
	}
	var out Output
	p.TakeOutput(&out)
	p.Send(wire.Interested{}) // while out is being written
	bufs := out.Buffers(nil)
	if out.Len() != int64(len(want)) || !bytes.Equal(bytes.Join(bufs, nil), want) {
		t.Errorf("%d bytes, want %d", out.Len(), len(want))
	}
	if &bufs[1][0] != &first.Data[0] {
		t.Error("data was copied")
	}
	var written bytes.Buffer
	v := net.Buffers(bufs)
	if n, err := v.WriteTo(&written); n != out.Len() || err != nil {
		t.Errorf("wrote %d, %v", n, err)
	}
	sent := out.Pieces()
	if len(sent) != 2 || sent[0].Token != 10 || sent[1] != (SentPiece{11, out.Len()}) {
		t.Fatalf("pieces %+v", sent)
	}
	if end := sent[0].End; !bytes.HasSuffix(want[:end], first.Data) {
		t.Errorf("the first piece ends at %d", end)
	}
	p.TakeOutput(&out)
	if got := bytes.Join(out.Buffers(nil), nil); !bytes.Equal(got, wire.Interested{}.Append(nil)) || out.Pieces() != nil && len(out.Pieces()) > 0 {
		t.Errorf("then %x", got)
	}
	p.TakeOutput(&out)
	if out.Len() != 0 || len(out.Buffers(nil)) != 0 {
		t.Error("not empty")
	}
}

func TestTrace(t *testing.T) {
	var in, out []string
	p := serving(t, fast, func(c *Config, _ *wire.Handshake) {
		c.Trace = func(incoming bool, m wire.Message) {
			if incoming {
				in = append(in, m.String())
			} else {
				out = append(out, m.String())
			}
		}
	})
	p.feed(wire.Unchoke{}, wire.KeepAlive{}, block(0, 0), wire.Unknown{ID: 99, Payload: []byte("x")})
	p.request(block(1, 0))
	p.feed(answer(block(1, 0)), answer(block(1, 1)))
	p.SendPiece(answer(block(0, 0)), 1)
	wantIn := []string{"unchoke", "keep-alive", "request 0:0+16384", "unknown message 99, 0 bytes", "piece 1:0+16384", "piece 1:16384+16384"}
	wantOut := []string{"unchoke", "request 1:0+16384", "piece 0:0+16384"}
	if !equal(in, wantIn) || !equal(out, wantOut) {
		t.Errorf("in %q\nout %q", in, out)
	}
}
