package fetchtest

import (
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/qqbtfs/qqbtfs/peerconn/extension"
	"github.com/qqbtfs/qqbtfs/peerconn/proto"
	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// Link is how a host is connected to the world.
type Link struct {
	Up, Down float64       // bytes per second; zero means without limit
	Delay    time.Duration // to the middle of the network and from there, one way
	Jitter   time.Duration // a random part of it on top, for each write
}

// node is what lives on a host.
type node interface {
	// events tells what happened on a connection, not empty.
	events(e *end, evs []proto.Event)
	// closed tells that the connection ended, once.
	closed(e *end, err error)
	// feed queues or writes the next block on the connection, if there is one.
	feed(e *end)
	// config is the node's side of a connection.
	config() proto.Config
}

// host is a machine. The connections share its link: its uplink is given to
// them in turns, a write at a time.
type host struct {
	w     *World
	name  string
	addr  netip.AddrPort // that it listens on
	link  Link
	node  node
	down  bool          // not reachable: dials time out, connections are gone
	mute  bool          // writes nothing
	thaws time.Duration // until then the program on it is stopped

	ends     []*end
	turn     int  // index in ends of the next to write
	writing  bool // the uplink is in use
	downFree time.Duration
	ports    uint16 // given to connections that it made
}

// end is one end of a connection.
type end struct {
	host     *host
	peer     *end // the other one
	conn     *proto.Conn
	addr     netip.AddrPort // of the other end, as seen here
	outgoing bool
	open     bool
	arrives  time.Duration // when the last bytes written to the other end arrive there
	evs      []proto.Event // reused
	told     bool          // that we upload only

	state any // the node's
}

var (
	errCut     = errors.New("connection lost")
	errTimeout = errors.New("dial timed out")
	errRefused = errors.New("dial refused")
)

// delay returns how long the next bytes from h to o take.
func (h *host) delay(o *host) time.Duration {
	d := h.link.Delay + o.link.Delay
	if j := h.link.Jitter + o.link.Jitter; j > 0 {
		d += time.Duration(h.w.rnd.Int64N(int64(j)))
	}
	return d
}

// dial connects to addr and says opening behind the handshake. done is told the connection's end here, or why there is
// none; the handshakes are still to come.
func (h *host) dial(addr netip.AddrPort, opening []wire.Message, done func(*end, error)) {
	w := h.w
	o := w.byAddr[addr]
	switch {
	case o == nil || o.down || h.down:
		w.clock.after(10*time.Second, func() { done(nil, errTimeout) })
		return
	case o == h:
		w.clock.after(time.Millisecond, func() { done(nil, proto.ErrSelf) })
		return
	}
	w.clock.after(2*h.delay(o), func() {
		if o.down || h.down {
			done(nil, errRefused)
			return
		}
		h.ports++
		here := h.newEnd(addr, true, opening)
		there := o.newEnd(netip.AddrPortFrom(h.addr.Addr(), 40000+h.ports), false, nil)
		here.peer, there.peer = there, here
		done(here, nil)
		here.watch()
		there.watch()
		h.pump()
		o.pump()
	})
}

func (h *host) newEnd(addr netip.AddrPort, outgoing bool, opening []wire.Message) *end {
	e := &end{host: h, addr: addr, outgoing: outgoing, open: true}
	cfg := h.node.config()
	cfg.Opening = opening
	e.conn = proto.New(h.w.clock.time(), cfg)
	h.ends = append(h.ends, e)
	return e
}

// watch ticks the connection's state machine when it asks for it.
func (e *end) watch() {
	d := e.conn.Deadline()
	if d.IsZero() {
		return
	}
	e.host.w.clock.at(until(d), func() {
		if !e.open || e.host.frozen(e.watch) {
			return
		}
		if err := e.conn.Tick(e.host.w.clock.time()); err != nil {
			e.close(err)
			return
		}
		e.host.pump()
		e.watch()
	})
}

// frozen reports whether the program on the host is stopped; f is called when it goes on.
func (h *host) frozen(f func()) bool {
	if h.thaws <= h.w.clock.now {
		return false
	}
	h.w.clock.at(h.thaws, f)
	return true
}

// pump writes what waits, as the uplink allows.
func (h *host) pump() {
	for n := len(h.ends); n > 0 && !h.writing && !h.mute; n-- {
		h.turn = (h.turn + 1) % len(h.ends)
		e := h.ends[h.turn]
		if e.conn.OutputLen() == 0 {
			h.node.feed(e)
		}
		if e.conn.OutputLen() > 0 {
			h.write(e, h.w.flatten(e.conn))
		}
	}
}

func (h *host) write(e *end, b []byte) {
	h.writing = true
	w := h.w
	w.clock.after(spent(len(b), h.link.Up), func() {
		h.writing = false
		if e.open {
			e.arrives = max(e.arrives, w.clock.now+h.delay(e.peer.host))
			w.clock.at(e.arrives, func() { e.peer.arrive(b) })
		} else {
			w.recycle(b)
		}
		h.pump()
	})
}

// flatten takes what a connection has to write into one buffer.
func (w *World) flatten(c *proto.Conn) []byte {
	c.TakeOutput(&w.out)
	var b []byte
	if n := len(w.spare); n > 0 {
		b, w.spare = w.spare[n-1][:0], w.spare[:n-1]
	}
	w.bufs = w.out.Buffers(w.bufs[:0])
	for _, part := range w.bufs {
		b = append(b, part...)
	}
	return b
}

func (w *World) recycle(b []byte) { w.spare = append(w.spare, b) }

// content returns the bytes of a block, valid until the next call.
func (w *World) content(r wire.Request) []byte {
	b := w.block[:r.Length]
	w.torrent.fill(b, r)
	return b
}

// spent is how long n bytes take at a rate.
func spent(n int, rate float64) time.Duration {
	if rate <= 0 {
		return 0
	}
	return time.Duration(float64(n) / rate * float64(time.Second))
}

// arrive takes bytes through the host's downlink.
func (e *end) arrive(b []byte) {
	h := e.host
	if h.link.Down <= 0 {
		e.read(b)
		return
	}
	h.downFree = max(h.downFree, h.w.clock.now) + spent(len(b), h.link.Down)
	h.w.clock.at(h.downFree, func() { e.read(b) })
}

func (e *end) read(b []byte) {
	if e.host.frozen(func() { e.read(b) }) {
		return
	}
	defer e.host.w.recycle(b)
	if !e.open {
		return
	}
	err := e.conn.Feed(e.host.w.clock.time(), b)
	e.report()
	if err != nil {
		e.close(err)
	}
	e.host.pump()
}

// report hands events that came of anything to the node.
func (e *end) report() {
	evs := e.conn.AppendEvents(e.evs[:0])
	e.evs = evs
	if len(evs) > 0 && e.open {
		e.host.node.events(e, evs)
	}
}

// close ends the connection here at once, and there once that is known.
func (e *end) close(err error) {
	if !e.open {
		return
	}
	e.gone(err)
	o := e.peer
	o.host.w.clock.at(max(e.arrives, e.host.w.clock.now+e.host.delay(o.host)), func() { o.gone(errCut) })
}

// cut ends the connection at both ends at once.
func (e *end) cut() {
	e.gone(errCut)
	e.peer.gone(errCut)
}

func (e *end) gone(err error) {
	if !e.open {
		return
	}
	e.open = false
	h := e.host
	h.ends = slices.DeleteFunc(h.ends, func(x *end) bool { return x == e })
	h.node.closed(e, err)
}

// protoConfig is what all nodes have in common.
func (w *World) protoConfig(h *host, fast bool) proto.Config {
	hs := wire.Handshake{PeerID: peerID(h)}
	if fast {
		hs.Reserved.SetFast()
	}
	hs.Reserved.SetExtended()
	return proto.Config{
		Handshake:   hs,
		Extension:   extension.Handshake{V: h.name, M: map[string]uint8{"lt_donthave": 7}},
		NumPieces:   w.torrent.NumPieces(),
		PieceLength: w.torrent.PieceLength,
		Total:       w.torrent.Total,
	}
}

func peerID(h *host) (id [20]byte) {
	copy(id[:], "-QQ0001-"+h.name)
	return id
}
