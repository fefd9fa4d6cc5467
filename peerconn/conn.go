package peerconn

import (
	"cmp"
	"context"
	"crypto/rc4"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/qqbtfs/qqbtfs/peerconn/proto"
	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// defaultIdle is for a zero proto.Config.IdleTimeout, and as long.
const defaultIdle = 150 * time.Second

// netConn is one connection of a Net. Its reading goroutine runs it from the dial to
// the Closed call.
type netConn struct {
	net      *Net
	handler  Handler
	addr     netip.AddrPort
	outgoing bool
	cfg      proto.Config

	ctx    context.Context // ends with the connection
	cancel context.CancelFunc
	wake   chan struct{} // there may be something to write
	room   chan struct{} // something was written
	resume chan struct{} // Resume was called

	read, written, payloadWritten atomic.Int64

	// Of the negotiation, if there was one: the ciphers of the reading and the writing
	// goroutine, and what the reader finds there already.
	in, out *rc4.Cipher
	early   []byte

	mu        sync.Mutex // a leaf
	tcp       *net.TCPConn
	proto     *proto.Conn // nil until connected
	connected time.Time
	lastRead  time.Time
	encrypted bool
	reading   bool          // not held up by us
	heard     time.Time     // when the peer was heard or could not be
	events    []proto.Event // that came of calls, for the reading goroutine
	pieces    []piece       // to write
	ended     bool
	err       error // why
}

var _ Conn = (*netConn)(nil)

func newNetConn(n *Net, addr netip.AddrPort, cfg proto.Config, h Handler) *netConn {
	c := &netConn{
		net: n, handler: h, addr: addr, cfg: cfg,
		wake:   make(chan struct{}, 1),
		room:   make(chan struct{}, 1),
		resume: make(chan struct{}, 1),
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// run is the life of the connection. reach makes it; nil: c.tcp is there.
func (c *netConn) run(reach func() error) {
	err := c.net.add(c)
	if err == nil && reach != nil {
		err = reach()
	}
	if err == nil {
		err = c.serve()
	}
	c.Close(err)
	c.finish()
	c.net.remove(c)
	c.handler.Closed(c, c.err)
}

// reach makes a connection on which the peer answers. Each way to try gets a connection of
// its own.
func (c *netConn) reach(ctx context.Context) error {
	ways := c.net.ways(c.addr)
	for i, w := range ways {
		last := i == len(ways)-1
		if err := c.dial(ctx); err != nil {
			return err // another greeting does not help
		}
		err := c.greet(w, last)
		if err == nil && len(ways) > 1 {
			c.net.known.put(c.addr, w, time.Now())
		}
		if err == nil {
			return nil
		}
		c.net.known.forget(c.addr)
		if last || !c.hangUp() {
			return err
		}
		c.net.log.Debug("peer does not answer, trying the other way", "peer", c.addr, "encrypted", w != encrypted, "err", err)
	}
	return nil
}

// hangUp drops the connection to the peer for another one. It is false if the end has
// come meanwhile.
func (c *netConn) hangUp() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tcp.Close()
	c.tcp, c.proto = nil, nil
	return !c.ended
}

// dial waits for its turn and connects. The end of ctx is the end of the connection,
// until it is there.
func (c *netConn) dial(ctx context.Context) error {
	stop := context.AfterFunc(ctx, c.cancel)
	tcp, err := c.connect()
	if !stop() {
		err = ctx.Err()
	}
	if err != nil && tcp != nil {
		tcp.Close()
	}
	if err != nil {
		return c.netError("dial", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tcp = tcp
	if c.ended {
		tcp.Close()
	}
	return nil
}

func (c *netConn) connect() (*net.TCPConn, error) {
	if c.net.dials != nil {
		select {
		case c.net.dials <- struct{}{}:
			defer func() { <-c.net.dials }()
		case <-c.ctx.Done():
			return nil, c.ctx.Err()
		}
	}
	ctx, cancel := context.WithTimeout(c.ctx, c.net.opt.DialTimeout)
	defer cancel()
	return c.net.opt.Policy.DialTCP(ctx, c.addr)
}

// serve reads and writes until the connection ends and says why.
func (c *netConn) serve() error {
	if c.proto == nil {
		c.start(time.Now())
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		if err := c.writeLoop(); err != nil {
			c.Close(err)
		}
	}()
	err := c.readLoop()
	c.Close(err)
	<-stopped
	if c.outgoing && c.read.Load() == 0 {
		c.net.known.forget(c.addr) // it answers no longer, or not to that
	}
	return err
}

func (c *netConn) start(now time.Time) {
	cfg := c.cfg
	cfg.IdleTimeout = -1 // see tick
	if trace := c.net.opt.Trace; trace != nil {
		cfg.Trace = func(in bool, m wire.Message) { trace(c, in, m) }
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.connected, c.heard = now, now
	c.proto = proto.New(now, cfg)
}

// update calls f, unless the connection is not up. The writer is woken for what the
// state machine has to say then, the reader for its events.
func (c *netConn) update(f func(p *proto.Conn)) {
	c.mu.Lock()
	if c.proto == nil || c.ended {
		c.mu.Unlock()
		return
	}
	f(c.proto)
	c.events = c.proto.AppendEvents(c.events)
	events, queued := len(c.events) > 0, c.proto.OutputLen()
	c.mu.Unlock()
	switch {
	case queued > maxQueued:
		c.Close(c.netError("write", errBacklog))
	case queued > 0:
		c.Flush()
	}
	if events {
		c.interrupt()
	}
}

// tick does what is due. The time of silence is counted here and not by the state
// machine, which cannot know of pauses and of the download limit: a peer that is not
// listened to is not idle.
func (c *netConn) tick(now time.Time) {
	var err error
	c.update(func(p *proto.Conn) {
		if !c.reading {
			c.heard = now
		}
		if d := p.Deadline(); !d.IsZero() && !now.Before(d) {
			err = p.Tick(now)
		}
		if idle := cmp.Or(c.cfg.IdleTimeout, defaultIdle); idle > 0 && now.Sub(c.heard) >= idle {
			err = fmt.Errorf("silent for %v: %w", idle, proto.ErrTimeout)
		}
	})
	if err != nil {
		c.Close(c.netError("read", err))
	}
}

// finish reports the blocks that were never written.
func (c *netConn) finish() {
	c.mu.Lock()
	pieces := c.pieces
	c.pieces, c.events = nil, nil
	c.mu.Unlock()
	for _, p := range pieces {
		p.done(false)
	}
}

func (c *netConn) netError(op string, err error) error {
	return &NetError{Op: op, Addr: c.addr, Err: err}
}

// Addr implements Conn.
func (c *netConn) Addr() netip.AddrPort { return c.addr }

// Outgoing implements Conn.
func (c *netConn) Outgoing() bool { return c.outgoing }

// LocalAddr implements Conn.
func (c *netConn) LocalAddr() netip.AddrPort {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tcp == nil {
		return netip.AddrPort{}
	}
	return addrPort(c.tcp.LocalAddr())
}

// Request implements Conn.
func (c *netConn) Request(reqs []wire.Request, dsts [][]byte) {
	now := time.Now()
	c.update(func(p *proto.Conn) {
		for i, r := range reqs {
			p.Request(now, r, dsts[i])
		}
	})
}

// Cancel implements Conn.
func (c *netConn) Cancel(reqs ...wire.Request) {
	c.update(func(p *proto.Conn) {
		for _, r := range reqs {
			p.Cancel(r)
		}
	})
}

// Abandon implements Conn.
func (c *netConn) Abandon(reqs ...wire.Request) {
	c.update(func(p *proto.Conn) {
		for _, r := range reqs {
			p.Abandon(r)
		}
	})
}

// State implements Conn.
func (c *netConn) State() proto.State {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.proto == nil {
		return proto.State{}
	}
	return c.proto.State()
}

// Stats implements Conn.
func (c *netConn) Stats() Stats {
	s := Stats{
		Read:           c.read.Load(),
		Written:        c.written.Load(),
		PayloadWritten: c.payloadWritten.Load(),
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.proto != nil {
		s.PayloadRead = c.proto.State().PayloadRead
	}
	s.ConnectedAt, s.LastRead, s.Encrypted = c.connected, c.lastRead, c.encrypted
	return s
}

// Resume implements Conn.
func (c *netConn) Resume() { signal(c.resume) }

// Flush implements Conn.
func (c *netConn) Flush() { signal(c.wake) }

// Close implements Conn. The first call says why.
func (c *netConn) Close(err error) {
	c.mu.Lock()
	first := !c.ended
	if first {
		c.ended, c.err = true, err
	}
	tcp := c.tcp
	c.mu.Unlock()
	if !first {
		return
	}
	c.cancel()
	if tcp != nil {
		tcp.Close()
	}
}

// signal makes the next receive from a channel of capacity one succeed.
func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
