package peerconn

import (
	"errors"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/qqbtfs/qqbtfs/peerconn/proto"
)

// readSize is the most that is read at once: large enough that the system call, the
// lock and the Handler call cost nothing against the copy.
const readSize = 256 << 10

// maxBacklog and maxWaiting are how many bytes of messages and how many blocks may
// wait to be written before reading stops: a peer that asks without taking the
// answers gets no further.
const (
	maxBacklog = 256 << 10
	maxWaiting = 2048
)

// input is what a connection needs while there is something to read, and only then.
type input struct {
	buf [readSize]byte
	evs []proto.Event
}

var inputs = sync.Pool{New: func() any { return new(input) }}

// keepEvents bounds the memory of events that is kept for the next read: a buffer full
// of tiny messages makes tens of thousands, one of blocks a few.
const keepEvents = 4096

func (in *input) free() {
	clear(in.evs)
	in.evs = in.evs[:0]
	if cap(in.evs) > keepEvents {
		in.evs = nil
	}
	inputs.Put(in)
}

// readLoop feeds the state machine and the handler until there is no more and says
// why. Nothing is held while it waits for bytes.
func (c *netConn) readLoop() error {
	raw, err := c.tcp.SyscallConn()
	if err != nil {
		return c.netError("read", err)
	}
	lim := c.net.opt.DownloadLimit
	in := inputs.Get().(*input) // the handshake of an incoming one is there
	n := copy(in.buf[:], c.early)
	c.early = nil
	for {
		if err := c.feed(in, n); err != nil {
			return err
		}
		if err := c.sleep(reserve(lim, time.Now(), n)); err != nil {
			return err
		}
		if err := c.waitForRoom(); err != nil {
			return err
		}
		if in, n, err = c.readSome(raw, quota(lim, readSize)); err != nil {
			return c.netError("read", err)
		}
		if c.in != nil {
			c.in.XORKeyStream(in.buf[:n], in.buf[:n])
		}
	}
}

// interrupt has the reading goroutine look for events, which otherwise come with the
// next bytes.
func (c *netConn) interrupt() { c.tcp.SetReadDeadline(time.Unix(1, 0)) }

// readSome waits until there is something to read, or an interrupt, and only then
// takes a buffer. That is what makes an idle connection cheap.
func (c *netConn) readSome(raw syscall.RawConn, limit int) (in *input, n int, err error) {
	var failed error
	err = raw.Read(func(fd uintptr) bool {
		in = inputs.Get().(*input)
		n, failed = ignoringEINTR(func() (int, error) { return unix.Read(int(fd), in.buf[:limit]) })
		if failed == unix.EAGAIN {
			in.free()
			in = nil
			return false
		}
		return true
	})
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return inputs.Get().(*input), 0, c.tcp.SetReadDeadline(time.Time{})
	case err != nil:
		return nil, 0, err
	case failed != nil:
		return nil, 0, failed
	case n == 0:
		return nil, 0, io.EOF
	}
	return in, n, nil
}

func ignoringEINTR(f func() (int, error)) (int, error) {
	for {
		n, err := f()
		if err != unix.EINTR {
			return n, err
		}
	}
}

// feed hands the first n bytes of in to the state machine and what they mean to the
// handler, frees in, and waits if the handler says so.
func (c *netConn) feed(in *input, n int) error {
	broken := c.digest(in, n)
	more := true
	if len(in.evs) > 0 {
		select {
		case <-c.resume: // an earlier one
		default:
		}
		more = c.handler.Events(c, in.evs)
	}
	in.free()
	if broken == nil && !more {
		return c.pause()
	}
	return broken
}

// digest is the part of feed under the lock.
func (c *netConn) digest(in *input, n int) error {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return errEnded
	}
	in.evs = append(in.evs, c.events...) // of calls
	c.events = nil
	c.reading = false
	var err error
	if n > 0 {
		c.read.Add(int64(n))
		c.lastRead, c.heard = now, now
		err = c.proto.Feed(now, in.buf[:n])
	}
	in.evs = c.proto.AppendEvents(in.evs)
	if c.proto.OutputLen() > 0 {
		c.Flush()
	}
	return err
}

// pause waits for Resume.
func (c *netConn) pause() error {
	select {
	case <-c.resume:
		return nil
	case <-c.ctx.Done():
		return errEnded
	}
}

// waitForRoom waits while the peer leaves too much unread. Then it is our turn to
// listen.
func (c *netConn) waitForRoom() error {
	for !c.hasRoom() {
		select {
		case <-c.room:
		case <-c.ctx.Done():
			return errEnded
		}
	}
	return nil
}

func (c *netConn) hasRoom() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reading = c.proto.OutputLen() <= maxBacklog && len(c.pieces) <= maxWaiting
	return c.reading
}

// sleep waits for d or the end of the connection.
func (c *netConn) sleep(d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-c.ctx.Done():
		return errEnded
	}
}
