package peertest

import (
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/qqbtfs/qqbtfs/peerconn"
	"github.com/qqbtfs/qqbtfs/peerconn/proto"
	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// A Getter is a peerconn.Handler that downloads a Torrent over all of its
// connections, in order, each block once. It is what a driver can do at best.
type Getter struct {
	torrent *Torrent
	depth   int
	// OnBlock is called with each block that has come, on the connection's
	// goroutine. nil: nothing is.
	OnBlock func(wire.Request, []byte)

	data []byte
	done chan struct{}

	mu     sync.Mutex
	todo   []wire.Request
	left   int
	flying map[peerconn.Conn]map[wire.Request]struct{}
}

// NewGetter has depth requests in flight on each connection.
func NewGetter(torrent *Torrent, depth int) *Getter {
	g := &Getter{torrent: torrent, depth: depth, data: make([]byte, len(torrent.Data))}
	g.Reset()
	return g
}

// Reset starts all over, for new connections: the old ones must have nothing in
// flight.
func (g *Getter) Reset() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.done = make(chan struct{})
	g.todo = g.torrent.Requests()
	g.left = len(g.todo)
	g.flying = map[peerconn.Conn]map[wire.Request]struct{}{}
}

// Done is closed when all blocks have come.
func (g *Getter) Done() <-chan struct{} { return g.done }

// Data is what has come; complete after Done.
func (g *Getter) Data() []byte { return g.data }

// Events implements peerconn.Handler.
func (g *Getter) Events(c peerconn.Conn, evs []proto.Event) bool {
	asked := false
	for _, ev := range evs {
		switch ev := ev.(type) {
		case proto.Handshaken:
			c.Send(wire.Interested{})
		case proto.Unchoked:
			g.open(c)
			asked = true
		case proto.Block:
			if g.OnBlock != nil {
				g.OnBlock(ev.Req, g.dst(ev.Req))
			}
			asked = true
			g.finish(c, ev.Req, true)
		case proto.Rejected:
			g.finish(c, ev.Req, false)
		}
	}
	if asked {
		g.ask(c)
	}
	return true
}

// open makes c one of those to ask.
func (g *Getter) open(c peerconn.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.flying[c] == nil {
		g.flying[c] = map[wire.Request]struct{}{}
	}
}

func (g *Getter) dst(r wire.Request) []byte {
	off := int(r.Index)*g.torrent.PieceLength + int(r.Begin)
	return g.data[off : off+int(r.Length)]
}

func (g *Getter) finish(c peerconn.Conn, r wire.Request, got bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.flying[c], r)
	if !got {
		g.todo = append(g.todo, r)
		return
	}
	if g.left--; g.left == 0 {
		close(g.done)
	}
}

// ask fills the pipeline of c, once half of it is empty.
func (g *Getter) ask(c peerconn.Conn) {
	g.mu.Lock()
	flying, n := g.flying[c], 0
	if flying != nil && len(flying) <= g.depth/2 {
		n = min(g.depth-len(flying), len(g.todo))
	}
	reqs := g.todo[:n:n]
	g.todo = g.todo[n:]
	dsts := make([][]byte, n)
	for i, r := range reqs {
		flying[r] = struct{}{}
		dsts[i] = g.dst(r)
	}
	g.mu.Unlock()
	if n > 0 {
		c.Request(reqs, dsts)
	}
}

// Closed implements peerconn.Handler. What was asked of c is for the others.
func (g *Getter) Closed(c peerconn.Conn, _ error) {
	g.mu.Lock()
	for r := range g.flying[c] {
		g.todo = append(g.todo, r)
	}
	delete(g.flying, c)
	var others []peerconn.Conn
	for o := range g.flying {
		others = append(others, o)
	}
	g.mu.Unlock()
	for _, o := range others {
		g.ask(o)
	}
}

// A Giver is a peerconn.Handler that serves a Torrent to everybody.
type Giver struct {
	torrent       *Torrent
	queued, freed atomic.Int64
	sent          atomic.Int64
}

// NewGiver serves torrent.
func NewGiver(torrent *Torrent) *Giver { return &Giver{torrent: torrent} }

// Blocks are how many were given to SendPiece, how many it reported as done, and how
// many of those as sent.
func (g *Giver) Blocks() (queued, done, sent int64) {
	return g.queued.Load(), g.freed.Load(), g.sent.Load()
}

// Events implements peerconn.Handler.
func (g *Giver) Events(c peerconn.Conn, evs []proto.Event) bool {
	for _, ev := range evs {
		switch ev := ev.(type) {
		case proto.Handshaken:
			c.Send(wire.HaveAll{})
		case proto.PeerInterested:
			c.Send(wire.Unchoke{})
		case proto.PeerRequest:
			data, _ := g.torrent.Block(ev.Req)
			g.queued.Add(1)
			c.SendPiece(wire.Piece{Index: ev.Req.Index, Begin: ev.Req.Begin, Data: data}, g.freedBlock)
		}
	}
	return true
}

func (g *Giver) freedBlock(sent bool) {
	g.freed.Add(1)
	if sent {
		g.sent.Add(1)
	}
}

// Closed implements peerconn.Handler.
func (g *Giver) Closed(peerconn.Conn, error) {}

// Accept is a peerconn.Acceptor of connections about torrent, for h.
func Accept(torrent *Torrent, name string, h peerconn.Handler) peerconn.Acceptor {
	return func(remote wire.Handshake, _ netip.AddrPort) (proto.Config, peerconn.Handler, error) {
		if remote.InfoHash != torrent.InfoHash {
			return proto.Config{}, nil, errUnknownTorrent
		}
		return torrent.Config(name), h, nil
	}
}

var errUnknownTorrent = errors.New("peertest: unknown torrent")
