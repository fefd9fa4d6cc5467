package fetch

import (
	"context"
	"errors"
	"io"
	"iter"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/qqbtfs/qqbtfs/fetch/swarm"
	"github.com/qqbtfs/qqbtfs/fetch/webseed"
	"github.com/qqbtfs/qqbtfs/peerconn"
	"github.com/qqbtfs/qqbtfs/peerconn/bitfield"
	"github.com/qqbtfs/qqbtfs/peerconn/proto"
	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// webChunk is how many bytes are read at a time; never more than what a limiter gives at
// once.
const webChunk = wire.BlockSize

const (
	// While a read waits, a server that sends nothing for this long gets another request in
	// the place of that one: for three times what it took to answer the last one, within
	// these bounds, and twice as long after each request that brought nothing.
	leastPatience = time.Second
	mostPatience  = 5 * time.Second
	webWatch      = 250 * time.Millisecond // how often that is looked at
)

// webConn is a peerconn.Conn to a web server. It makes runs of the blocks that it is asked
// for and fetches each run with one request, or one for each file that it touches.
//
// As with the fast extension (BEP 6) each request is answered once: received, rejected, or
// wasted when it was withdrawn too late. A run that brought something before it died is
// taken up by another one. Else it is a connection like any other also in that it ends when
// something fails; its webSeed makes another one.
type webConn struct {
	p      *peer
	w      *webSeed
	ctx    context.Context // ends with the connection, or the torrent
	cancel context.CancelFunc
	resume chan struct{} // a token for each run that has paused
	done   chan struct{} // closed behind Closed
	places int           // for runs under way
	open   func(ctx context.Context, thing int, off, n int64) (io.ReadCloser, error)
	live   sync.WaitGroup

	mu       sync.Mutex // guards these; a leaf
	has      bitfield.Set
	queue    webQueue
	runs     []*webRun // under way
	patience time.Duration
	stats    peerconn.Stats
	closed   bool
	err      error // why, once closed
}

func newWebConn(w *webSeed, p *peer, has bitfield.Set, places int) *webConn {
	c := &webConn{p: p, w: w, has: has, places: places, open: w.seed.Open, patience: mostPatience, resume: make(chan struct{}, places), done: make(chan struct{})}
	c.stats.ConnectedAt = time.Now()
	c.ctx, c.cancel = context.WithCancel(p.t.ctx)
	go c.awaitEnd()
	return c
}

// awaitEnd is the last to run.
func (c *webConn) awaitEnd() {
	<-c.ctx.Done()
	c.Close(nil)
	c.live.Wait()
	c.p.Closed(c, c.err)
	close(c.done)
}

// Close implements peerconn.Conn.
func (c *webConn) Close(err error) {
	c.mu.Lock()
	if !c.closed {
		c.closed, c.err, c.queue = true, err, nil
	}
	c.mu.Unlock()
	c.cancel()
}

// change runs f, which changes what is asked for, and starts what follows from it. f
// returns what there is to tell.
func (c *webConn) change(f func() []swarm.Event) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	evs := f()
	for run := c.queue.next(c.runs, c.places); run != nil; run = c.queue.next(c.runs, c.places) {
		c.start(run)
	}
	c.mu.Unlock()
	if len(evs) > 0 {
		c.p.t.in.post(evs...)
	}
}

func (c *webConn) start(run *webRun) {
	ctx, cancel := context.WithCancel(c.ctx)
	run.cancel = cancel
	c.runs = append(c.runs, run)
	parts := c.w.parts(run.at, run.end)
	c.live.Go(func() {
		defer cancel()
		c.ended(run, c.fetch(ctx, run, parts))
	})
	c.live.Go(func() { c.watch(ctx, run) })
}

// watch looks after a run until it ends.
func (c *webConn) watch(ctx context.Context, run *webRun) {
	tick := time.NewTicker(webWatch)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			c.review(run)
		}
	}
}

// review looks anew at what reads wait for. A run in their way of which nothing comes is
// given up, and what it was to bring asked for again.
func (c *webConn) review(run *webRun) {
	awaited := c.p.t.waits.awaited()
	c.change(func() (evs []swarm.Event) {
		read := false
		for _, b := range slices.Concat(c.queue, run.blocks) {
			b.urgent = awaited[int(b.req.Index)]
			read = read || b.urgent
		}
		if read && run.idle(time.Now()) > c.patience<<max(run.vain-1, 0) {
			run.cancel()
			return c.again(run)
		}
		return nil
	})
}

// again puts what is still wanted of a run before all that waits. c.mu is held.
func (c *webConn) again(run *webRun) (evs []swarm.Event) {
	c.runs = slices.DeleteFunc(c.runs, func(r *webRun) bool { return r == run })
	var again webQueue
	for _, b := range run.blocks {
		if b.dst != nil && c.has.Has(int(b.req.Index)) {
			b.vain = run.vain
			again = append(again, b)
		} else {
			evs = append(evs, c.reject(b))
		}
	}
	run.blocks, c.queue = nil, append(again, c.queue...)
	return evs
}

// Request implements peerconn.Conn.
func (c *webConn) Request(reqs []wire.Request, dsts [][]byte) {
	blocks, awaited := make([]*webBlock, len(reqs)), c.p.t.waits.awaited()
	for i, r := range reqs {
		start := c.p.t.lay.PieceOffset(int(r.Index)) + int64(r.Begin)
		blocks[i] = &webBlock{req: r, start: start, dst: dsts[i], urgent: awaited[int(r.Index)]}
	}
	c.change(func() (evs []swarm.Event) {
		for _, b := range blocks {
			if c.has.Has(int(b.req.Index)) {
				c.queue = append(c.queue, b)
			} else {
				evs = append(evs, c.reject(b))
			}
		}
		return evs
	})
}

func (c *webConn) reject(b *webBlock) swarm.Event {
	return swarm.BlockRejected{Peer: c.p.id, Req: b.req}
}

// Abandon implements peerconn.Conn.
func (c *webConn) Abandon(reqs ...wire.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range reqs {
		if b := c.find(r); b != nil {
			b.dst = nil
		}
	}
}

func (c *webConn) find(r wire.Request) *webBlock {
	is := func(b *webBlock) bool { return b.req == r }
	if at := slices.IndexFunc(c.queue, is); at >= 0 {
		return c.queue[at]
	}
	for _, run := range c.runs {
		if at := slices.IndexFunc(run.blocks, is); at >= 0 {
			return run.blocks[at]
		}
	}
	return nil
}

// Cancel implements peerconn.Conn. What is abandoned is not asked for, and not waited for
// where nothing else comes behind it.
func (c *webConn) Cancel(...wire.Request) {
	var idle []*webRun
	c.change(func() (evs []swarm.Event) {
		c.queue = slices.DeleteFunc(c.queue, func(b *webBlock) bool {
			if b.dst == nil {
				evs = append(evs, c.reject(b))
			}
			return b.dst == nil
		})
		for _, run := range c.runs {
			for _, b := range run.trim() {
				evs = append(evs, c.reject(b))
			}
			if len(run.blocks) == 0 {
				idle = append(idle, run)
			}
		}
		return evs
	})
	for _, run := range idle {
		run.cancel()
	}
}

// fetch gets the bytes of a run.
func (c *webConn) fetch(ctx context.Context, run *webRun, parts iter.Seq[webPart]) error {
	buf := make([]byte, webChunk)
	for part := range parts {
		get := c.fetchPart
		if part.thing < 0 {
			get = c.zeros
		}
		if err := get(ctx, run, part, buf); err != nil {
			return err
		}
	}
	return nil
}

// zeros delivers what padding files hold, which nobody has to send (BEP 47).
func (c *webConn) zeros(ctx context.Context, run *webRun, part webPart, buf []byte) error {
	clear(buf)
	for n := part.length; n > 0; n -= int64(len(buf)) {
		if err := c.deliver(ctx, run, buf[:min(n, int64(len(buf)))]); err != nil {
			return err
		}
	}
	return nil
}

func (c *webConn) fetchPart(ctx context.Context, run *webRun, part webPart, buf []byte) error {
	begun := time.Now()
	c.waits(run, begun)
	body, err := c.open(ctx, part.thing, part.off, part.length)
	if err != nil {
		return c.lacking(part, err)
	}
	defer body.Close()
	c.answered(time.Since(begun))
	for left := part.length; left > 0; {
		c.waits(run, time.Now())
		n, err := body.Read(buf[:min(left, int64(len(buf)))])
		c.waits(run, time.Time{})
		if err != nil {
			return err
		}
		left -= int64(n)
		if l := c.p.t.s.download; l != nil {
			if err := l.WaitN(ctx, n); err != nil {
				return err
			}
		}
		c.count(n)
		if err := c.deliver(ctx, run, buf[:n]); err != nil {
			return err
		}
	}
	return nil
}

// waits notes since when a run waits for the server; zero: it does not.
func (c *webConn) waits(run *webRun, since time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	run.since = since
}

// answered takes in how long the server took to answer.
func (c *webConn) answered(took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.patience = min(max(3*took, leastPatience), mostPatience)
}

// count takes in that bytes have come.
func (c *webConn) count(n int) {
	c.w.downloaded.Add(int64(n))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stats.LastRead = time.Now()
	c.stats.Read += int64(n)
	c.stats.PayloadRead += int64(n)
}

// errEnough is what a run ends with of which nothing is wanted any more.
var errEnough = errors.New("nothing more is wanted")

// deliver puts the next bytes of a run where they belong. Others wait while the torrent
// has to catch up.
func (c *webConn) deliver(ctx context.Context, run *webRun, b []byte) error {
	var evs []swarm.Event
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return ctx.Err()
	}
	for _, block := range run.place(b) {
		if block.dst != nil {
			evs = append(evs, swarm.BlockReceived{Peer: c.p.id, Req: block.req})
		} else {
			evs = append(evs, swarm.BlockWasted{Peer: c.p.id, Req: block.req})
		}
	}
	enough := len(run.blocks) == 0
	c.mu.Unlock()
	if len(evs) > 0 && !c.p.t.in.postFrom(c, evs) {
		select {
		case <-c.resume:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if enough {
		return errEnough
	}
	return nil
}

// errLacks is what a run ends with that needed something missing, which is known by now.
var errLacks = errors.New("something is missing")

// lacking takes in that a thing is missing. Of what lies in it nothing can be had here.
func (c *webConn) lacking(part webPart, err error) error {
	var missing *webseed.MissingError
	if !errors.As(err, &missing) {
		return err
	}
	if err := c.w.missing(part.thing, missing); err != nil {
		return err
	}
	nothing := false
	c.change(func() (evs []swarm.Event) {
		first, last := c.w.pieces(part.thing)
		for i := first; i <= last; i++ {
			c.has.Remove(i)
			evs = append(evs, swarm.PeerLacks{Peer: c.p.id, Piece: i})
		}
		c.queue = slices.DeleteFunc(c.queue, func(b *webBlock) bool {
			lost := !c.has.Has(int(b.req.Index))
			if lost {
				evs = append(evs, c.reject(b))
			}
			return lost
		})
		nothing = c.has.Count() == 0
		return evs
	})
	if nothing {
		return nothingThere(missing)
	}
	return errLacks
}

// forget forgets what is missing.
func (c *webConn) forget() {
	c.change(func() []swarm.Event {
		if c.has.Count() == c.has.Len() {
			return nil
		}
		c.has.Fill()
		return []swarm.Event{swarm.PeerHasSet{Peer: c.p.id, Set: c.has.Clone()}}
	})
}

// ended takes in the end of a run.
func (c *webConn) ended(run *webRun, err error) {
	var failed error
	c.change(func() (evs []swarm.Event) {
		switch {
		case errors.Is(err, errLacks), run.vain == 0 && !verdict(err):
			return c.again(run)
		case len(run.blocks) > 0:
			failed = err
		}
		c.runs = slices.DeleteFunc(c.runs, func(r *webRun) bool { return r == run })
		return nil
	})
	if failed != nil {
		c.Close(failed)
	}
}

// verdict reports whether an error says more than that one request has died.
func verdict(err error) bool {
	var useless *webseed.UselessError
	var busy *webseed.BusyError
	return errors.As(err, &useless) || errors.As(err, &busy)
}

// Resume implements peerconn.Conn.
func (c *webConn) Resume() {
	select {
	case c.resume <- struct{}{}:
	default:
	}
}

// Stats implements peerconn.Conn.
func (c *webConn) Stats() peerconn.Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stats
}

// Addr implements peerconn.Conn: it is a name and leads nowhere.
func (c *webConn) Addr() netip.AddrPort { return c.p.addr }

// Nothing can be said to a web server but what to send.

func (c *webConn) LocalAddr() netip.AddrPort         { return netip.AddrPort{} }
func (c *webConn) Outgoing() bool                    { return true }
func (c *webConn) State() proto.State                { return proto.State{} }
func (c *webConn) Flush()                            {}
func (c *webConn) Send(...wire.Message)              {}
func (c *webConn) SendExtension(string, []byte) bool { return false }
func (c *webConn) SendPiece(_ wire.Piece, done func(sent bool)) {
	done(false)
}
