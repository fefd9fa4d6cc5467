package dht

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// maxEach bounds the queries of one address in a second, and the answers to ours;
	// maxQueries the queries of all together: each costs two short-lived goroutines and an
	// answer. One count for both kinds is too small: two nodes that look for a torrent at
	// once have six messages for each other within a moment, an announce the last of them.
	maxEach    = 5
	maxQueries = 100
	// maxAccounts bounds the addresses that are kept account of.
	maxAccounts = 4096
	// askedFor is how long an address that we sent to is remembered at least.
	askedFor = 5 * time.Minute
)

// gate stands between the library and its socket. It lets only messages through that
// are clean, within limits and, if they are answers, from whom we have asked; it knows
// whether others can reach us; and it hides errors of the network, at which the library
// would panic.
type gate struct {
	net.PacketConn
	searched func(hash [20]byte) bool // whether we look for a torrent's peers
	closed   chan struct{}            // by Close
	once     sync.Once
	reading  sync.Mutex // held while the library reads

	mu      sync.Mutex
	reach   reach
	votes   votes
	second  time.Time // the beginning of the second that is counted
	each    map[sender]int
	queries int
	answers int                            // that came
	asked   [2]map[netip.AddrPort]struct{} // lately, and before that
	turned  time.Time                      // when asked was turned over
}

// sender is who sends messages of a kind.
type sender struct {
	addr  netip.AddrPort
	query bool
}

func newGate(c net.PacketConn, searched func(hash [20]byte) bool, now time.Time) *gate {
	return &gate{
		PacketConn: c, searched: searched, closed: make(chan struct{}),
		reach: reach{since: now, few: true}, turned: now, each: map[sender]int{},
		asked: [2]map[netip.AddrPort]struct{}{{}, {}},
	}
}

// Close ends the reading and leaves the socket open, for another gate or its owner: when
// it returns, nobody reads by this one. That the library reads once more is not to be
// waited for: closed while it looks at a message it does not.
func (g *gate) Close() error {
	var err error
	g.once.Do(func() {
		close(g.closed)
		err = g.SetReadDeadline(time.Unix(1, 0)) // once: the deadline is the next gate's then
		g.reading.Lock()                         // no read is under way now
		defer g.reading.Unlock()
	})
	return err
}

// ReadFrom implements net.PacketConn with the next message for the library. It fails
// only after Close.
func (g *gate) ReadFrom(b []byte) (int, net.Addr, error) {
	g.reading.Lock()
	defer g.reading.Unlock()
	for {
		select {
		case <-g.closed:
			return 0, nil, net.ErrClosed
		default:
		}
		n, addr, err := g.PacketConn.ReadFrom(b)
		if err != nil {
			g.pause(err)
			continue
		}
		if p, ok := g.admit(time.Now(), b[:n], addrPort(addr)); ok && len(p.text) < len(b) {
			return copy(b, p.text), addr, nil
		}
	}
}

// pause waits after an error: the network may be away for a time.
func (g *gate) pause(err error) {
	d := 10 * time.Millisecond
	if errors.Is(err, net.ErrClosed) {
		d = time.Second // until whoever closed it says so here
	}
	select {
	case <-g.closed:
	case <-time.After(d):
	}
}

// admit decides about a datagram.
func (g *gate) admit(now time.Time, b []byte, from netip.AddrPort) (packet, bool) {
	if from.Port() == 0 {
		return packet{}, false
	}
	p, ok := clean(b)
	if !ok || !g.count(now, sender{from, p.query}) {
		return packet{}, false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	asked := g.wasAsked(from)
	if p.query {
		if !asked {
			g.reach.heard(now)
		}
		g.queries++
		return p, g.queries <= maxQueries && !g.reach.readOnly(now)
	}
	if !asked {
		return packet{}, false
	}
	g.answers++
	g.votes.add(from.Addr(), p.ip)
	return p, true
}

// count counts a message and reports whether it is within the limit.
func (g *gate) count(now time.Time, from sender) bool {
	if !from.addr.Addr().IsLoopback() { // where each port is somebody else
		from.addr = netip.AddrPortFrom(from.addr.Addr(), 0)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if now.Sub(g.second) >= time.Second {
		clear(g.each)
		g.second, g.queries = now, 0
	}
	if _, known := g.each[from]; !known && len(g.each) >= maxAccounts {
		return false
	}
	g.each[from]++
	return g.each[from] <= maxEach
}

func (g *gate) wasAsked(a netip.AddrPort) bool {
	_, lately := g.asked[0][a]
	_, before := g.asked[1][a]
	return lately || before
}

// errNotSearched is for a query about a torrent that we do not look for any more: the
// library goes on with it for a moment, and announces us even when it is told to stop.
var errNotSearched = errors.New("dht: the search has ended")

// WriteTo implements net.PacketConn.
func (g *gate) WriteTo(b []byte, addr net.Addr) (int, error) {
	if hash, ok := torrentOf(b); ok && !g.searched(hash) {
		return 0, errNotSearched
	}
	now, to := time.Now(), addrPort(addr)
	g.mu.Lock()
	if now.Sub(g.turned) >= askedFor || len(g.asked[0]) >= maxAccounts {
		g.asked[0], g.asked[1] = map[netip.AddrPort]struct{}{}, g.asked[0]
		g.turned = now
	}
	g.asked[0][to] = struct{}{}
	ro := g.reach.readOnly(now)
	g.mu.Unlock()
	size := len(b)
	if ro {
		b = readOnly(b)
	}
	if _, err := g.PacketConn.WriteTo(b, addr); err != nil {
		return 0, err
	}
	return size, nil
}

// know tells whether many nodes are known.
func (g *gate) know(many bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.reach.few = !many
}

// takeAnswers returns how many answers have come since the last call.
func (g *gate) takeAnswers() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := g.answers
	g.answers = 0
	return n
}

// state returns whether we are read-only and our address as others see it.
func (g *gate) state(now time.Time) (ro bool, external netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.reach.readOnly(now), g.votes.winner
}

func addrPort(a net.Addr) netip.AddrPort {
	u, ok := a.(*net.UDPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := u.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
}

// inherit takes over what another gate of the same socket has learnt.
func (g *gate) inherit(old *gate) {
	old.mu.Lock()
	reach, votes := old.reach, old.votes
	old.mu.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.reach, g.votes = reach, votes
}
