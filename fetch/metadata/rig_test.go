package metadata

import (
	"bytes"
	"container/heap"
	"crypto/sha1"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

// world runs a Fetch among simulated peers in virtual time.
type world struct {
	t     *testing.T
	f     *Fetch
	info  []byte
	now   time.Time
	queue happenings
	order int
	peers map[PeerID]*simPeer
	at    map[netip.AddrPort]*simPeer // who listens where
	next  PeerID
	got   []byte
	asked int // requests sent
}

// simPeer is a peer of a world. What its functions are nil for, it does honestly.
type simPeer struct {
	id     PeerID // while connected
	rtt    time.Duration
	offers int64 // size; -1: has none
	owes   int
	server Server
	answer func(p *simPeer, request []byte) []byte // nil payload: silence
	leaves int                                     // after so many answers; 0: never
	refuse bool                                    // connections
}

type happening struct {
	at    time.Time
	order int
	do    func()
}

type happenings []happening

func (h happenings) Len() int { return len(h) }
func (h happenings) Less(i, j int) bool {
	return h[i].at.Before(h[j].at) || h[i].at.Equal(h[j].at) && h[i].order < h[j].order
}
func (h happenings) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *happenings) Push(x any)   { *h = append(*h, x.(happening)) }
func (h *happenings) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

func newWorld(t *testing.T, size int) *world {
	w := &world{
		t: t, info: make([]byte, size), now: time.Unix(1e9, 0),
		peers: map[PeerID]*simPeer{}, at: map[netip.AddrPort]*simPeer{},
	}
	rand.NewChaCha8([32]byte{byte(size)}).Read(w.info)
	sum := sha1.Sum(w.info)
	w.f = New(Config{Verify: func(b []byte) bool { return sha1.Sum(b) == sum }})
	return w
}

// add makes a peer listen, and the Fetch know it.
func (w *world) add(p *simPeer) *simPeer {
	if p.rtt == 0 {
		p.rtt = 50 * time.Millisecond
	}
	if p.offers == 0 {
		p.offers = int64(len(w.info))
	}
	p.server = NewServer(w.info)
	addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(len(w.at) >> 8), byte(len(w.at))}), 6881)
	w.at[addr] = p
	w.step(PeersFound{Addrs: []netip.AddrPort{addr}})
	return p
}

func (w *world) after(d time.Duration, do func()) {
	w.order++
	heap.Push(&w.queue, happening{w.now.Add(d), w.order, do})
}

func (w *world) step(ev Event) {
	w.f.Step(w.now, ev)
	w.check()
	for _, c := range w.f.Ready() {
		w.perform(c)
	}
}

func (w *world) perform(c Command) {
	switch c := c.(type) {
	case Dial:
		w.dial(c.Addr)
	case Disconnect:
		if p := w.peers[c.Peer]; p != nil {
			w.hangUp(p, 0)
		}
	case Send:
		w.deliver(c)
	case Found:
		w.got = c.Info
	}
}

func (w *world) dial(addr netip.AddrPort) {
	p := w.at[addr]
	w.after(p.rtt, func() {
		if p.refuse || p.id != 0 {
			w.step(DialFailed{Addr: addr})
			return
		}
		w.next++
		p.id, p.owes = w.next, 0
		w.peers[p.id] = p
		id := p.id
		w.step(PeerConnected{Peer: id, Addr: addr, Outgoing: true})
		w.after(p.rtt, func() {
			if p.id == id {
				w.step(PeerOffers{Peer: id, Size: max(p.offers, 0)})
			}
		})
	})
}

func (w *world) hangUp(p *simPeer, after time.Duration) {
	id := p.id
	w.after(after, func() {
		if w.peers[id] != nil {
			delete(w.peers, id)
			p.id = 0
			w.step(PeerGone{Peer: id})
		}
	})
}

func (w *world) deliver(c Send) {
	p, id := w.peers[c.Peer], c.Peer
	if p == nil {
		return // it was gone by then
	}
	w.asked++
	p.owes++
	if p.owes > deepest {
		w.t.Fatalf("a peer owes %d answers", p.owes)
	}
	w.after(p.rtt, func() {
		if p.id != id {
			return
		}
		p.owes--
		if p.leaves > 0 {
			if p.leaves--; p.leaves == 0 {
				w.hangUp(p, 0)
			}
		}
		var reply []byte
		if p.answer != nil {
			reply = p.answer(p, c.Payload)
		} else {
			reply = p.server.Answer(c.Payload, false)
		}
		if reply != nil {
			w.step(Received{Peer: id, Payload: reply})
		}
	})
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// happen has the next thing happen.
func (w *world) happen() {
	h := heap.Pop(&w.queue).(happening)
	w.now = h.at
	h.do()
}

// run goes on until the metadata is there or d has passed, and returns how long it took.
func (w *world) run(d time.Duration) time.Duration {
	start := w.now
	for w.got == nil {
		due := w.f.Deadline()
		if due.IsZero() || !due.After(w.f.now) {
			w.t.Fatalf("the deadline is %v, the last step was at %v", due, w.f.now)
		}
		if len(w.queue) > 0 && !w.queue[0].at.After(due) {
			w.happen()
		} else {
			w.now = later(due, w.now)
			w.step(Tick{})
		}
		if w.now.Sub(start) > d {
			w.t.Fatalf("no metadata after %v: %+v", d, w.f.Stats())
		}
	}
	if !bytes.Equal(w.got, w.info) {
		w.t.Fatal("other metadata than wanted")
	}
	return w.now.Sub(start)
}

// check looks at the invariants.
func (w *world) check() {
	f := w.f
	held := 0
	if len(f.attempts) > maxAttempts {
		w.t.Fatalf("%d attempts", len(f.attempts))
	}
	for _, a := range f.attempts {
		owed := make([]int, len(a.pieces))
		for _, p := range f.members(a) {
			if a.solo != nil && a.solo != p {
				w.t.Fatal("two sources in an attempt that is for one")
			}
			for i := range p.asked {
				owed[i]++
			}
		}
		missing := 0
		for i, b := range a.pieces {
			held += len(b)
			if b == nil {
				missing++
			}
			if owed[i] != a.owed[i] {
				w.t.Fatalf("piece %d is owed by %d, counted %d", i, owed[i], a.owed[i])
			}
		}
		if missing != a.missing {
			w.t.Fatalf("%d pieces missing, counted %d", missing, a.missing)
		}
	}
	if held != f.held && !f.found || held > maxHeld {
		w.t.Fatalf("%d bytes held, counted %d", held, f.held)
	}
	for _, p := range f.peers {
		if p.at == nil && len(p.asked) > 0 {
			w.t.Fatal("a peer owes pieces of no attempt")
		}
		if p.at != nil && p.at.size != p.size {
			w.t.Fatal("a peer in an attempt of another size")
		}
	}
}
