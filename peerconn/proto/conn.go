package proto

import (
	"fmt"
	"maps"
	"time"

	"github.com/qqbtfs/qqbtfs/peerconn/extension"
	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// Config describes our side of a connection and the torrent that it is about.
// Where zero stands for a default, negative means off.
type Config struct {
	// Handshake is ours: info-hash, peer id and what we support. Extensions are
	// used if both sides announce them.
	Handshake wire.Handshake
	// V2Hash is the truncated v2 info-hash of a torrent that has one, else zero. Who
	// was greeted with the v1 hash of a hybrid may answer with it (BEP 52, Upgrade
	// Path), and so may we: then Handshake has it and Remote the other.
	V2Hash [20]byte
	// Extension is our extension handshake (BEP 10), sent if both sides support
	// it. The Conn fills in a zero ReqQ.
	Extension extension.Handshake
	// Opening is sent right behind our handshake, before the peer's is known, which
	// saves a round trip: a Bitfield, if any, and then Interested. It must hold
	// nothing that needs an extension.
	Opening []wire.Message
	// Remote is the peer's handshake if the driver has read it already, as it
	// must for inbound connections. nil means that the bytes fed start with it.
	Remote *wire.Handshake

	// NumPieces, PieceLength and Total (bytes) describe the torrent. A zero
	// NumPieces means that the metadata is not known yet: see SetMetadata.
	NumPieces          int
	PieceLength, Total int64

	// MaxPeerRequests is how many requests of the peer are kept at once, 500 by
	// default. It is announced as reqq.
	MaxPeerRequests int
	// HandshakeTimeout is how long the peer's handshake may take, 10 s by default.
	HandshakeTimeout time.Duration
	// IdleTimeout is how long the peer may be silent, 2m30s by default.
	IdleTimeout time.Duration
	// KeepAlive is how long we are silent at most, 90 s by default.
	KeepAlive time.Duration

	// Trace is called with every message that comes in, once it is complete, or
	// goes out, when it is queued. nil means off. The data of a piece that was
	// skipped is zeros, the payload of an unknown message is left out. The message
	// is valid during the call only.
	Trace func(in bool, m wire.Message)
}

func (cfg *Config) setDefaults() {
	setDefault(&cfg.MaxPeerRequests, 500)
	setDefault(&cfg.HandshakeTimeout, 10*time.Second)
	setDefault(&cfg.IdleTimeout, 150*time.Second)
	setDefault(&cfg.KeepAlive, 90*time.Second)
	if cfg.Extension.ReqQ == 0 {
		cfg.Extension.ReqQ = max(cfg.MaxPeerRequests, 0)
	}
}

func setDefault[T comparable](v *T, def T) {
	if *v == *new(T) {
		*v = def
	}
}

// Conn is the state machine of one connection. It is not safe for concurrent
// use. See the package comment for how to drive it.
type Conn struct {
	cfg    Config
	events events
	out    Output
	flat   Output // what Output returned last
	err    error  // of Feed or Tick, for good

	handshaken     bool
	remote         wire.Handshake
	fast, extended bool                // both sides support it
	v2             bool                // both sides speak v2 here
	remoteExt      extension.Handshake // merged from all that came
	extNames       map[uint8]string    // our extensions by the ids that we gave them

	amChoking, amInterested     bool
	peerChoking, peerInterested bool

	// The stream of bytes: see feed.go.
	stage   []byte   // the part of a message that has come, if it is not whole
	skip    int      // bytes to come of a message that is not wanted
	arrival arrival  // of a piece
	have    announce // what the peer announced to have

	// Our requests: see request.go.
	flights     table[flight]
	allowedFast map[uint32]struct{} // pieces that the peer allows while we are choked

	// The peer's requests: see serve.go.
	peerRequests table[struct{}]
	hashes       hashQueries
	grantedFast  map[uint32]struct{} // pieces that we allow while the peer is choked

	start, now, lastRead, lastSent time.Time
	paid                           time.Time // when what came is paid for: see flood.go
	payloadRead                    int64
}

// New returns the state machine of a connection that was made now. Our
// handshake is queued at once.
func New(now time.Time, cfg Config) *Conn {
	cfg.setDefaults()
	c := &Conn{
		cfg:         cfg,
		amChoking:   true,
		peerChoking: true,
		start:       now,
		now:         now,
		lastRead:    now,
		lastSent:    now,
		extNames:    make(map[uint8]string, len(cfg.Extension.M)),
	}
	for name, id := range cfg.Extension.M {
		c.extNames[id] = name
	}
	c.out.bytes = cfg.Handshake.Append(nil)
	c.out.size = wire.HandshakeLen
	for _, m := range cfg.Opening {
		if _, ok := m.(wire.Interested); ok {
			c.amInterested = true
		}
		c.queue(m)
	}
	if cfg.Remote != nil {
		c.err = c.receiveHandshake(*cfg.Remote)
	}
	return c
}

// receiveHandshake takes the peer's handshake and answers with the extension
// handshake. (BEP 10: "should be sent immediately after the standard bittorrent
// handshake to any peer that supports this extension protocol")
func (c *Conn) receiveHandshake(h wire.Handshake) error {
	ours := &c.cfg.Handshake
	switch {
	case !c.sameTorrent(h):
		return broken("handshake for another torrent, %x", h.InfoHash)
	case h.PeerID == ours.PeerID:
		return &ProtocolError{ErrSelf}
	}
	c.handshaken, c.remote = true, h
	c.fast = ours.Reserved.HasFast() && h.Reserved.HasFast()
	c.extended = ours.Reserved.HasExtended() && h.Reserved.HasExtended()
	c.v2 = c.cfg.V2Hash != [20]byte{} && (h.InfoHash == c.cfg.V2Hash || ours.InfoHash == c.cfg.V2Hash)
	c.emit(Handshaken{h, c.v2})
	if c.extended {
		c.queue(wire.Extended{ID: extension.HandshakeID, Payload: c.cfg.Extension.Append(nil)})
	}
	return nil
}

// sameTorrent reports whether a handshake is about our torrent: by the same hash,
// or by that of the other version, for a side that takes the upgrade to v2.
func (c *Conn) sameTorrent(h wire.Handshake) bool {
	ours := c.cfg.Handshake.InfoHash
	switch v2 := c.cfg.V2Hash; {
	case h.InfoHash == ours:
		return true
	case v2 == [20]byte{}:
		return false
	default:
		return h.InfoHash == v2 || ours == v2 && c.cfg.Remote != nil && h.Reserved.HasV2()
	}
}

// State is a snapshot of a connection.
type State struct {
	Handshaken     bool
	Fast, Extended bool // both sides support BEP 6, BEP 10

	AmChoking, AmInterested     bool // we choke the peer, we are interested in it
	PeerChoking, PeerInterested bool // the peer chokes us, it is interested in us

	Remote wire.Handshake      // zero before Handshaken
	Ext    extension.Handshake // zero before ExtHandshaken

	InFlight     int   // our requests that wait for an answer, one that is arriving included
	PeerRequests int   // the peer's requests that wait for ours
	Queued       int64 // bytes that TakeOutput would give
	PayloadRead  int64 // bytes of blocks that have come, wanted or not
}

// State returns a snapshot that shares nothing with c.
func (c *Conn) State() State {
	s := State{
		Handshaken:     c.handshaken,
		Fast:           c.fast,
		Extended:       c.extended,
		AmChoking:      c.amChoking,
		AmInterested:   c.amInterested,
		PeerChoking:    c.peerChoking,
		PeerInterested: c.peerInterested,
		Remote:         c.remote,
		Ext:            c.remoteExt,
		InFlight:       c.flights.len(),
		PeerRequests:   c.peerRequests.len(),
		Queued:         c.out.size,
		PayloadRead:    c.payloadRead,
	}
	s.Ext.M = maps.Clone(s.Ext.M)
	if c.arrival.wanted {
		s.InFlight++
	}
	return s
}

// Deadline returns when Tick is due. The zero time means never.
func (c *Conn) Deadline() time.Time {
	var first time.Time
	for _, t := range []time.Time{c.handshakeDeadline(), c.idleDeadline(), c.keepAliveDeadline()} {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	return first
}

// Tick does what is due: it queues a keep-alive, or returns an error that wraps
// ErrTimeout. It may be called at any time.
func (c *Conn) Tick(now time.Time) error {
	c.now = now
	switch {
	case c.err != nil:
	case due(now, c.handshakeDeadline()):
		c.err = fmt.Errorf("proto: no handshake within %v: %w", c.cfg.HandshakeTimeout, ErrTimeout)
	case due(now, c.idleDeadline()):
		c.err = fmt.Errorf("proto: peer was silent for %v: %w", c.cfg.IdleTimeout, ErrTimeout)
	case due(now, c.keepAliveDeadline()):
		c.queue(wire.KeepAlive{})
	}
	return c.err
}

func due(now, t time.Time) bool { return !t.IsZero() && !now.Before(t) }

func (c *Conn) handshakeDeadline() time.Time {
	if c.handshaken {
		return time.Time{}
	}
	return after(c.start, c.cfg.HandshakeTimeout)
}

func (c *Conn) idleDeadline() time.Time { return after(c.lastRead, c.cfg.IdleTimeout) }

// keepAliveDeadline counts from the latest time that c was told before it queued
// something, so it comes early rather than late.
func (c *Conn) keepAliveDeadline() time.Time {
	if !c.handshaken {
		return time.Time{}
	}
	return after(c.lastSent, c.cfg.KeepAlive)
}

func after(t time.Time, d time.Duration) time.Time {
	if d < 0 {
		return time.Time{}
	}
	return t.Add(d)
}
