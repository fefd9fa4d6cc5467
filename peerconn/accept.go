package peerconn

import (
	"errors"
	"net"
	"slices"
	"time"

	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// acceptPause is how long accepting rests after an error, which is most often that
// there are no file descriptors left.
const acceptPause = 100 * time.Millisecond

func (n *Net) accept(l *net.TCPListener) {
	for {
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

// admit starts the handshake of an incoming connection, or closes it. Of too many
// handshakes the oldest is ended: an honest peer needs a round trip for it, and
// whoever just holds connections open cannot keep honest ones out.
func (n *Net) admit(tcp *net.TCPConn) {
	var oldest *net.TCPConn
	n.mu.Lock()
	refused := n.closed || n.full() || n.opt.Accept == nil
	if !refused {
		if len(n.handshakes) >= n.opt.MaxHandshakes {
			oldest = n.handshakes[0]
			n.handshakes = slices.Delete(n.handshakes, 0, 1)
		}
		n.handshakes = append(n.handshakes, tcp)
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
	remote, err := n.readHandshake(tcp)
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
	c.run(nil)
}

func (n *Net) readHandshake(tcp *net.TCPConn) (wire.Handshake, error) {
	defer n.greeted(tcp)
	var b [wire.HandshakeLen]byte
	if err := tcp.SetReadDeadline(time.Now().Add(n.opt.HandshakeTimeout)); err != nil {
		return wire.Handshake{}, err
	}
	for got := 0; got < len(b); {
		n, err := tcp.Read(b[got:])
		got += n
		if err != nil {
			return wire.Handshake{}, err
		}
		if !wire.CouldBeHandshake(b[:got]) {
			return wire.Handshake{}, wire.ErrNotBitTorrent
		}
	}
	if err := tcp.SetReadDeadline(time.Time{}); err != nil {
		return wire.Handshake{}, err
	}
	return wire.ParseHandshake(b[:])
}

// greeted forgets a handshake that is no longer under way.
func (n *Net) greeted(tcp *net.TCPConn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if i := slices.Index(n.handshakes, tcp); i >= 0 {
		n.handshakes = slices.Delete(n.handshakes, i, i+1)
	}
}
