package peerconn

import (
	"errors"
	"net"
	"slices"
	"time"

	"github.com/qqbtfs/qqbtfs/peerconn/mse"
	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// acceptPause is how long accepting rests after an error, which is most often that
// there are no file descriptors left.
const acceptPause = 100 * time.Millisecond

// graceShare of Options.HandshakeTimeout is the time, half a second unless told, that a
// handshake has before it can be ended for another. In a burst, all of a fleet after a
// pause of the network, what came may just not have been read yet; the burst waits in
// the backlog.
const graceShare = 20

// incoming is a handshake that is under way.
type incoming struct {
	tcp   *net.TCPConn
	since time.Time
}

func (n *Net) accept(l *net.TCPListener) {
	for n.awaitHandshakes() {
		tcp, err := l.AcceptTCP()
		switch {
		case err == nil:
			n.admit(tcp)
		case errors.Is(err, net.ErrClosed):
			return
		default:
			n.log.Warn("accepting peers", "addr", l.Addr(), "err", err)
			select {
			case <-n.done:
				return
			case <-time.After(acceptPause):
			}
		}
	}
}

// awaitHandshakes returns once one more handshake may begin, at once or after the
// grace of the oldest one; false at the end of n.
func (n *Net) awaitHandshakes() bool {
	for {
		n.mu.Lock()
		wait := time.Duration(0)
		if len(n.handshakes) >= n.opt.MaxHandshakes {
			wait = n.opt.HandshakeTimeout/graceShare - time.Since(n.handshakes[0].since)
		}
		n.mu.Unlock()
		if wait <= 0 {
			return true
		}
		select {
		case <-n.done:
			return false
		case <-n.freed:
		case <-time.After(wait):
		}
	}
}

// admit starts the handshake of an incoming connection, or closes it. Of too many
// handshakes the oldest is ended: an honest peer needs a round trip for it, and
// whoever just holds connections open cannot keep honest ones out.
func (n *Net) admit(tcp *net.TCPConn) {
	var oldest *net.TCPConn
	n.mu.Lock()
	refused := n.closed || n.full() || n.opt.Accept == nil || n.opt.Blocked(addrPort(tcp.RemoteAddr()).Addr())
	if !refused {
		if len(n.handshakes) >= n.opt.MaxHandshakes {
			oldest = n.handshakes[0].tcp
			n.handshakes = slices.Delete(n.handshakes, 0, 1)
		}
		n.handshakes = append(n.handshakes, incoming{tcp, time.Now()})
	}
	n.mu.Unlock()
	if oldest != nil {
		oldest.Close()
	}
	if refused {
		tcp.Close()
		return
	}
	n.spawn(func() { n.welcome(tcp) })
}

// welcome reads the handshake of an incoming connection and serves it if the
// Acceptor agrees.
func (n *Net) welcome(tcp *net.TCPConn) {
	addr := addrPort(tcp.RemoteAddr())
	remote, r, err := n.readHandshake(tcp)
	if err != nil {
		n.log.Debug("incoming handshake", "peer", addr, "err", err)
		tcp.Close()
		return
	}
	cfg, h, err := n.opt.Accept(remote, addr)
	if err != nil {
		n.log.Debug("incoming connection refused", "peer", addr, "err", err)
		tcp.Close()
		return
	}
	cfg.Remote = &remote
	c := newNetConn(n, addr, cfg, h)
	c.tcp = tcp
	c.agree(r)
	c.run(nil)
}

// errPlain refuses a connection.
var errPlain = errors.New("not encrypted")

// readHandshake tells by the first bytes whether the connection is encrypted.
func (n *Net) readHandshake(tcp *net.TCPConn) (h wire.Handshake, r mse.Result, err error) {
	defer n.greeted(tcp)
	var b [wire.HandshakeLen]byte
	if err := tcp.SetDeadline(time.Now().Add(n.opt.HandshakeTimeout)); err != nil {
		return h, r, err
	}
	got, plain := 0, true
	for plain && got < len(b) {
		n, err := tcp.Read(b[got:])
		got += n
		if err != nil {
			return h, r, err
		}
		plain = wire.CouldBeHandshake(b[:got])
	}
	switch {
	case !plain:
		h, r, err = n.respond(tcp, b[:got])
	case n.opt.Encryption == EncryptRequire:
		err = errPlain
	default:
		h, err = wire.ParseHandshake(b[:])
	}
	if err != nil {
		return h, r, err
	}
	return h, r, tcp.SetDeadline(time.Time{})
}

// greeted forgets a handshake that is no longer under way.
func (n *Net) greeted(tcp *net.TCPConn) {
	n.mu.Lock()
	n.handshakes = slices.DeleteFunc(n.handshakes, func(h incoming) bool { return h.tcp == tcp })
	n.mu.Unlock()
	signal(n.freed)
}
