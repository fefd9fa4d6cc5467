package peerconn

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/qqbtfs/qqbtfs/peerconn/proto"
)

// Net is a Driver with two goroutines for each connection, one that reads and calls
// the Handler and one that writes, over the net package's TCP.
type Net struct {
	opt       Options
	log       *slog.Logger
	listeners []*net.TCPListener
	dials     chan struct{} // a token for each dial under way; nil: no bound
	done      chan struct{} // closed by Close
	freed     chan struct{} // an incoming handshake has ended
	known     knownWays

	mu         sync.Mutex
	idle       sync.Cond // running became zero
	running    int       // goroutines
	closed     bool
	conns      map[*netConn]struct{}
	handshakes []incoming // under way, oldest first
}

var _ Driver = (*Net)(nil)

// tickInterval is how often the deadlines of the connections are looked at. They are
// of seconds and more.
const tickInterval = time.Second

// NewNet starts a driver. An error means that one of opt.Listen could not be had; it
// wraps that of net.Listen.
func NewNet(opt Options) (*Net, error) {
	opt.MaxConns = cmp.Or(opt.MaxConns, 1000)
	opt.MaxHalfOpen = cmp.Or(opt.MaxHalfOpen, 32)
	opt.MaxHandshakes = cmp.Or(opt.MaxHandshakes, 128)
	opt.DialTimeout = cmp.Or(opt.DialTimeout, 10*time.Second)
	opt.HandshakeTimeout = cmp.Or(opt.HandshakeTimeout, 10*time.Second)
	opt.WriteTimeout = cmp.Or(opt.WriteTimeout, 2*time.Minute)
	if opt.Blocked == nil {
		opt.Blocked = func(netip.Addr) bool { return false }
	}
	n := &Net{
		opt:   opt,
		log:   opt.Logger,
		done:  make(chan struct{}),
		freed: make(chan struct{}, 1),
		conns: map[*netConn]struct{}{},
	}
	n.idle.L = &n.mu
	if n.log == nil {
		n.log = slog.New(slog.DiscardHandler)
	}
	if opt.MaxHalfOpen > 0 {
		n.dials = make(chan struct{}, opt.MaxHalfOpen)
	}
	for _, addr := range opt.Listen {
		l, err := opt.Policy.Listen(context.Background(), "tcp", addr)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("peerconn: %w", err), n.Close())
		}
		n.listeners = append(n.listeners, l.(*net.TCPListener))
	}
	for _, l := range n.listeners {
		n.spawn(func() { n.accept(l) })
	}
	n.spawn(n.tick)
	return n, nil
}

// ListenAddrs are the addresses listened on, in the order of Options.Listen.
func (n *Net) ListenAddrs() []netip.AddrPort {
	addrs := make([]netip.AddrPort, len(n.listeners))
	for i, l := range n.listeners {
		addrs[i] = addrPort(l.Addr())
	}
	return addrs
}

// Dial implements Driver.
func (n *Net) Dial(ctx context.Context, addr netip.AddrPort, cfg proto.Config, h Handler) Conn {
	c := newNetConn(n, addr, cfg, h)
	c.outgoing = true
	n.spawn(func() { c.run(func() error { return c.reach(ctx) }) })
	return c
}

// Close implements Driver.
func (n *Net) Close() error {
	n.mu.Lock()
	if !n.closed {
		n.closed = true
		close(n.done)
	}
	conns := slices.Collect(maps.Keys(n.conns))
	handshakes := slices.Clone(n.handshakes)
	n.mu.Unlock()

	for _, l := range n.listeners {
		l.Close()
	}
	for _, h := range handshakes {
		h.tcp.Close()
	}
	for _, c := range conns {
		c.Close(nil)
	}

	n.mu.Lock()
	defer n.mu.Unlock()
	for n.running > 0 {
		n.idle.Wait()
	}
	return nil
}

// spawn runs f on a goroutine that Close waits for.
func (n *Net) spawn(f func()) {
	n.mu.Lock()
	n.running++
	n.mu.Unlock()
	go func() {
		defer n.exited()
		f()
	}()
}

func (n *Net) exited() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.running--; n.running == 0 {
		n.idle.Broadcast()
	}
}

// add registers a connection that is about to be made or served.
func (n *Net) add(c *netConn) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.closed:
		return ErrClosed
	case n.full():
		return ErrTooMany
	case c.outgoing && n.opt.Blocked(c.addr.Addr()):
		return ErrBlocked
	}
	n.conns[c] = struct{}{}
	return nil
}

func (n *Net) remove(c *netConn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.conns, c)
}

// full needs n.mu.
func (n *Net) full() bool { return n.opt.MaxConns > 0 && len(n.conns) >= n.opt.MaxConns }

// tick keeps the deadlines of all connections.
func (n *Net) tick() {
	t := time.NewTicker(tickInterval)
	defer t.Stop()
	var conns []*netConn
	for {
		select {
		case <-n.done:
			return
		case <-t.C:
		}
		n.mu.Lock()
		conns = slices.AppendSeq(conns[:0], maps.Keys(n.conns))
		n.mu.Unlock()
		now := time.Now()
		for _, c := range conns {
			c.tick(now)
		}
		clear(conns)
	}
}

func addrPort(a net.Addr) netip.AddrPort {
	ap := a.(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
