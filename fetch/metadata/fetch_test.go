package metadata

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// Kinds of peers.

func silent(*simPeer, []byte) []byte { return nil }

func rejects(_ *simPeer, request []byte) []byte {
	m, _ := ParseMessage(request)
	return Message{Kind: Reject, Piece: m.Piece}.Append(nil)
}

// corrupts answers piece i, or each for -1, with a bit wrong.
func corrupts(i int) func(p *simPeer, request []byte) []byte {
	return func(p *simPeer, request []byte) []byte {
		b := p.server.Answer(request, false)
		if m, _ := ParseMessage(b); m.Kind == Data && (m.Piece == i || i < 0) {
			b[len(b)-1] ^= 1
		}
		return b
	}
}

// says answers with the same message always.
func says(b []byte) func(*simPeer, []byte) []byte {
	return func(*simPeer, []byte) []byte { return b }
}

// invents answers with data of a size that it made up.
func invents(size int64) func(*simPeer, []byte) []byte {
	return func(_ *simPeer, request []byte) []byte {
		m, _ := ParseMessage(request)
		return Message{Kind: Data, Piece: m.Piece, Total: size, Data: make([]byte, pieceLen(size, m.Piece))}.Append(nil)
	}
}

// drips invents a piece just before patience ends.
func drips(size int64) *simPeer {
	return &simPeer{rtt: patience - time.Second, offers: size, answer: invents(size)}
}

// scarce answers only while few requests wait.
func scarce(p *simPeer, request []byte) []byte {
	return p.server.Answer(request, p.owes > 3)
}

// The figure asked for: 0.6 s from one peer at 50 ms round trip, from the dial on.
// 2 MiB of metadata is a torrent of 100,000 pieces.
func TestOnePeerAtFiftyMilliseconds(t *testing.T) {
	for _, size := range []int{1, PieceSize - 1, PieceSize, PieceSize + 1, 300_000, 2 << 20} {
		w := newWorld(t, size)
		w.add(&simPeer{})
		took := w.run(time.Minute)
		t.Logf("%d bytes: %v", size, took)
		if took > 600*time.Millisecond {
			t.Errorf("%d bytes took %v", size, took)
		}
		if n := pieces(int64(size)); w.asked != n {
			t.Errorf("%d requests for %d pieces", w.asked, n)
		}
	}
}

func TestPeersShareTheWork(t *testing.T) {
	w := newWorld(t, 4<<20)
	for range 8 {
		w.add(&simPeer{})
	}
	took := w.run(time.Minute)
	alone := newWorld(t, 4<<20)
	alone.add(&simPeer{})
	if one := alone.run(time.Minute); took > one/2 {
		t.Errorf("%v from eight peers, %v from one", took, one)
	}
	if n := pieces(4 << 20); w.asked != n {
		t.Errorf("%d requests for %d pieces", w.asked, n)
	}
}

// One honest peer among others that are not: in bounded time, whoever comes first.
func TestOneHonestPeer(t *testing.T) {
	const size = 300_000
	for name, tt := range map[string]struct {
		others func() []*simPeer
		within time.Duration
	}{
		"silent":             {repeat(5, func() *simPeer { return &simPeer{answer: silent} }), 5 * time.Second},
		"rejects":            {repeat(5, func() *simPeer { return &simPeer{answer: rejects} }), 5 * time.Second},
		"corrupts one":       {repeat(5, func() *simPeer { return &simPeer{answer: corrupts(3)} }), 3 * time.Second},
		"corrupts all":       {repeat(5, func() *simPeer { return &simPeer{answer: corrupts(-1)} }), 3 * time.Second},
		"no data":            {repeat(5, func() *simPeer { return &simPeer{answer: says(Message{Kind: Data, Total: size}.Append(nil))} }), time.Second},
		"garbage":            {repeat(5, func() *simPeer { return &simPeer{answer: says([]byte("x"))} }), time.Second},
		"unknown messages":   {repeat(5, func() *simPeer { return &simPeer{answer: says([]byte("d8:msg_typei7ee"))} }), 5 * time.Second},
		"other sizes":        {repeat(30, func() *simPeer { s := rand.Int64N(900_000) + 1; return &simPeer{offers: s, answer: invents(s)} }), 3 * time.Second},
		"largest":            {repeat(10, func() *simPeer { return &simPeer{offers: MaxSize, answer: invents(MaxSize)} }), 3 * time.Second},
		"silent, of sizes":   {repeat(20, func() *simPeer { return &simPeer{offers: rand.Int64N(MaxSize) + 1, answer: silent} }), 45 * time.Second},
		"dripping, of sizes": {repeat(20, func() *simPeer { return drips(rand.Int64N(MaxSize/2) + MaxSize/2) }), 3 * time.Minute},
		"have none":          {repeat(39, func() *simPeer { return &simPeer{offers: -1} }), time.Second},
		"refuse":             {repeat(200, func() *simPeer { return &simPeer{refuse: true} }), 5 * time.Second},
		"leave":              {repeat(5, func() *simPeer { return &simPeer{leaves: 2} }), 5 * time.Second},
	} {
		for _, first := range []bool{true, false} {
			w := newWorld(t, size)
			if first {
				w.add(&simPeer{})
			}
			for _, p := range tt.others() {
				w.add(p)
			}
			if !first {
				w.add(&simPeer{})
			}
			took := w.run(time.Hour)
			t.Logf("%s, honest first %v: %v, %d requests", name, first, took, w.asked)
			if took > tt.within {
				t.Errorf("%s, honest first %v: %v", name, first, took)
			}
		}
	}
}

func repeat(n int, f func() *simPeer) func() []*simPeer {
	return func() (all []*simPeer) {
		for range n {
			all = append(all, f())
		}
		return all
	}
}

// A peer that rejects what is too much at once still gives it all.
func TestScarcePeer(t *testing.T) {
	w := newWorld(t, 1<<20)
	w.add(&simPeer{answer: scarce})
	t.Log(w.run(time.Minute))
}

// Every mix of peers with one that is honest and stays comes to the right end.
func TestRandomWorlds(t *testing.T) {
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		size := 1 + rnd.IntN(1<<rnd.IntN(19))
		w := newWorld(t, size)
		honest := rnd.IntN(20)
		for i := range 20 {
			p := &simPeer{rtt: time.Duration(1+rnd.IntN(3000)) * time.Millisecond}
			if i != honest {
				switch rnd.IntN(11) {
				case 0:
					p.answer = silent
				case 1:
					p.answer = rejects
				case 2:
					p.answer = corrupts(rnd.IntN(pieces(int64(size))))
				case 3:
					p.offers = rnd.Int64N(MaxSize/8) + 1
					p.answer = invents(p.offers)
				case 4:
					p.offers = int64(size) + rnd.Int64N(5) - 2
					p.answer = invents(p.offers)
				case 5:
					p.answer = scarce
				case 6:
					p.leaves = 1 + rnd.IntN(10)
				case 7:
					p.refuse = true
				case 8:
					p.offers = -1
				case 9:
					p = drips(rnd.Int64N(MaxSize/8) + 1)
				}
			}
			w.add(p)
			for range rnd.IntN(5) {
				if len(w.queue) > 0 && w.got == nil {
					w.happen()
				}
			}
		}
		if w.got == nil {
			w.run(10 * time.Minute)
		}
	}
}

// That there are too many connections says nothing of an address: all are dialled again
// soon, and as soon the next time.
func TestDialsWhileThereAreTooManyConnections(t *testing.T) {
	f, now := New(Config{}), time.Unix(1e9, 0)
	addrs := []netip.AddrPort{netip.MustParseAddrPort("10.0.0.1:6881"), netip.MustParseAddrPort("10.0.0.2:6881")}
	f.Step(now, PeersFound{Addrs: addrs})
	for range 5 {
		if said := f.Ready(); !slices.Contains(said, Command(Dial{addrs[0]})) || !slices.Contains(said, Command(Dial{addrs[1]})) {
			t.Fatalf("it said %v", said)
		}
		for _, a := range addrs {
			f.Step(now, DialFailed{Addr: a, Full: true})
		}
		if said := f.Ready(); len(said) > 0 {
			t.Fatalf("it said %v", said)
		}
		now = f.Deadline()
		f.Step(now, Tick{})
	}
	if passed := now.Sub(time.Unix(1e9, 0)); passed != 5*fullFor {
		t.Errorf("five times in %v", passed)
	}
}
