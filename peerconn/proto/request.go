package proto

import (
	"fmt"
	"time"

	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// flight is a request that we sent and that waits for its answer.
type flight struct {
	dst       []byte // nil: abandoned
	cancelled bool   // a cancel was sent
}

// arrival is the piece whose data is coming in.
type arrival struct {
	req    wire.Request
	active bool
	wanted bool   // it answers a request of ours
	dst    []byte // nil: to be skipped
	got    int    // bytes of the data that have come
}

// Request asks the peer for a block and has it written to dst, of exactly the
// block's length. The block must lie in the torrent. The request ends with a
// Block, Rejected or Discarded event; it is Rejected at once if it cannot be
// sent: before Handshaken, or while choked for a piece that is not allowed fast.
//
// A request that is in flight already, perhaps cancelled or abandoned, is not
// sent again: dst takes the place of the one before, which is not written any
// more.
func (c *Conn) Request(now time.Time, r wire.Request, dst []byte) {
	c.now = now
	if len(dst) != int(r.Length) || r.Length > maxBlock || !c.inTorrent(r) {
		panic(fmt.Sprintf("BUG: %v into %d bytes, of %d pieces", r, len(dst), c.cfg.NumPieces))
	}
	switch {
	case c.reattach(r, dst):
	case c.mayRequest(r.Index):
		c.flights.put(r, flight{dst: dst})
		c.queueRequest(r)
	default:
		c.emit(Rejected{r})
	}
}

func (c *Conn) reattach(r wire.Request, dst []byte) bool {
	if _, ok := c.flights.get(r); ok {
		c.flights.put(r, flight{dst: dst})
		return true
	}
	a := &c.arrival
	if !a.wanted || a.dst == nil || a.req != r {
		return false
	}
	copy(dst, a.dst[:a.got])
	a.dst = dst
	return true
}

// mayRequest reports whether requests for a piece can be sent. (BEP 6, Allowed
// Fast: "if you ask for this piece, I'll give it to you even if you're choked")
func (c *Conn) mayRequest(piece uint32) bool {
	if !c.handshaken || c.err != nil {
		return false
	}
	_, allowed := c.allowedFast[piece]
	return !c.peerChoking || allowed
}

// Cancel tells the peer that we do not want the answer to r any more. It answers
// false, and sends nothing, if r is not in flight.
//
// With the fast extension the request stays in flight, and its dst in use, until
// the peer answers it (BEP 6: "Even when a request is cancelled, the peer
// receiving the cancel should respond with either the corresponding reject or the
// corresponding piece"). Without, it is forgotten at once.
func (c *Conn) Cancel(r wire.Request) bool {
	f, ok := c.flights.get(r)
	if !ok {
		return c.cancelArrival(r)
	}
	if !f.cancelled {
		c.queue(wire.Cancel(r))
	}
	if f.cancelled = true; c.fast {
		c.flights.put(r, f)
	} else {
		c.flights.take(r)
	}
	return true
}

// cancelArrival is Cancel of a block whose data has begun to come: too late to
// tell the peer.
func (c *Conn) cancelArrival(r wire.Request) bool {
	a := &c.arrival
	if !a.wanted || a.req != r {
		return false
	}
	if !c.fast {
		a.dst, a.wanted = nil, false
	}
	return true
}

// Abandon takes the dst of r back: it is not written any more. The request stays
// in flight and ends with Discarded or Rejected. Nothing is sent.
func (c *Conn) Abandon(r wire.Request) {
	if f, ok := c.flights.get(r); ok {
		f.dst = nil
		c.flights.put(r, f)
	} else if c.arrival.wanted && c.arrival.req == r {
		c.arrival.dst = nil
	}
}

// beginPiece takes the header of a piece and decides where its data goes, before
// any of it is copied.
func (c *Conn) beginPiece(r wire.Request) error {
	f, wanted := c.flights.take(r)
	if !wanted && (r.Length == 0 || r.Length > wire.BlockSize || c.known() && !c.inTorrent(r)) {
		return broken("piece that nobody can have asked for, %v", r)
	}
	if wanted {
		c.payBack()
	}
	c.arrival = arrival{req: r, active: true, wanted: wanted, dst: f.dst}
	return nil
}

// takePieceData takes the data of the arriving piece that b starts with and
// returns the rest of b.
func (c *Conn) takePieceData(b []byte) []byte {
	a := &c.arrival
	n := min(len(b), int(a.req.Length)-a.got)
	if a.dst != nil {
		copy(a.dst[a.got:], b[:n])
	}
	a.got += n
	c.payloadRead += int64(n)
	if a.got == int(a.req.Length) {
		c.endPiece()
	}
	return b[n:]
}

func (c *Conn) endPiece() {
	a := c.arrival
	c.arrival = arrival{}
	c.tracePiece(a)
	switch {
	case !a.wanted:
		c.emit(Unsolicited{a.req})
	case a.dst == nil:
		c.emit(Discarded{a.req})
	default:
		c.emit(Block{a.req})
	}
}

func (c *Conn) tracePiece(a arrival) {
	if c.cfg.Trace == nil {
		return
	}
	if a.dst == nil {
		a.dst = make([]byte, a.req.Length)
	}
	c.cfg.Trace(true, wire.Piece{Index: a.req.Index, Begin: a.req.Begin, Data: a.dst})
}

func (c *Conn) receiveChoke() {
	if !c.peerChoking {
		c.peerChoking = true
		c.emit(Choked{})
	}
	if c.fast {
		return
	}
	for _, r := range c.flights.drain(func(wire.Request) bool { return false }) {
		c.emit(Rejected{r})
	}
}

func (c *Conn) receiveUnchoke() {
	if c.peerChoking {
		c.peerChoking = false
		c.emit(Unchoked{})
	}
}

// receiveReject ends a request. One that is not in flight is ignored: BEP 6 would
// have the connection closed ("SHOULD"), but it does no harm, and clients are
// known to answer a cancelled request by both a piece and a reject.
func (c *Conn) receiveReject(r wire.Request) {
	if _, ok := c.flights.take(r); ok {
		c.payBack()
		c.emit(Rejected{r})
	}
}

// maxAllowedFast bounds the memory for pieces that the peer allows; more are
// ignored, as the receiver of the advice may.
const maxAllowedFast = 1024

func (c *Conn) receiveAllowedFast(piece uint32) {
	if _, ok := c.allowedFast[piece]; ok || len(c.allowedFast) >= maxAllowedFast {
		return
	}
	if c.allowedFast == nil {
		c.allowedFast = make(map[uint32]struct{})
	}
	c.allowedFast[piece] = struct{}{}
	c.emit(AllowedFast{int(piece)})
}
