package fetchtest

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/qqbtfs/qqbtfs/peerconn/bitfield"
	"github.com/qqbtfs/qqbtfs/peerconn/proto"
	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// Behavior is how a simulated peer serves. The zero Behavior is an honest seed
// without the fast extension.
type Behavior struct {
	Fast    bool    // it has the fast extension (BEP 6)
	Lacks   float64 // share of the pieces that it has not
	From    int     // has no piece before this one
	Mute    bool    // accepts connections and says nothing
	Lies    bool    // has what it says and answers no request
	Stalls  int     // answers so many requests of a connection and no more; zero means all
	Poison  float64 // share of the blocks that it spoils
	Rejects float64 // share of the requests that it rejects, or forgets without the fast extension
	// Chokes is how long it serves before it chokes for as long. Zero: never.
	Chokes time.Duration
	// Waits is how long it takes to unchoke at first.
	Waits time.Duration
	// Leaves is how long it stays connected. Zero: for ever.
	Leaves time.Duration
	// Echoes sends every block a second time, unasked.
	Echoes bool
}

// Honest reports whether the peer never does anything that it could be banned
// for.
func (b Behavior) Honest() bool { return b.Poison == 0 }

// peer is a simulated peer.
type peer struct {
	h    *host
	b    Behavior
	has  bitfield.Set
	rnd  *rand.Rand
	sent int64 // bytes of blocks
}

// service is what a peer knows of a connection.
type service struct {
	queue    []wire.Request
	again    []wire.Request // answered already, to be sent once more
	answered int
}

func newPeer(h *host, b Behavior) *peer {
	w := h.w
	p := &peer{h: h, b: b, rnd: rand.New(rand.NewPCG(w.rnd.Uint64(), 1)), has: bitfield.New(w.torrent.NumPieces())}
	for i := range w.torrent.NumPieces() {
		if p.rnd.Float64() >= b.Lacks && i >= b.From {
			p.has.Add(i)
		}
	}
	return p
}

func (p *peer) config() proto.Config { return p.h.w.protoConfig(p.h, p.b.Fast) }

func (p *peer) events(e *end, evs []proto.Event) {
	for _, ev := range evs {
		switch ev := ev.(type) {
		case proto.Handshaken:
			e.state = &service{}
			p.greet(e)
		case proto.PeerRequest:
			p.requested(e, ev.Req)
		case proto.PeerCancel:
			s := e.state.(*service)
			s.queue = slices.DeleteFunc(s.queue, func(r wire.Request) bool { return r == ev.Req })
		}
	}
}

func (p *peer) closed(*end, error) {}

// greet tells what the peer has and unchokes.
func (p *peer) greet(e *end) {
	if p.has.All() {
		e.conn.Send(wire.HaveAll{})
	} else {
		e.conn.Send(wire.Bitfield{Bits: p.has.Wire()})
	}
	clock := &p.h.w.clock
	clock.after(p.b.Waits, func() { p.choke(e, false) })
	if p.b.Leaves > 0 {
		clock.after(p.b.Leaves, func() { e.close(nil) })
	}
}

// choke chokes or unchokes, and changes its mind later.
func (p *peer) choke(e *end, choke bool) {
	if !e.open {
		return
	}
	if choke {
		e.state.(*service).queue = nil
		e.conn.Send(wire.Choke{})
	} else {
		e.conn.Send(wire.Unchoke{})
	}
	if p.b.Chokes > 0 {
		p.h.w.clock.after(p.b.Chokes, func() { p.choke(e, !choke) })
	}
	p.h.pump()
}

func (p *peer) requested(e *end, r wire.Request) {
	s := e.state.(*service)
	s.answered++
	switch {
	case p.b.Lies, p.b.Stalls > 0 && s.answered > p.b.Stalls:
	case !p.has.Has(int(r.Index)), p.rnd.Float64() < p.b.Rejects:
		e.conn.Send(wire.Reject(r))
	default:
		s.queue = append(s.queue, r)
	}
}

// feed implements node.
func (p *peer) feed(e *end) {
	s, _ := e.state.(*service)
	if s == nil {
		return
	}
	if len(s.again) > 0 {
		// A Conn sends no piece that was not asked for; the peer has to itself.
		r := s.again[0]
		s.again = s.again[1:]
		p.h.write(e, wire.Piece{Index: r.Index, Begin: r.Begin, Data: p.h.w.content(r)}.Append(nil))
		return
	}
	if len(s.queue) == 0 {
		return
	}
	r := s.queue[0]
	s.queue = s.queue[1:]
	data := p.h.w.content(r)
	if p.rnd.Float64() < p.b.Poison {
		spoil(p.rnd, data)
	}
	e.conn.SendPiece(wire.Piece{Index: r.Index, Begin: r.Begin, Data: data}, 0)
	p.sent += int64(len(data))
	if p.b.Echoes {
		s.again = append(s.again, r)
	}
}
