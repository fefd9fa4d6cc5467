package fetchtest

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"github.com/qqbtfs/qqbtfs/fetch/swarm"
	"github.com/qqbtfs/qqbtfs/peerconn/bitfield"
	"github.com/qqbtfs/qqbtfs/peerconn/extension"
	"github.com/qqbtfs/qqbtfs/peerconn/proto"
	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

const (
	// lag is how long a client's events wait at most until they are looked at.
	lag = time.Millisecond
	// hashing is how long a piece takes from its last block into the cache.
	hashing = time.Millisecond
)

// Client is a swarm.Swarm on a host, with connections and buffers around it: in
// virtual time what a fetch.Torrent is.
type Client struct {
	*host
	swarm   *swarm.Swarm
	fast    bool
	ends    map[swarm.PeerID]*end
	lastID  swarm.PeerID
	buffers map[int][]byte
	scratch map[owed][]byte
	places  map[wire.Request]swarm.PeerID // which connection may write where
	demand  demand

	uploadOnly bool // as the swarm said last

	inbox   []swarm.Event
	turning bool          // a turn is due
	tick    time.Duration // when the next one is

	received int64             // bytes of blocks that came in, of every kind
	kept     int64             // bytes of the pieces that were verified
	seen     func(line string) // nil: nobody looks
}

// owed names scratch memory.
type owed struct {
	peer swarm.PeerID
	req  wire.Request
}

// serving is what a client keeps for a connection: its number and the blocks to
// send on it.
type serving struct {
	id    swarm.PeerID
	queue []wire.Request
}

// ClientConfig is how a client differs from the default.
type ClientConfig struct {
	Fast  bool
	Have  bitfield.Set // zero: nothing
	Swarm swarm.Config // Picker, Have and PeerID are filled in
}

func newClient(h *host, cfg ClientConfig) *Client {
	w := h.w
	c := &Client{
		host: h, fast: cfg.Fast,
		ends:    map[swarm.PeerID]*end{},
		buffers: map[int][]byte{},
		scratch: map[owed][]byte{},
		places:  map[wire.Request]swarm.PeerID{},
	}
	sc := cfg.Swarm
	sc.Picker.NumPieces, sc.Picker.PieceSize, sc.Picker.Seed = w.torrent.NumPieces(), w.torrent.PieceSize, w.rnd.Uint64()
	sc.PeerID = peerID(h)
	if sc.Have = cfg.Have; sc.Have.Len() == 0 {
		sc.Have = bitfield.New(w.torrent.NumPieces())
	}
	c.swarm = swarm.New(w.clock.time(), sc)
	c.uploadOnly = c.swarm.UploadOnly()
	c.demand.init(c)
	return c
}

func (c *Client) config() proto.Config { return c.w.protoConfig(c.host, c.fast) }

// Know tells the client addresses.
func (c *Client) Know(addrs ...netip.AddrPort) {
	c.post(swarm.PeersFound{Addrs: addrs, Source: "test"})
}

// Resumed tells the client that the machine was suspended.
func (c *Client) Resumed() { c.post(swarm.NetworkChanged{Slept: true}) }

// post puts an event into the inbox; it is looked at a moment later, as by
// another goroutine.
func (c *Client) post(ev swarm.Event) {
	c.inbox = append(c.inbox, ev)
	c.wake()
}

func (c *Client) wake() {
	if !c.turning {
		c.turning = true
		c.w.clock.after(time.Duration(c.w.rnd.Int64N(int64(lag))), c.turn)
	}
}

// turn steps the swarm through what came in and does what it says.
func (c *Client) turn() {
	if c.frozen(c.turn) {
		return
	}
	c.turning = false
	now := c.w.clock.time()
	if d, changed := c.demand.take(); changed {
		c.step(now, swarm.Wanted{Demand: d})
	}
	events := c.inbox
	c.inbox = nil
	for _, ev := range events {
		c.before(ev)
		c.step(now, ev)
	}
	if !now.Before(c.swarm.Deadline()) {
		c.swarm.Step(now, swarm.Tick{})
	}
	for _, cmd := range c.swarm.Ready() {
		c.show(cmd)
		c.perform(cmd)
	}
	for _, ev := range events {
		c.after(ev)
	}
	c.pump()
	c.w.check(c)
	if d := until(c.swarm.Deadline()); d < c.tick || c.tick <= c.w.clock.now {
		c.tick = max(d, c.w.clock.now+time.Microsecond)
		c.w.clock.at(c.tick, func() {
			if !c.turning {
				c.turning = true
				c.turn()
			}
		})
	}
}

func (c *Client) step(now time.Time, ev swarm.Event) {
	c.show(ev)
	c.swarm.Step(now, ev)
}

func (c *Client) show(what fmt.Stringer) {
	if c.seen != nil {
		c.seen(what.String())
	}
}

// before lets go of scratch memory that will not be filled. It must come before
// the commands, which may ask for the same block again.
func (c *Client) before(ev swarm.Event) {
	if ev, ok := ev.(swarm.BlockRejected); ok {
		delete(c.scratch, owed{ev.Peer, ev.Req})
	}
}

// after forgets connections that have ended. It must come after the commands,
// which may adopt what came last on them.
func (c *Client) after(ev swarm.Event) {
	if ev, ok := ev.(swarm.PeerGone); ok {
		delete(c.ends, ev.Peer)
		for k := range c.scratch {
			if k.peer == ev.Peer {
				delete(c.scratch, k)
			}
		}
	}
}

// events implements node.
func (c *Client) events(e *end, evs []proto.Event) {
	for _, ev := range evs {
		if h, ok := ev.(proto.Handshaken); ok {
			c.lastID++
			e.state = &serving{id: c.lastID}
			c.ends[c.lastID] = e
			c.tellUploadOnly(e)
			c.post(swarm.PeerConnected{
				Peer: c.lastID, Addr: e.addr, Outgoing: e.outgoing, Fast: e.conn.State().Fast, Remote: h.Remote.PeerID,
			})
			continue
		}
		c.translate(e.state.(*serving).id, ev)
	}
}

func (c *Client) translate(id swarm.PeerID, ev proto.Event) {
	switch ev := ev.(type) {
	case proto.Block:
		c.received += int64(ev.Req.Length)
		c.vacate(id, ev.Req)
		c.post(swarm.BlockReceived{Peer: id, Req: ev.Req})
	case proto.Rejected:
		c.vacate(id, ev.Req)
		c.post(swarm.BlockRejected{Peer: id, Req: ev.Req})
	case proto.Discarded:
		c.received += int64(ev.Req.Length)
		c.post(swarm.BlockWasted{Peer: id, Req: ev.Req})
	case proto.Unsolicited:
		c.received += int64(ev.Req.Length)
		c.post(swarm.BlockWasted{Peer: id, Req: ev.Req, Unasked: true})
	case proto.Has:
		c.post(swarm.PeerHas{Peer: id, Piece: ev.Index})
	case proto.HasSet:
		c.post(swarm.PeerHasSet{Peer: id, Set: ev.Set})
	case proto.Choked:
		c.post(swarm.PeerChokes{Peer: id, Choke: true})
	case proto.Unchoked:
		c.post(swarm.PeerChokes{Peer: id, Choke: false})
	case proto.AllowedFast:
		c.post(swarm.PeerAllows{Peer: id, Piece: ev.Index})
	case proto.PeerInterested:
		c.post(swarm.PeerInterested{Peer: id, Interested: ev.Interested})
	case proto.PeerRequest:
		c.post(swarm.PeerRequests{Peer: id, Req: ev.Req})
	case proto.PeerCancel:
		c.post(swarm.PeerCancels{Peer: id, Req: ev.Req})
	case proto.ExtHandshaken:
		c.post(swarm.PeerExtended{
			Peer: id, ReqQ: ev.Ext.ReqQ, Client: ev.Ext.V, UploadOnly: ev.Ext.UploadOnly != nil && *ev.Ext.UploadOnly,
		})
	case proto.ExtMessage:
		c.post(swarm.PeerLacks{Peer: id, Piece: int(binary.BigEndian.Uint32(ev.Payload))})
	}
}

// closed implements node.
func (c *Client) closed(e *end, err error) {
	s, met := e.state.(*serving)
	if !met {
		if e.outgoing {
			c.post(swarm.DialFailed{Addr: e.addr, Self: err == proto.ErrSelf})
		}
		return
	}
	for r, id := range c.places {
		if id == s.id {
			delete(c.places, r)
		}
	}
	for _, r := range s.queue {
		c.post(swarm.BlockServed{Peer: s.id, Req: r})
	}
	_, broke := err.(*proto.ProtocolError)
	c.post(swarm.PeerGone{Peer: s.id, Broke: broke})
}

// tellUploadOnly tells the peer what the swarm said last, if that is not what is said
// anyway.
func (c *Client) tellUploadOnly(e *end) {
	if e.open && e.conn.State().Extended && (c.uploadOnly || e.told) {
		e.told = c.uploadOnly
		on := c.uploadOnly
		e.conn.Send(wire.Extended{ID: extension.HandshakeID, Payload: extension.Handshake{UploadOnly: &on}.Append(nil)})
	}
}

// vacate records that a connection will not write a block any more.
func (c *Client) vacate(id swarm.PeerID, r wire.Request) {
	if c.places[r] == id {
		delete(c.places, r)
	}
}

func (c *Client) perform(cmd swarm.Command) {
	switch cmd := cmd.(type) {
	case swarm.Dial:
		c.dial(cmd.Addr, cmd.Opening, func(_ *end, err error) {
			if err != nil {
				c.post(swarm.DialFailed{Addr: cmd.Addr, Self: err == proto.ErrSelf})
			}
		})
	case swarm.Disconnect:
		if e := c.ends[cmd.Peer]; e != nil {
			e.close(nil)
		}
	case swarm.Request:
		c.request(cmd)
	case swarm.Withdraw:
		c.withdraw(cmd)
	case swarm.Forget:
		c.forget(cmd)
	case swarm.Adopt:
		c.adopt(cmd)
	case swarm.Verify:
		c.verify(cmd)
	case swarm.Send:
		if e := c.ends[cmd.Peer]; e != nil && e.open {
			e.conn.Send(cmd.Msg)
		}
	case swarm.Serve:
		c.serve(cmd)
	case swarm.DontHave:
		if e := c.ends[cmd.Peer]; e != nil && e.open {
			e.conn.SendExtension("lt_donthave", binary.BigEndian.AppendUint32(nil, uint32(cmd.Piece)))
		}
	case swarm.UploadOnly:
		c.uploadOnly = cmd.On
		for _, e := range c.ends {
			c.tellUploadOnly(e)
		}
	case swarm.Banned:
		c.w.banned(c, cmd)
	}
}

func (c *Client) request(cmd swarm.Request) {
	e := c.ends[cmd.Peer]
	if e == nil || !e.open {
		for _, r := range cmd.Reqs {
			c.post(swarm.BlockRejected{Peer: cmd.Peer, Req: r})
		}
		return
	}
	for k, r := range cmd.Reqs {
		dst := c.place(r)
		if cmd.Second[k] {
			dst = make([]byte, r.Length)
			c.scratch[owed{cmd.Peer, r}] = dst
		} else {
			c.occupy(cmd.Peer, r)
		}
		e.conn.Request(c.w.clock.time(), r, dst)
	}
	e.report()
}

// occupy records that a connection may write a block to its place.
func (c *Client) occupy(id swarm.PeerID, r wire.Request) {
	if o, taken := c.places[r]; taken && o != id {
		c.w.fail("%s: peers %d and %d both write to the place of %d+%d", c.name, o, id, r.Index, r.Begin)
	}
	c.places[r] = id
}

// place returns where the bytes of a block belong.
func (c *Client) place(r wire.Request) []byte {
	b := c.buffers[int(r.Index)]
	if b == nil {
		b = make([]byte, c.w.torrent.PieceSize(int(r.Index)))
		c.buffers[int(r.Index)] = b
	}
	return b[r.Begin : r.Begin+r.Length : r.Begin+r.Length]
}

func (c *Client) forget(cmd swarm.Forget) {
	for r, id := range c.places {
		if int(r.Index) == cmd.Piece {
			c.w.fail("%s: %v, but peer %d writes there", c.name, cmd, id)
		}
	}
	delete(c.buffers, cmd.Piece)
}

func (c *Client) adopt(cmd swarm.Adopt) {
	k := owed{cmd.Peer, cmd.Req}
	if c.scratch[k] == nil {
		c.w.fail("%s: %v: nothing to adopt", c.name, cmd)
		return
	}
	copy(c.place(cmd.Req), c.scratch[k])
	delete(c.scratch, k)
}

func (c *Client) withdraw(cmd swarm.Withdraw) {
	for _, r := range cmd.Reqs {
		c.vacate(cmd.Peer, r)
		delete(c.scratch, owed{cmd.Peer, r})
		if e := c.ends[cmd.Peer]; e != nil && e.open {
			e.conn.Abandon(r)
			e.conn.Cancel(r)
		}
	}
}

func (c *Client) verify(cmd swarm.Verify) {
	b := c.buffers[cmd.Piece]
	if b == nil {
		c.w.fail("%s: verify of piece %d without a buffer", c.name, cmd.Piece)
		return
	}
	delete(c.buffers, cmd.Piece)
	c.w.clock.after(hashing, func() {
		good, sums := c.w.torrent.verify(cmd.Piece, b)
		if !good {
			c.post(swarm.PieceFailed{Piece: cmd.Piece, Sums: sums})
			return
		}
		if !cmd.Sums {
			sums = nil
		}
		c.kept += int64(len(b))
		c.demand.arrived(cmd.Piece)
		c.post(swarm.PieceVerified{Piece: cmd.Piece, Sums: sums})
	})
}

func (c *Client) serve(cmd swarm.Serve) {
	if !c.swarm.Has(int(cmd.Req.Index)) {
		c.w.fail("%s: serves piece %d, which it has not", c.name, cmd.Req.Index)
	}
	e := c.ends[cmd.Peer]
	if e == nil || !e.open {
		c.post(swarm.BlockServed{Peer: cmd.Peer, Req: cmd.Req})
		return
	}
	s := e.state.(*serving)
	s.queue = append(s.queue, cmd.Req)
}

// feed implements node: it sends the next block that the swarm has served.
func (c *Client) feed(e *end) {
	s, _ := e.state.(*serving)
	if s == nil {
		return
	}
	for len(s.queue) > 0 {
		r := s.queue[0]
		s.queue = s.queue[1:]
		sent := e.conn.SendPiece(wire.Piece{Index: r.Index, Begin: r.Begin, Data: c.w.content(r)}, 0)
		c.post(swarm.BlockServed{Peer: s.id, Req: r, Sent: sent})
		if sent {
			return
		}
	}
}

// Complete reports whether every piece is verified.
func (c *Client) Complete() bool { return c.swarm.Count() == c.w.torrent.NumPieces() }

// lose makes the cache lose a piece.
func (c *Client) lose(i int) {
	c.demand.have[i] = false
	c.post(swarm.PieceLost{Piece: i})
}

// Summary returns the client's counters in a line.
func (c *Client) Summary() string {
	st := c.swarm.Stats()
	return fmt.Sprintf("%s: %d/%d pieces, downloaded %s, wasted %s, uploaded %s, %d hash failures, %d bans",
		c.name, c.swarm.Count(), c.w.torrent.NumPieces(), size(st.Downloaded), size(st.Wasted), size(st.Uploaded),
		st.HashFailures, st.Bans)
}

// size prints a number of bytes.
func size(n int64) string {
	switch {
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	default:
		return fmt.Sprintf("%d B", n)
	}
}
