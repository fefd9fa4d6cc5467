package fetchtest

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/qqbtfs/qqbtfs/fetch/swarm"
	"github.com/qqbtfs/qqbtfs/peerconn/proto"
	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// World is a torrent, the hosts that have to do with it, and virtual time.
type World struct {
	clock   clock
	rnd     *rand.Rand
	torrent Torrent
	hosts   []*host
	byName  map[string]*host
	byAddr  map[netip.AddrPort]*host
	problem error // the first one

	// Memory that is used again and again.
	out   proto.Output
	bufs  [][]byte
	spare [][]byte
	block [wire.BlockSize]byte
}

// NewWorld returns a world at time zero. The same seed and calls give the same
// run.
func NewWorld(seed uint64, t Torrent) *World {
	return &World{
		rnd:     rand.New(rand.NewPCG(seed, 0x5eed)),
		torrent: t,
		byName:  map[string]*host{},
		byAddr:  map[netip.AddrPort]*host{},
	}
}

// newHost gives every host an address of its own, or, with another's name, that
// one's and the next port.
func (w *World) newHost(name, beside string, l Link) *host {
	n := len(w.hosts) + 1
	h := &host{w: w, name: name, link: l}
	h.addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}), 6881)
	if o := w.byName[beside]; o != nil {
		h.addr = netip.AddrPortFrom(o.addr.Addr(), 6881+uint16(n))
	}
	w.hosts = append(w.hosts, h)
	w.byName[name] = h
	w.byAddr[h.addr] = h
	return h
}

// AddPeer adds a simulated peer and returns its address. Names are unique.
// beside names a peer whose IP address it shares; "" means one of its own.
func (w *World) AddPeer(name, beside string, l Link, b Behavior) netip.AddrPort {
	h := w.newHost(name, beside, l)
	h.node = newPeer(h, b)
	h.mute = b.Mute
	return h.addr
}

// AddClient adds a client.
func (w *World) AddClient(name string, l Link, cfg ClientConfig) *Client {
	h := w.newHost(name, "", l)
	c := newClient(h, cfg)
	h.node = c
	c.wake()
	return c
}

// Now returns how much time has passed.
func (w *World) Now() time.Duration { return w.clock.now }

// After has f called when d has passed.
func (w *World) After(d time.Duration, f func()) { w.clock.after(d, f) }

// Run lets time pass until stop answers true or end has come, and returns the
// first thing that went wrong. nil stop means until end.
func (w *World) Run(end time.Duration, stop func() bool) error {
	for w.problem == nil && (stop == nil || !stop()) {
		if !w.clock.step(end) {
			w.clock.now = end
			break
		}
	}
	return w.problem
}

// Stop takes a host off the network: its connections end, dials to it time out.
func (w *World) Stop(name string) {
	h := w.byName[name]
	h.down = true
	w.Cut(name)
}

// Vanish takes a host off the network without a word: its connections are forgotten
// there, and whoever was connected to it hears nothing more.
func (w *World) Vanish(name string) {
	h := w.byName[name]
	h.down = true
	for len(h.ends) > 0 {
		h.ends[0].gone(errCut)
	}
}

// Freeze stops the program on a host for d: it reads nothing and does nothing, and
// then finds all its deadlines past at once.
func (w *World) Freeze(name string, d time.Duration) {
	h := w.byName[name]
	h.thaws = max(h.thaws, w.clock.now+d)
}

// Start brings a host back to the network.
func (w *World) Start(name string) { w.byName[name].down = false }

// Cut ends all connections of a host.
func (w *World) Cut(name string) {
	h := w.byName[name]
	for len(h.ends) > 0 {
		h.ends[0].cut()
	}
}

// Sent returns how many bytes of blocks the simulated peers have sent.
func (w *World) Sent() int64 {
	var n int64
	for _, h := range w.hosts {
		if p, ok := h.node.(*peer); ok {
			n += p.sent
		}
	}
	return n
}

func (w *World) fail(format string, args ...any) {
	if w.problem == nil {
		w.problem = fmt.Errorf("at %v: %s", w.clock.now, fmt.Sprintf(format, args...))
	}
}

// check watches what must hold of a client after each of its turns.
func (w *World) check(c *Client) {
	st := c.swarm.Stats()
	switch {
	case st.Downloaded+st.Wasted != c.received:
		w.fail("%s: downloaded %d and wasted %d of %d bytes received", c.name, st.Downloaded, st.Wasted, c.received)
	case st.Downloaded < 0 || st.Wasted < 0 || st.Uploaded < 0:
		w.fail("%s: counters below zero: %+v", c.name, st)
	case c.swarm.Dialling() < 0:
		w.fail("%s: %d dials under way", c.name, c.swarm.Dialling())
	}
}

// banned checks that a ban hit somebody who deserved it.
func (w *World) banned(c *Client, cmd swarm.Banned) {
	for _, h := range w.hosts {
		if h.addr.Addr() != cmd.Addr.Addr() {
			continue
		}
		if p, ok := h.node.(*peer); ok && !p.b.Honest() {
			return
		}
	}
	w.fail("%s: honest peer banned: %v", c.name, cmd)
}
