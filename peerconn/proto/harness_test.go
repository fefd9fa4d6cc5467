package proto

import (
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/peerconn/extension"
	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

var epoch = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

// The torrent of the tests: 3 pieces, the last one of half a block.
const (
	pieceLength = 2 * wire.BlockSize
	lastPiece   = wire.BlockSize / 2
	total       = 2*pieceLength + lastPiece
)

// block returns a request for a whole block of the torrent.
func block(piece, n uint32) wire.Request {
	if piece == 2 {
		return wire.Request{Index: 2, Length: lastPiece}
	}
	return wire.Request{Index: piece, Begin: n * wire.BlockSize, Length: wire.BlockSize}
}

// answer returns the piece that answers r, with bytes that tell the block.
func answer(r wire.Request) wire.Piece {
	data := make([]byte, r.Length)
	for i := range data {
		data[i] = byte(int(r.Index)*7 + int(r.Begin)/wire.BlockSize*3 + i + 1)
	}
	return wire.Piece{Index: r.Index, Begin: r.Begin, Data: data}
}

type option func(*Config, *wire.Handshake)

func fast(c *Config, remote *wire.Handshake) {
	c.Handshake.Reserved.SetFast()
	remote.Reserved.SetFast()
}

func extended(c *Config, remote *wire.Handshake) {
	c.Handshake.Reserved.SetExtended()
	remote.Reserved.SetExtended()
	c.Extension = extension.Handshake{M: map[string]uint8{"ut_metadata": 2, "ut_pex": 3}, V: "test"}
}

func noMetadata(c *Config, _ *wire.Handshake) { c.NumPieces, c.PieceLength, c.Total = 0, 0, 0 }

func maxRequests(n int) option { return func(c *Config, _ *wire.Handshake) { c.MaxPeerRequests = n } }

func configs(opts []option) (Config, wire.Handshake) {
	cfg := Config{NumPieces: 3, PieceLength: pieceLength, Total: total}
	remote := wire.Handshake{PeerID: [20]byte{'r'}}
	cfg.Handshake.PeerID = [20]byte{'u'}
	for _, o := range opts {
		o(&cfg, &remote)
	}
	return cfg, remote
}

// peer is a Conn under test together with the peer at its other end.
type peer struct {
	*Conn
	t   *testing.T
	now time.Time
	in  []byte // of the Conn's output, not parsed yet
}

// raw returns a Conn before the handshake.
func raw(t *testing.T, opts ...option) (*peer, wire.Handshake) {
	cfg, remote := configs(opts)
	return &peer{Conn: New(epoch, cfg), t: t, now: epoch}, remote
}

// connect returns a Conn after the handshake, with all that led there consumed.
func connect(t *testing.T, opts ...option) *peer {
	p, remote := raw(t, opts...)
	p.feedBytes(remote.Append(nil))
	p.wantEvents(Handshaken{Remote: remote}.String())
	if got, err := wire.ParseHandshake(p.output()); err != nil || got != p.cfg.Handshake {
		t.Fatalf("our handshake is %+v, %v", got, err)
	}
	p.in = p.in[wire.HandshakeLen:]
	p.sent()
	return p
}

func (p *peer) feedBytes(b []byte) {
	p.t.Helper()
	if err := p.Feed(p.now, b); err != nil {
		p.t.Fatalf("Feed: %v", err)
	}
	check(p.t, p.Conn)
}

func (p *peer) feed(ms ...wire.Message) {
	p.t.Helper()
	for _, m := range ms {
		p.feedBytes(m.Append(nil))
	}
}

// broken feeds what must end the connection, and that twice: errors are final.
func (p *peer) broken(b []byte) error {
	p.t.Helper()
	err := p.Feed(p.now, b)
	if _, ok := err.(*ProtocolError); !ok {
		p.t.Fatalf("Feed of %.40x: %v, want a ProtocolError", b, err)
	}
	check(p.t, p.Conn)
	if again := p.Feed(p.now, wire.Unchoke{}.Append(nil)); again != err {
		p.t.Errorf("a second Feed: %v, want %v", again, err)
	}
	return err
}

func (p *peer) wantEvents(want ...string) {
	p.t.Helper()
	var got []string
	for e, ok := p.Next(); ok; e, ok = p.Next() {
		got = append(got, e.String())
	}
	if !slices.Equal(got, want) {
		p.t.Fatalf("events\n %q, want\n %q", got, want)
	}
}

func (p *peer) output() []byte {
	p.in = append(p.in, p.Output()...)
	return p.in
}

// sent returns the messages that the Conn sent since.
func (p *peer) sent() []string {
	p.t.Helper()
	var out []string
	for p.output(); len(p.in) >= 4; {
		n := 4 + int(binary.BigEndian.Uint32(p.in))
		out = append(out, parse(p.t, p.in[:n]).String())
		p.in = p.in[n:]
	}
	return out
}

func (p *peer) wantSent(want ...string) {
	p.t.Helper()
	if got := p.sent(); !slices.Equal(got, want) {
		p.t.Fatalf("sent\n %q, want\n %q", got, want)
	}
}

func parse(t *testing.T, b []byte) wire.Message {
	t.Helper()
	if len(b) == 4 {
		return wire.KeepAlive{}
	}
	m, err := wire.Parse(b[4], b[5:])
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// request asks for a block and returns its dst.
func (p *peer) request(r wire.Request) []byte {
	dst := make([]byte, r.Length)
	p.Request(p.now, r, dst)
	return dst
}

// check fails if an invariant of c is broken.
func check(t testing.TB, c *Conn) {
	t.Helper()
	a := &c.arrival
	switch {
	case len(c.stage) > 4+wire.MaxMessage:
		t.Fatalf("%d bytes staged", len(c.stage))
	case a.active && a.got >= int(a.req.Length):
		t.Fatalf("%d bytes of %v have come", a.got, a.req)
	case !a.active && (a.wanted || a.dst != nil || a.got != 0):
		t.Fatalf("leftovers of an arrival: %v", a.req)
	case a.active && c.skip > 0:
		t.Fatal("two messages at once")
	case c.peerRequests.len() > max(0, c.cfg.MaxPeerRequests):
		t.Fatalf("%d requests of the peer", c.peerRequests.len())
	case len(c.hashes.ours) > maxHashRequests, len(c.hashes.theirs) > maxHashRequests:
		t.Fatalf("%d and %d requests for hashes", len(c.hashes.ours), len(c.hashes.theirs))
	case len(c.allowedFast) > maxAllowedFast:
		t.Fatalf("%d pieces allowed fast", len(c.allowedFast))
	case !c.fast && c.peerChoking && c.flights.len() > 0:
		t.Fatalf("%d requests in flight while choked", c.flights.len())
	}
}
