package proto

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// model knows of every request what became of it, from the calls and events
// alone, and keeps what each dst looked like when it was given back.
type model struct {
	t     *testing.T
	p     *peer
	rng   *rand.Rand
	owned map[wire.Request]*loan // dst is the Conn's
	open  map[wire.Request]int   // requests sent that have no answer yet
	back  []*loan
}

// loan is a dst that was given to the Conn.
type loan struct {
	dst, returned []byte
}

func (m *model) giveBack(r wire.Request) {
	if l := m.owned[r]; l != nil {
		l.returned = bytes.Clone(l.dst)
		m.back = append(m.back, l)
		delete(m.owned, r)
	}
}

// step does one random thing.
func (m *model) step() {
	p := m.p
	r := block(m.rng.Uint32N(3), m.rng.Uint32N(2))
	arriving := p.arrival.active
	switch m.rng.IntN(12) {
	case 0, 1, 2:
		m.request(r)
	case 3:
		if p.Cancel(r) && !p.fast {
			m.giveBack(r)
			m.open[r]--
		}
	case 4:
		p.Abandon(r)
		m.giveBack(r)
	case 5:
		m.feedRest()
		if m.rng.IntN(3) == 0 {
			p.feed(wire.Choke{})
		}
	case 6:
		m.feedRest()
		p.feed(wire.Unchoke{})
	case 7:
		if p.fast && !arriving {
			p.feed(wire.Reject(r))
		}
	default:
		m.feedPiece(r)
	}
	m.takeEvents()
	check(m.t, p.Conn)
}

// request counts what the Conn sends: asking again for what is in flight sends
// nothing.
func (m *model) request(r wire.Request) {
	m.giveBack(r)
	l := &loan{dst: make([]byte, r.Length)}
	before := m.p.OutputLen()
	m.p.Request(m.p.now, r, l.dst)
	m.owned[r] = l
	if m.p.OutputLen() > before || m.p.HasEvents() {
		m.open[r]++
	}
}

// feedPiece starts a piece, or goes on with the one that is coming.
func (m *model) feedPiece(r wire.Request) {
	if m.p.arrival.active && m.rng.IntN(2) == 0 {
		m.feedRest()
		return
	}
	if !m.p.arrival.active {
		m.p.feedBytes(answer(r).AppendHeader(nil))
	}
	a := m.p.arrival
	left := answer(a.req).Data[a.got:]
	m.p.feedBytes(left[:m.rng.IntN(len(left))])
}

func (m *model) feedRest() {
	if a := m.p.arrival; a.active {
		m.p.feedBytes(answer(a.req).Data[a.got:])
		m.takeEvents()
	}
}

func (m *model) takeEvents() {
	m.t.Helper()
	for _, e := range m.p.AppendEvents(nil) {
		switch e := e.(type) {
		case Block:
			if l := m.owned[e.Req]; l == nil || !bytes.Equal(l.dst, answer(e.Req).Data) {
				m.t.Fatalf("%v: wrong bytes", e)
			}
			m.end(e.Req)
			m.giveBack(e.Req)
		case Rejected:
			m.end(e.Req)
			m.giveBack(e.Req)
		case Discarded:
			m.end(e.Req)
		}
	}
	inFlight := 0
	for _, n := range m.open {
		inFlight += n
	}
	if s := m.p.State(); s.InFlight != inFlight {
		m.t.Fatalf("%d in flight, want %d", s.InFlight, inFlight)
	}
}

func (m *model) end(r wire.Request) {
	m.t.Helper()
	if m.open[r]--; m.open[r] < 0 {
		m.t.Fatalf("%v ended twice", r)
	}
}

// TestModel holds two promises under random calls: every request ends exactly
// once, and a dst that was given back is not written.
func TestModel(t *testing.T) {
	for seed := range uint64(60) {
		var opts []option
		if seed%2 == 0 {
			opts = append(opts, fast)
		}
		m := &model{
			t: t, p: unchoked(t, opts...), rng: rand.New(rand.NewPCG(seed, 4)),
			owned: map[wire.Request]*loan{}, open: map[wire.Request]int{},
		}
		for range 150 {
			m.step()
		}
		for _, l := range m.back {
			if !bytes.Equal(l.dst, l.returned) {
				t.Fatalf("seed %d: a dst was written after it was given back", seed)
			}
		}
	}
}
