package peerconn

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/qqbtfs/qqbtfs/peerconn/mse"
	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// Encryption says which connections are encrypted (MSE/PE, see package mse).
type Encryption int

const (
	// EncryptPrefer takes both. It dials encrypted first, and again without if the peer
	// does not answer that. To addresses of our own network it is the other way round:
	// there is nobody to hide from, and encryption costs a round trip and the cipher.
	EncryptPrefer Encryption = iota
	// EncryptRequire has every connection encrypted from the first byte to the last.
	EncryptRequire
	// EncryptOff neither makes nor takes encrypted connections.
	EncryptOff
)

func (e Encryption) String() string {
	return [...]string{"prefer", "require", "off"}[e]
}

// methods are those for the stream behind a negotiation with addr, and the one to choose
// of them.
func (e Encryption) methods(addr netip.AddrPort) (all, prefer mse.Method) {
	switch {
	case e == EncryptRequire:
		return mse.RC4, mse.RC4
	case isLocal(addr.Addr()):
		return mse.Plaintext | mse.RC4, mse.Plaintext
	default:
		return mse.Plaintext | mse.RC4, mse.RC4
	}
}

// isLocal reports whether a is of this machine or its own network.
func isLocal(a netip.Addr) bool {
	return a.IsLoopback() || a.IsPrivate() || a.IsLinkLocalUnicast()
}

// A way is how a peer is greeted.
type way int

const (
	plainly way = iota
	encrypted
)

// fallbackTimeout bounds an encrypted greeting that may be tried plainly after it.
const fallbackTimeout = 5 * time.Second

// ways are those to try with addr, in this order.
func (n *Net) ways(addr netip.AddrPort) []way {
	switch n.opt.Encryption {
	case EncryptRequire:
		return []way{encrypted}
	case EncryptOff:
		return []way{plainly}
	}
	if w, ok := n.known.get(addr, time.Now()); ok {
		return []way{w}
	}
	if isLocal(addr.Addr()) {
		return []way{plainly, encrypted}
	}
	return []way{encrypted, plainly}
}

// greet begins the conversation on a connection that was just made, and returns once the
// peer has answered. last tells that there is no other way to try.
func (c *netConn) greet(w way, last bool) error {
	if w == plainly {
		return c.greetPlainly()
	}
	timeout := c.net.opt.HandshakeTimeout
	if !last {
		timeout = min(timeout, fallbackTimeout)
	}
	return c.greetEncrypted(timeout)
}

// greetPlainly sends our handshake, waits for the first byte of the answer and sends the
// rest of what opens the conversation: aria2 bans who has sent more than a handshake when
// it looks for one.
func (c *netConn) greetPlainly() error {
	opening := c.opening()
	if err := c.writeAll(opening[:wire.HandshakeLen]); err != nil {
		return c.netError("write", err)
	}
	raw, err := c.tcp.SyscallConn()
	if err == nil {
		err = peek(raw)
	}
	if err != nil {
		return c.netError("read", err)
	}
	if err := c.writeAll(opening[wire.HandshakeLen:]); err != nil {
		return c.netError("write", err)
	}
	return nil
}

// peek waits for something to read.
func peek(raw syscall.RawConn) error {
	var failed error
	err := raw.Read(func(fd uintptr) bool {
		var b [1]byte
		var n int
		n, failed = ignoringEINTR(func() (int, error) {
			n, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK)
			return n, err
		})
		if failed == nil && n == 0 {
			failed = io.EOF
		}
		return failed != unix.EAGAIN
	})
	return errors.Join(err, failed)
}

// greetEncrypted negotiates. Our handshake goes along, the rest of what opens the
// conversation behind it.
func (c *netConn) greetEncrypted(timeout time.Duration) error {
	opening := c.opening()
	offer, _ := c.net.opt.Encryption.methods(c.addr)
	h := mse.Initiate(rand.Reader, c.cfg.Handshake.InfoHash, offer, opening[:wire.HandshakeLen])
	if err := c.tcp.SetDeadline(time.Now().Add(timeout)); err != nil {
		return c.netError("negotiate", err)
	}
	r, err := negotiate(c.tcp, h, nil)
	if err == nil {
		err = c.tcp.SetDeadline(time.Time{})
	}
	if err != nil {
		return c.netError("negotiate", err)
	}
	c.agree(r)
	c.written.Add(wire.HandshakeLen)
	if err := c.writeAll(opening[wire.HandshakeLen:]); err != nil {
		return c.netError("write", err)
	}
	return nil
}

// opening starts the state machine and returns what it has to say at first.
func (c *netConn) opening() []byte {
	c.start(time.Now())
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.proto.Output())
}

// agree takes over what was negotiated.
func (c *netConn) agree(r mse.Result) {
	c.in, c.out, c.early = r.In, r.Out, r.Early
	c.mu.Lock()
	defer c.mu.Unlock()
	c.encrypted = r.Method == mse.RC4
}

// negotiate says and hears what h wants over conn. first has come already.
func negotiate(conn net.Conn, h *mse.Handshake, first []byte) (mse.Result, error) {
	buf := make([]byte, 2048)
	n, err := copy(buf, first), error(nil)
	for {
		if err := h.Feed(buf[:n]); err != nil {
			return mse.Result{}, err
		}
		if out := h.Output(); len(out) > 0 {
			if _, err := conn.Write(out); err != nil {
				return mse.Result{}, err
			}
		}
		if r, ok := h.Result(); ok {
			return r, nil
		}
		if n, err = conn.Read(buf); err != nil {
			return mse.Result{}, err
		}
	}
}

// respond negotiates on an incoming connection that began with first, which is not
// BitTorrent's. It returns the handshake behind the negotiation.
func (n *Net) respond(tcp *net.TCPConn, first []byte) (wire.Handshake, mse.Result, error) {
	if n.opt.SecretKeys == nil || n.opt.Encryption == EncryptOff {
		return wire.Handshake{}, mse.Result{}, wire.ErrNotBitTorrent
	}
	accept, prefer := n.opt.Encryption.methods(addrPort(tcp.RemoteAddr()))
	h := mse.Respond(rand.Reader, slices.Values(n.opt.SecretKeys()), accept, prefer)
	r, err := negotiate(tcp, h, first)
	if err != nil {
		return wire.Handshake{}, r, err
	}
	for len(r.Early) < wire.HandshakeLen {
		buf := make([]byte, wire.HandshakeLen)
		got, err := tcp.Read(buf)
		if err != nil {
			return wire.Handshake{}, r, err
		}
		if r.In != nil {
			r.In.XORKeyStream(buf[:got], buf[:got])
		}
		r.Early = append(r.Early, buf[:got]...)
	}
	remote, err := wire.ParseHandshake(r.Early[:wire.HandshakeLen])
	if err == nil && remote.InfoHash != r.SKey {
		err = fmt.Errorf("negotiated about torrent %x, shakes hands about %x", r.SKey, remote.InfoHash)
	}
	r.Early = r.Early[wire.HandshakeLen:]
	return remote, r, err
}

// cipherBuf is where blocks are encrypted, which are not ours to change.
type cipherBuf [64 << 10]byte

var cipherBufs = sync.Pool{New: func() any { return new(cipherBuf) }}

// writeBuffers writes bufs, encrypted if that was agreed upon.
func (c *netConn) writeBuffers(bufs net.Buffers) (int64, error) {
	if c.out == nil {
		return bufs.WriteTo(c.tcp)
	}
	scratch := cipherBufs.Get().(*cipherBuf)
	defer cipherBufs.Put(scratch)
	var written int64
	fill := 0
	flush := func() error {
		n, err := c.tcp.Write(scratch[:fill])
		written, fill = written+int64(n), 0
		return err
	}
	for _, b := range bufs {
		for len(b) > 0 {
			n := min(len(b), len(scratch)-fill)
			c.out.XORKeyStream(scratch[fill:fill+n], b[:n])
			if b, fill = b[n:], fill+n; fill == len(scratch) {
				if err := flush(); err != nil {
					return written, err
				}
			}
		}
	}
	return written, flush()
}

// writeAll writes what belongs to the greeting, before there is a writer.
func (c *netConn) writeAll(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	err := c.tcp.SetWriteDeadline(time.Now().Add(c.net.opt.WriteTimeout))
	if err == nil {
		var n int64
		n, err = c.writeBuffers(net.Buffers{b})
		c.written.Add(n)
	}
	return err
}

const (
	maxKnownWays = 4096
	knownFor     = time.Hour
)

// knownWays remembers how peers answered.
type knownWays struct {
	mu sync.Mutex
	m  map[netip.AddrPort]knownWay
}

type knownWay struct {
	way   way
	until time.Time
}

func (k *knownWays) get(addr netip.AddrPort, now time.Time) (way, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	w, ok := k.m[addr]
	return w.way, ok && now.Before(w.until)
}

// put remembers a way for a while. Of too many, any is forgotten.
func (k *knownWays) put(addr netip.AddrPort, w way, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.m == nil {
		k.m = map[netip.AddrPort]knownWay{}
	}
	for old := range k.m {
		if len(k.m) < maxKnownWays {
			break
		}
		delete(k.m, old)
	}
	k.m[addr] = knownWay{w, now.Add(knownFor)}
}

func (k *knownWays) forget(addr netip.AddrPort) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.m, addr)
}
