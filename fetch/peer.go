package fetch

import (
	"errors"
	"net/netip"
	"slices"

	"github.com/qqbtfs/qqbtfs/fetch/metadata"
	"github.com/qqbtfs/qqbtfs/fetch/pex"
	"github.com/qqbtfs/qqbtfs/fetch/swarm"
	"github.com/qqbtfs/qqbtfs/peerconn"
	"github.com/qqbtfs/qqbtfs/peerconn/extension"
	"github.com/qqbtfs/qqbtfs/peerconn/proto"
	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// peer is the handler of one connection: it turns what happens on it into
// events of the swarm.
type peer struct {
	t        *Torrent
	id       swarm.PeerID
	addr     netip.AddrPort
	outgoing bool
	conn     peerconn.Conn // set before the first event
	met      bool          // the handshake was done; only the connection's goroutine uses it
	ear      pex.Ear       // the same
	v2       bool          // can be asked for hashes; set before the first event
	evs      []swarm.Event // reused by the connection's goroutine
	told     bool          // what we said last as upload_only; the loop's once connected
	metadata metadata.Server
	hashes   hashQueue
}

// protoConfig is our side of a connection to addr, about the torrent by this hash.
func (t *Torrent) protoConfig(addr netip.AddrPort, hash [20]byte) proto.Config {
	h := wire.Handshake{InfoHash: hash, PeerID: t.s.peerID}
	h.Reserved.SetFast()
	h.Reserved.SetExtended()
	if t.meta.Info.HasV2 {
		h.Reserved.SetV2()
	}
	if t.dhtPort(addr.Addr()) != 0 {
		h.Reserved.SetDHT()
	}
	return proto.Config{
		Handshake:   h,
		V2Hash:      t.v2Hash(),
		Extension:   t.extensions(addr),
		NumPieces:   t.lay.NumPieces(),
		PieceLength: t.lay.PieceLength,
		Total:       t.lay.Total,
	}
}

// extensions is our extension handshake.
func (t *Torrent) extensions(addr netip.AddrPort) extension.Handshake {
	ours := ourExtensions
	if !t.shares() {
		ours = privateExtensions
	}
	return extension.Handshake{
		M: ours, MetadataSize: int64(len(t.meta.InfoRaw)),
		V: t.s.cfg.Client, Port: t.s.portFor(addr.Addr()), YourIP: addr.Addr(),
	}
}

// newPeer registers a connection that is about to be made.
func (t *Torrent) newPeer(addr netip.AddrPort, outgoing bool) *peer {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closing {
		return nil
	}
	t.lastPeer++
	p := &peer{t: t, id: t.lastPeer, addr: addr, outgoing: outgoing, metadata: metadata.NewServer(t.meta.InfoRaw)}
	t.peers[p.id] = p
	t.connected.Add(1)
	return p
}

func (t *Torrent) dial(addr netip.AddrPort, opening []wire.Message) {
	p := t.newPeer(addr, true)
	if p == nil {
		t.in.post(swarm.DialFailed{Addr: addr})
		return
	}
	cfg := t.protoConfig(addr, t.hashFor(addr))
	cfg.Opening = opening
	p.sayUploadOnly(&cfg)
	c := t.s.driver.Dial(t.ctx, addr, cfg, p)
	p.setConn(c)
}

// admit takes in a connection that a peer made to us. One that knows v2 too is
// answered with the v2 hash (BEP 52, Upgrade Path).
func (t *Torrent) admit(addr netip.AddrPort, remote wire.Handshake) (proto.Config, peerconn.Handler, error) {
	p := t.newPeer(addr, false)
	if p == nil {
		return proto.Config{}, nil, ErrClosed
	}
	hash := remote.InfoHash
	if t.meta.Info.HasV2 && remote.Reserved.HasV2() {
		hash = t.v2Hash()
	}
	cfg := t.protoConfig(addr, hash)
	p.sayUploadOnly(&cfg)
	return cfg, p, nil
}

func (p *peer) setConn(c peerconn.Conn) {
	p.t.mu.Lock()
	p.conn = c
	closing := p.t.closing
	p.t.mu.Unlock()
	if closing {
		c.Close(nil)
	}
}

// Events implements peerconn.Handler.
func (p *peer) Events(c peerconn.Conn, evs []proto.Event) bool {
	p.evs = p.evs[:0]
	for _, ev := range evs {
		p.translate(c, ev)
	}
	if len(p.evs) == 0 {
		return true
	}
	return p.t.in.postFrom(c, p.evs)
}

func (p *peer) post(ev swarm.Event) { p.evs = append(p.evs, ev) }

func (p *peer) translate(c peerconn.Conn, ev proto.Event) {
	switch ev := ev.(type) {
	case proto.Block:
		p.post(swarm.BlockReceived{Peer: p.id, Req: ev.Req})
	case proto.Rejected:
		p.post(swarm.BlockRejected{Peer: p.id, Req: ev.Req})
	case proto.Discarded:
		p.post(swarm.BlockWasted{Peer: p.id, Req: ev.Req})
	case proto.Unsolicited:
		p.post(swarm.BlockWasted{Peer: p.id, Req: ev.Req, Unasked: true})
	case proto.Has:
		p.post(swarm.PeerHas{Peer: p.id, Piece: ev.Index})
	case proto.HasSet:
		p.post(swarm.PeerHasSet{Peer: p.id, Set: ev.Set})
	case proto.Choked:
		p.post(swarm.PeerChokes{Peer: p.id, Choke: true})
	case proto.Unchoked:
		p.post(swarm.PeerChokes{Peer: p.id, Choke: false})
	case proto.AllowedFast:
		p.post(swarm.PeerAllows{Peer: p.id, Piece: ev.Index})
	case proto.PeerInterested:
		p.post(swarm.PeerInterested{Peer: p.id, Interested: ev.Interested})
	case proto.PeerRequest:
		p.post(swarm.PeerRequests{Peer: p.id, Req: ev.Req})
	case proto.PeerCancel:
		p.post(swarm.PeerCancels{Peer: p.id, Req: ev.Req})
	case proto.ExtHandshaken:
		p.post(swarm.PeerExtended{
			Peer: p.id, ReqQ: ev.Ext.ReqQ, Port: ev.Ext.Port, Client: ev.Ext.V, YourIP: ev.Ext.YourIP,
			UploadOnly: ev.Ext.UploadOnly != nil && *ev.Ext.UploadOnly,
		})
	case proto.ExtMessage:
		p.extension(c, ev)
	case proto.PeerPort:
		p.hearNode(ev)
	case proto.PeerHashRequest:
		p.t.hashServer.serve(&p.hashes, c, ev.Req)
	case proto.HashesReceived:
		p.t.in.call(func() { p.t.prover.received(p.id, ev.Req, ev.Hashes) })
	case proto.HashesRejected:
		p.t.in.call(func() { p.t.prover.rejected(p.id, ev.Req) })
	case proto.Handshaken:
		p.v2 = ev.V2
		p.handshaken(c, ev.Remote)
	}
}

func (p *peer) handshaken(c peerconn.Conn, remote wire.Handshake) {
	p.met = true
	p.setConn(c)
	p.t.log.Debug("connected", "peer", p.addr, "outgoing", p.outgoing, "id", printable(remote.PeerID))
	p.post(swarm.PeerConnected{
		Peer: p.id, Addr: p.addr, Outgoing: p.outgoing,
		Fast: remote.Reserved.HasFast(), Remote: remote.PeerID,
	})
	p.tellNode(c, remote)
}

// printable returns a peer id with dots for what no terminal should see.
func printable(id [20]byte) string {
	b := slices.Clone(id[:])
	for i, c := range b {
		if c < 0x20 || c > 0x7e {
			b[i] = '.'
		}
	}
	return string(b)
}

// Closed implements peerconn.Handler.
func (p *peer) Closed(c peerconn.Conn, err error) {
	t := p.t
	defer t.connected.Done()
	p.hashes.drop()
	t.mu.Lock()
	delete(t.peers, p.id)
	t.mu.Unlock()
	var broke *proto.ProtocolError
	t.log.Debug("disconnected", "peer", p.addr, "why", reason(err))
	switch {
	case p.met:
		t.in.post(swarm.PeerGone{Peer: p.id, Broke: errors.As(err, &broke), Flood: errors.Is(err, proto.ErrFlood)})
	case p.outgoing:
		t.in.post(swarm.DialFailed{Addr: p.addr, Self: errors.Is(err, proto.ErrSelf), Full: errors.Is(err, peerconn.ErrTooMany)})
	}
}

func reason(err error) string {
	if err == nil {
		return "closed"
	}
	return err.Error()
}
