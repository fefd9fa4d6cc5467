package fetch

import (
	"errors"
	"hash/maphash"
	"log/slog"
	"sync"

	"github.com/qqbtfs/qqbtfs/cache"
	"github.com/qqbtfs/qqbtfs/fetch/swarm"
	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// scratchKey names the scratch memory of a second copy.
type scratchKey struct {
	peer swarm.PeerID
	req  wire.Request
}

// before does what has to precede the swarm's view of an event.
func (t *Torrent) before(ev swarm.Event) {
	switch ev := ev.(type) {
	case swarm.PeerConnected:
		t.mu.Lock()
		p := t.peers[ev.Peer]
		t.mu.Unlock()
		if p != nil {
			t.conns[ev.Peer] = p
		}
	case swarm.PeerExtended:
		if p := t.conns[ev.Peer]; p != nil {
			p.tellUploadOnly()
		}
	case swarm.BlockRejected:
		// Before, since the answer may be to ask the same peer again.
		delete(t.scratch, scratchKey{ev.Peer, ev.Req})
	}
}

// tell logs a piece that the swarm has just taken in.
func (t *Torrent) tell(ev swarm.Event) {
	if v, ok := ev.(swarm.PieceVerified); ok && t.log.Enabled(t.ctx, slog.LevelDebug) {
		t.log.Debug("piece complete", "piece", v.Piece, "progress", t.progress())
	}
}

// after lets go of what an event has ended.
func (t *Torrent) after(ev swarm.Event) {
	switch ev := ev.(type) {
	case swarm.PeerGone:
		delete(t.conns, ev.Peer)
		delete(t.talk.talks, ev.Peer)
		for k := range t.scratch {
			if k.peer == ev.Peer {
				delete(t.scratch, k)
			}
		}
	case swarm.BlockReceived:
		t.prover.block(ev.Req)
	case swarm.PieceVerified:
		t.prover.forget(ev.Piece)
		t.checkChosen()
	case swarm.PieceDropped:
		t.prover.failed(ev.Piece)
	case swarm.PieceFailed:
		t.prover.failed(ev.Piece)
		t.log.Warn("piece does not match its hash, fetching it again", "piece", ev.Piece)
	}
}

// perform carries out the swarm's commands.
func (t *Torrent) perform() {
	for _, c := range t.swarm.Ready() {
		switch c := c.(type) {
		case swarm.Dial:
			t.dial(c.Addr, c.Opening)
		case swarm.Disconnect:
			t.disconnect(c)
		case swarm.Request:
			t.request(c)
		case swarm.Withdraw:
			t.withdraw(c)
		case swarm.Forget:
			t.forget(c)
		case swarm.Adopt:
			t.adopt(c)
		case swarm.Verify:
			t.verify(c)
		case swarm.Send:
			if p := t.conns[c.Peer]; p != nil {
				p.conn.Send(c.Msg)
			}
		case swarm.Serve:
			t.serve(c)
		case swarm.DontHave:
			t.dontHave(c)
		case swarm.UploadOnly:
			t.setUploadOnly(c.On)
		case swarm.SeedingEnded:
			t.seedingEnded(c.Why)
		case swarm.FindPeers:
			t.announce.WantPeers()
			t.searches.Want()
		case swarm.Claim:
			t.s.claim(t, c.Need)
		case swarm.Completed:
			t.completed()
		case swarm.Banned:
			t.banned(c)
		}
	}
}

func (t *Torrent) disconnect(c swarm.Disconnect) {
	if p := t.conns[c.Peer]; p != nil {
		p.conn.Close(errors.New(c.Why))
	}
}

func (t *Torrent) completed() {
	t.log.Info("download complete", "hash_failures", t.swarm.Stats().HashFailures)
	t.announce.Completed()
	select {
	case <-t.complete: // pieces were lost and came again
	default:
		close(t.complete)
	}
}

func (t *Torrent) request(c swarm.Request) {
	p := t.conns[c.Peer]
	if p == nil {
		for _, r := range c.Reqs {
			t.in.post(swarm.BlockRejected{Peer: c.Peer, Req: r})
		}
		return
	}
	dsts := make([][]byte, len(c.Reqs))
	for i, r := range c.Reqs {
		if c.Second[i] {
			dsts[i] = make([]byte, r.Length)
			t.scratch[scratchKey{c.Peer, r}] = dsts[i]
		} else {
			dsts[i] = t.place(r)
		}
	}
	p.conn.Request(c.Reqs, dsts)
}

// place returns where the bytes of a block belong.
func (t *Torrent) place(r wire.Request) []byte {
	i := int(r.Index)
	b := t.buffers[i]
	if b == nil {
		b = t.pool.Get(t.lay.PieceSize(i))
		t.buffers[i] = b
	}
	return b.Bytes()[r.Begin : r.Begin+r.Length : r.Begin+r.Length]
}

func (t *Torrent) withdraw(c swarm.Withdraw) {
	if p := t.conns[c.Peer]; p != nil {
		p.conn.Abandon(c.Reqs...)
		p.conn.Cancel(c.Reqs...)
	}
	for _, r := range c.Reqs {
		delete(t.scratch, scratchKey{c.Peer, r})
	}
}

func (t *Torrent) adopt(c swarm.Adopt) {
	k := scratchKey{c.Peer, c.Req}
	b := t.scratch[k]
	if b == nil {
		panic("BUG: fetch: a second copy that lies nowhere")
	}
	copy(t.place(c.Req), b)
	delete(t.scratch, k)
}

func (t *Torrent) forget(c swarm.Forget) {
	if b := t.buffers[c.Piece]; b != nil {
		b.Release()
		delete(t.buffers, c.Piece)
	}
}

// verify hashes a piece beside the loop and puts it into the cache.
func (t *Torrent) verify(c swarm.Verify) {
	buf := t.buffers[c.Piece]
	if buf == nil {
		panic("BUG: fetch: verify of a piece without a buffer")
	}
	delete(t.buffers, c.Piece) // the hasher's now, until it fails
	t.jobs.Add(1)
	t.s.hashing.do(func() {
		defer t.jobs.Done()
		t.hash(c, buf)
	})
}

func (t *Torrent) hash(c swarm.Verify, buf *cache.Buffer) {
	var sums []uint64
	if c.Sums {
		sums = blockSums(buf.Bytes())
	}
	piece, err := cache.Verify(c.Piece, t.sum(c.Piece), buf)
	if err != nil {
		sums = blockSums(buf.Bytes())
		buf.Release()
		t.in.post(swarm.PieceFailed{Piece: c.Piece, Sums: sums})
		return
	}
	if err := t.store.Put(t.ctx, piece); err != nil {
		if t.ctx.Err() == nil {
			t.log.Error("piece cannot be kept", "piece", c.Piece, "err", err)
		}
		t.in.post(swarm.PieceDropped{Piece: c.Piece})
		return
	}
	t.waits.arrived(c.Piece)
	t.in.post(swarm.PieceVerified{Piece: c.Piece, Sums: sums})
	if !t.store.Has(c.Piece) { // pushed out already, and Lost may have overtaken us
		t.in.post(swarm.PieceLost{Piece: c.Piece})
	}
}

var sumSeed = maphash.MakeSeed()

// blockSums returns a checksum of each block, which a peer cannot foresee.
func blockSums(b []byte) []uint64 {
	var sums []uint64
	for len(b) > 0 {
		n := min(len(b), wire.BlockSize)
		sums = append(sums, maphash.Bytes(sumSeed, b[:n]))
		b = b[n:]
	}
	return sums
}

// blocks has memory for blocks on their way from the cache to a socket.
var blocks = sync.Pool{New: func() any { return new([wire.BlockSize]byte) }}

// serve reads a block from the cache beside the loop and sends it.
func (t *Torrent) serve(c swarm.Serve) {
	p := t.conns[c.Peer]
	failed := swarm.BlockServed{Peer: c.Peer, Req: c.Req}
	if p == nil || c.Req.Length > wire.BlockSize {
		t.in.post(failed)
		return
	}
	t.jobs.Add(1)
	t.s.serving.do(func() {
		defer t.jobs.Done()
		b := blocks.Get().(*[wire.BlockSize]byte)
		data := b[:c.Req.Length]
		if err := t.readPadded(data, int(c.Req.Index), int(c.Req.Begin)); err != nil {
			blocks.Put(b)
			t.in.post(failed)
			return
		}
		p.conn.SendPiece(wire.Piece{Index: c.Req.Index, Begin: c.Req.Begin, Data: data}, func(sent bool) {
			blocks.Put(b)
			t.in.post(swarm.BlockServed{Peer: c.Peer, Req: c.Req, Sent: sent})
		})
	})
}

// readPadded reads bytes of a piece for a peer. Where files are aligned, clients ask
// for what lies between the end of a file and the next piece as well: it is padding
// in the v1 part of a hybrid, and some do not know better in v2 either.
func (t *Torrent) readPadded(dst []byte, piece, begin int) error {
	n := max(0, min(len(dst), t.lay.PieceSize(piece)-begin))
	clear(dst[n:])
	if n == 0 && t.store.Has(piece) {
		return nil
	}
	return t.store.ReadAt(dst[:n], piece, begin)
}
