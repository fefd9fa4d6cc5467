package fetch

import (
	"errors"
	"net/netip"

	"github.com/qqbtfs/qqbtfs/fetch/metadata"
	"github.com/qqbtfs/qqbtfs/fetch/swarm"
	"github.com/qqbtfs/qqbtfs/peerconn"
	"github.com/qqbtfs/qqbtfs/peerconn/extension"
	"github.com/qqbtfs/qqbtfs/peerconn/proto"
	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// maxInbound bounds the connections that others make to a torrent without metadata.
const maxInbound = 40

// maxCallers bounds the addresses of these that are remembered.
const maxCallers = 200

// source is the handler of one connection of a Pending.
type source struct {
	p        *Pending
	id       metadata.PeerID
	addr     netip.AddrPort
	outgoing bool
	met      bool             // the handshake was done; only the connection's goroutine uses it
	conn     peerconn.Conn    // guarded by p.mu; set before the first event
	v2       bool             // guarded by p.mu: can be asked for hashes
	evs      []metadata.Event // reused by the connection's goroutine
}

// protoConfig is our side of a connection to addr, about the torrent by this hash. It
// has no pieces: what the peer has to say about them is of no use yet.
func (p *Pending) protoConfig(addr netip.AddrPort, hash [20]byte) proto.Config {
	h := wire.Handshake{InfoHash: hash, PeerID: p.s.peerID}
	h.Reserved.SetFast()
	h.Reserved.SetExtended()
	cfg := proto.Config{
		Handshake: h,
		Extension: extension.Handshake{
			M: map[string]uint8{metadata.Extension: idMetadata},
			V: p.s.cfg.Client, Port: p.s.portFor(addr.Addr()), YourIP: addr.Addr(),
		},
	}
	if p.cfg.Link.HasV2 {
		cfg.Handshake.Reserved.SetV2()
		cfg.V2Hash = p.hashes[len(p.hashes)-1]
	}
	return cfg
}

// newSource registers a connection that is about to be made; nil: no more of them.
func (p *Pending) newSource(addr netip.AddrPort, outgoing bool) *source {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closing || !outgoing && p.inbound >= maxInbound {
		return nil
	}
	if !outgoing {
		p.inbound++
	}
	p.lastID++
	c := &source{p: p, id: p.lastID, addr: addr, outgoing: outgoing}
	p.conns[c.id] = c
	p.running.Add(1)
	return c
}

func (p *Pending) dial(addr netip.AddrPort) {
	c := p.newSource(addr, true)
	if c == nil {
		p.in.post(metadata.DialFailed{Addr: addr})
		return
	}
	hash := p.hashes[0]
	p.mu.Lock()
	if p.inV2[addr] {
		hash = p.hashes[len(p.hashes)-1]
	}
	p.mu.Unlock()
	c.setConn(p.s.driver.Dial(p.ctx, addr, p.protoConfig(addr, hash), c))
}

// admit takes in a connection that a peer made to us: it may have the metadata.
func (p *Pending) admit(addr netip.AddrPort, remote wire.Handshake) (proto.Config, peerconn.Handler, error) {
	c := p.newSource(addr, false)
	if c == nil {
		return proto.Config{}, nil, ErrClosed
	}
	return p.protoConfig(addr, remote.InfoHash), c, nil
}

func (c *source) setConn(conn peerconn.Conn) {
	c.p.mu.Lock()
	c.conn = conn
	closing := c.p.closing
	c.p.mu.Unlock()
	if closing {
		conn.Close(nil)
	}
}

// Events implements peerconn.Handler.
func (c *source) Events(conn peerconn.Conn, evs []proto.Event) bool {
	c.evs = c.evs[:0]
	for _, ev := range evs {
		switch ev := ev.(type) {
		case proto.Handshaken:
			c.met = true
			c.setConn(conn)
			c.p.mu.Lock()
			c.v2 = ev.V2
			c.p.mu.Unlock()
			c.evs = append(c.evs, metadata.PeerConnected{Peer: c.id, Addr: c.addr, Outgoing: c.outgoing})
		case proto.ExtHandshaken:
			size := ev.Ext.MetadataSize
			if ev.Ext.M[metadata.Extension] == 0 {
				size = 0
			}
			c.evs = append(c.evs, metadata.PeerOffers{Peer: c.id, Size: size})
			c.listensAt(ev.Ext.Port)
		case proto.HashesReceived:
			c.p.in.call(func() { c.p.layers.received(c.id, ev.Req, ev.Hashes) })
		case proto.HashesRejected:
			c.p.in.call(func() { c.p.layers.rejected(ev.Req) })
		case proto.PeerHashRequest:
			conn.Send(wire.HashReject(ev.Req))
		case proto.ExtMessage:
			if ev.Name == metadata.Extension {
				c.evs = append(c.evs, metadata.Received{Peer: c.id, Payload: ev.Payload})
			}
		}
	}
	return len(c.evs) == 0 || c.p.in.postFrom(conn, c.evs)
}

// listensAt remembers where a peer can be connected to that has connected to us.
func (c *source) listensAt(port uint16) {
	c.p.mu.Lock()
	defer c.p.mu.Unlock()
	if !c.outgoing && port != 0 && len(c.p.callers) < maxCallers {
		c.p.callers = append(c.p.callers, metadata.Known{Addr: netip.AddrPortFrom(c.addr.Addr(), port), Source: swarm.Incoming})
	}
}

// Closed implements peerconn.Handler.
func (c *source) Closed(_ peerconn.Conn, err error) {
	p := c.p
	defer p.running.Done()
	p.mu.Lock()
	delete(p.conns, c.id)
	if !c.outgoing {
		p.inbound--
	}
	p.mu.Unlock()
	p.log.Debug("disconnected", "peer", c.addr, "why", reason(err))
	full := errors.Is(err, peerconn.ErrTooMany)
	if full {
		p.s.claim(p, swarm.NeedsRead) // of what is not even named
	}
	switch {
	case c.met:
		p.in.post(metadata.PeerGone{Peer: c.id})
	case c.outgoing:
		p.in.post(metadata.DialFailed{Addr: c.addr, Self: errors.Is(err, proto.ErrSelf), Full: full})
	}
}
