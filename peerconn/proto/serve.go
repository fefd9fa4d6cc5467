package proto

import (
	"bytes"

	"github.com/qqbtfs/qqbtfs/peerconn/bitfield"
	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// queue queues a message as it is.
func (c *Conn) queue(m wire.Message) {
	if c.cfg.Trace != nil {
		c.cfg.Trace(false, m)
	}
	c.out.append(m)
	c.lastSent = c.now
}

// queueRequest is queue without an allocation.
func (c *Conn) queueRequest(r wire.Request) {
	if c.cfg.Trace != nil {
		c.cfg.Trace(false, r)
	}
	before := len(c.out.bytes)
	c.out.bytes = r.Append(c.out.bytes)
	c.out.size += int64(len(c.out.bytes) - before)
	c.lastSent = c.now
}

// Send queues a message. Nothing is sent before Handshaken. A state of choke or
// interest that the peer knows already is not sent again. Without the fast
// extension its messages are replaced by what BEP 3 has for them, or dropped.
// Requests go through Request and Cancel instead. A HashRequest ends with a
// HashesReceived or a HashesRejected.
func (c *Conn) Send(m wire.Message) {
	if !c.handshaken {
		return
	}
	switch m := m.(type) {
	case wire.Request, wire.Cancel:
		panic("BUG: Send of " + m.String())
	case wire.Choke:
		c.sendChoke()
	case wire.Unchoke:
		c.sendState(&c.amChoking, false, m)
	case wire.Interested:
		c.sendState(&c.amInterested, true, m)
	case wire.NotInterested:
		c.sendState(&c.amInterested, false, m)
	case wire.HaveAll:
		c.sendHaveAll()
	case wire.HaveNone, wire.Suggest:
		c.sendFast(m)
	case wire.AllowedFast:
		c.sendAllowedFast(m)
	case wire.Reject:
		if _, ok := c.peerRequests.take(wire.Request(m)); ok {
			c.sendFast(m)
		}
	case wire.HashRequest:
		c.sendHashRequest(m)
	case wire.Hashes:
		c.sendHashes(m.HashRequest, m)
	case wire.HashReject:
		c.sendHashes(wire.HashRequest(m), m)
	case wire.Piece:
		m.Data = bytes.Clone(m.Data)
		c.queuePiece(m)
	default:
		c.queue(m)
	}
}

// SendPiece queues a block that the peer asked for. The data is not copied and
// must not change until it has been written; token comes back in Output.Pieces.
// It answers false, and queues nothing, if the peer does not wait for the block.
func (c *Conn) SendPiece(p wire.Piece, token uint64) bool {
	if !c.queuePiece(p) {
		return false
	}
	c.out.sent = append(c.out.sent, SentPiece{Token: token, End: c.out.size})
	return true
}

func (c *Conn) queuePiece(p wire.Piece) bool {
	if _, ok := c.peerRequests.take(p.Request()); !ok {
		return false
	}
	if c.cfg.Trace != nil {
		c.cfg.Trace(false, p)
	}
	c.out.appendPiece(p)
	c.lastSent = c.now
	return true
}

// SendExtension queues a message of the extension of this name. It answers
// false, and queues nothing, if the peer does not support it.
func (c *Conn) SendExtension(name string, payload []byte) bool {
	id, ok := c.remoteExt.M[name]
	if ok {
		c.queue(wire.Extended{ID: id, Payload: payload})
	}
	return ok
}

func (c *Conn) sendState(state *bool, to bool, m wire.Message) {
	if *state != to {
		*state = to
		c.queue(m)
	}
}

// sendChoke chokes the peer and lets go of its requests. (BEP 6: "A peer SHOULD
// choke first and then reject requests", but "SHOULD NOT reject requests for
// pieces that are in the allowed fast set")
func (c *Conn) sendChoke() {
	c.sendState(&c.amChoking, true, wire.Choke{})
	granted := func(r wire.Request) bool { _, ok := c.grantedFast[r.Index]; return ok }
	for _, r := range c.peerRequests.drain(granted) {
		c.refuse(r)
	}
}

func (c *Conn) sendHaveAll() {
	if c.fast {
		c.queue(wire.HaveAll{})
	} else if c.known() {
		set := bitfield.New(c.cfg.NumPieces)
		set.Fill()
		c.queue(wire.Bitfield{Bits: set.Wire()})
	}
}

func (c *Conn) sendAllowedFast(m wire.AllowedFast) {
	if !c.fast {
		return
	}
	if c.grantedFast == nil {
		c.grantedFast = make(map[uint32]struct{})
	}
	c.grantedFast[m.Index] = struct{}{}
	c.queue(m)
}

func (c *Conn) sendFast(m wire.Message) {
	if c.fast {
		c.queue(m)
	}
}

// refuse answers a request that is not served: without the fast extension there
// is no answer.
func (c *Conn) refuse(r wire.Request) { c.sendFast(wire.Reject(r)) }

// receiveRequest takes a request of the peer. One that waits already is ignored.
func (c *Conn) receiveRequest(r wire.Request) error {
	if r.Length == 0 || r.Length > wire.BlockSize || c.known() && !c.inTorrent(r) {
		return broken("%v, which no torrent or not this one has", r)
	}
	_, waiting := c.peerRequests.get(r)
	_, granted := c.grantedFast[r.Index]
	switch {
	case waiting:
	case c.amChoking && !granted, !c.known(), c.peerRequests.len() >= c.cfg.MaxPeerRequests:
		c.refuse(r)
	default:
		c.payBack()
		c.peerRequests.put(r, struct{}{})
		c.emit(PeerRequest{r})
	}
	return nil
}

// receiveCancel ends a request of the peer. One that does not wait, since its
// answer is on the way, is ignored.
func (c *Conn) receiveCancel(r wire.Request) {
	if _, ok := c.peerRequests.take(r); ok {
		c.refuse(r)
		c.emit(PeerCancel{r})
	}
}

func (c *Conn) receiveInterest(interested bool) {
	if c.peerInterested != interested {
		c.peerInterested = interested
		c.emit(PeerInterested{interested})
	}
}
