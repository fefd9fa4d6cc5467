package peerconn

import (
	"slices"
	"sync"
	"time"

	"github.com/qqbtfs/qqbtfs/peerconn/proto"
	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

const (
	// writeSize is the most payload that is written at once, in bytes.
	writeSize = 256 << 10
	// maxPieces bounds the blocks in one write.
	maxPieces = 32
	// maxQueued ends a connection that has more bytes of messages waiting: its peer
	// takes nothing, and what the handler says does not shrink.
	maxQueued = 4 << 20
)

// A piece is a block that waits to be written.
type piece struct {
	msg  wire.Piece
	done func(sent bool)
}

func (p piece) size() int { return wire.PieceHeaderLen + len(p.msg.Data) }

// Send implements Conn.
func (c *netConn) Send(ms ...wire.Message) {
	c.update(func(p *proto.Conn) {
		for _, m := range ms {
			p.Send(m)
		}
	})
}

// SendExtension implements Conn.
func (c *netConn) SendExtension(name string, payload []byte) (known bool) {
	c.update(func(p *proto.Conn) { known = p.SendExtension(name, payload) })
	return known
}

// SendPiece implements Conn. The state machine gets the block when it goes out: what
// the peer has cancelled by then is not sent.
func (c *netConn) SendPiece(m wire.Piece, done func(sent bool)) {
	queued := false
	c.update(func(*proto.Conn) {
		c.pieces = append(c.pieces, piece{m, done})
		queued = true
	})
	if !queued {
		done(false)
		return
	}
	c.Flush()
}

// fitting is how many of the queued blocks are up to limit bytes together, the first
// in any case, and their size. It needs c.mu.
func (c *netConn) fitting(limit int) (n, size int) {
	for n < min(len(c.pieces), maxPieces) {
		next := size + c.pieces[n].size()
		if next > limit && n > 0 {
			break
		}
		n, size = n+1, next
	}
	return n, size
}

// nextSize is the size in bytes of the blocks to write next, zero: none.
func (c *netConn) nextSize(limit int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, size := c.fitting(limit)
	return size
}

// A batch is what goes out with one system call.
type batch struct {
	out    proto.Output
	bufs   [][]byte
	pieces []piece // in out
	stale  []piece // no longer wanted
}

var batches = sync.Pool{New: func() any { return new(batch) }}

func (b *batch) free() {
	b.out.Reset()
	clear(b.bufs[:cap(b.bufs)])
	clear(b.pieces)
	clear(b.stale)
	b.bufs, b.pieces, b.stale = b.bufs[:0], b.pieces[:0], b.stale[:0]
	batches.Put(b)
}

// report tells what became of the blocks.
func (b *batch) report(sent bool) (payload int64) {
	for _, p := range b.stale {
		p.done(false)
	}
	for _, p := range b.pieces {
		payload += int64(len(p.msg.Data))
		p.done(sent)
	}
	return payload
}

// take moves what is queued into b: all messages, and blocks of up to limit bytes.
func (c *netConn) take(b *batch, limit int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if limit > 0 {
		n, _ := c.fitting(limit)
		for _, p := range c.pieces[:n] {
			if c.proto.SendPiece(p.msg, 0) {
				b.pieces = append(b.pieces, p)
			} else {
				b.stale = append(b.stale, p)
			}
		}
		if c.pieces = slices.Delete(c.pieces, 0, n); len(c.pieces) == 0 {
			c.pieces = nil // an idle connection holds nothing
		}
	}
	c.proto.TakeOutput(&b.out)
}

// writeLoop writes what is queued until the connection ends or a write fails.
// Messages go first. Blocks follow when the upload limit grants them.
func (c *netConn) writeLoop() error {
	lim := c.net.opt.UploadLimit
	var (
		granted int       // bytes of blocks paid for
		at      time.Time // when they may go out
	)
	for c.ctx.Err() == nil {
		now := time.Now()
		if granted == 0 {
			granted = c.nextSize(quota(lim, writeSize))
			at = now.Add(reserve(lim, now, granted))
		}
		limit := 0
		if granted > 0 && !now.Before(at) {
			limit, granted = granted, 0
		}
		b := batches.Get().(*batch)
		c.take(b, limit)
		size := b.out.Len()
		err := c.write(b)
		reserve(lim, now, int(size)-limit) // messages do not wait: the blocks after them do
		b.free()
		if err != nil {
			return err
		}
		if size == 0 && limit == 0 {
			c.waitToWrite(granted > 0, at.Sub(now))
		}
	}
	return nil
}

// waitToWrite waits for something to be queued, the end of the connection or, with
// timed, for d.
func (c *netConn) waitToWrite(timed bool, d time.Duration) {
	var due <-chan time.Time
	if timed {
		t := time.NewTimer(d)
		defer t.Stop()
		due = t.C
	}
	select {
	case <-c.wake:
	case <-due:
	case <-c.ctx.Done():
	}
}

// write sends b and reports its blocks.
func (c *netConn) write(b *batch) error {
	if b.out.Len() == 0 {
		b.report(false)
		return nil
	}
	b.bufs = b.out.Buffers(b.bufs)
	err := c.tcp.SetWriteDeadline(time.Now().Add(c.net.opt.WriteTimeout))
	if err == nil {
		var n int64
		n, err = c.writeBuffers(b.bufs)
		c.written.Add(n)
	}
	signal(c.room)
	payload := b.report(err == nil)
	if err != nil {
		return c.netError("write", err)
	}
	c.payloadWritten.Add(payload)
	return nil
}
