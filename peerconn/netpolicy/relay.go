package netpolicy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
)

// A relay is a UDP socket of the proxy's (RFC 1928, UDP ASSOCIATE). It is a
// net.PacketConn with the addresses of those behind the proxy. It lasts as long as its
// control connection.
type relay struct {
	net.Conn          // to the proxy's UDP port, connected: others cannot send to it
	control  net.Conn // TCP

	ended   chan struct{} // by watch
	closing sync.Once
}

var _ net.PacketConn = (*relay)(nil)

// associate makes a relay.
func (x *proxy) associate(ctx context.Context, p *Policy) (*relay, error) {
	control, bound, err := x.request(ctx, p, cmdAssociate, "0.0.0.0:0")
	if err != nil {
		return nil, err
	}
	// Many proxies name no address of theirs, or one behind a NAT: the one that we
	// reach is the one that we are connected to.
	_, port, err := net.SplitHostPort(bound)
	var host string
	if err == nil {
		host, _, err = net.SplitHostPort(control.RemoteAddr().String())
	}
	var conn net.Conn
	if err == nil {
		conn, err = p.direct(ctx, "udp", net.JoinHostPort(host, port), nil)
	}
	if err != nil {
		control.Close()
		return nil, err
	}
	r := &relay{Conn: conn, control: control, ended: make(chan struct{})}
	go r.watch()
	return r, nil
}

// watch ends the relay with its control connection.
func (r *relay) watch() {
	_, _ = io.Copy(io.Discard, r.control)
	r.Conn.Close()
	close(r.ended)
}

// Close implements net.PacketConn.
func (r *relay) Close() error {
	r.closing.Do(func() {
		r.control.Close()
		<-r.ended
	})
	return nil
}

// maxRelayHeader is the longest header of a relayed packet: a name of 255 bytes.
const maxRelayHeader = 3 + 1 + 1 + 255 + 2

// maxDatagram is the most that UDP carries.
const maxDatagram = 64 << 10

var datagrams = sync.Pool{New: func() any { return new([maxDatagram]byte) }}

// ReadFrom implements net.PacketConn. What is not a whole packet of the proxy's is
// dropped, as what comes from a name.
func (r *relay) ReadFrom(p []byte) (int, net.Addr, error) {
	buf := datagrams.Get().(*[maxDatagram]byte)
	defer datagrams.Put(buf)
	for {
		n, err := r.Conn.Read(buf[:])
		if err != nil {
			return 0, nil, err
		}
		from, payload, ok := openRelayed(buf[:n])
		if ap, err := netip.ParseAddrPort(from); ok && err == nil {
			return copy(p, payload), net.UDPAddrFromAddrPort(ap), nil
		}
	}
}

// openRelayed takes a relayed packet apart (RFC 1928, section 7). Fragments are refused,
// as they may be.
func openRelayed(b []byte) (from string, payload []byte, ok bool) {
	if len(b) < 4 || b[2] != 0 {
		return "", nil, false
	}
	r := bytes.NewReader(b[3:])
	from, err := readAddr(r)
	return from, b[len(b)-r.Len():], err == nil
}

// WriteTo implements net.PacketConn.
func (r *relay) WriteTo(p []byte, to net.Addr) (int, error) { return r.send(p, to.String()) }

func (r *relay) send(p []byte, to string) (int, error) {
	b, err := appendAddr(make([]byte, 3, maxRelayHeader+len(p)), to)
	if err != nil {
		return 0, err
	}
	if _, err := r.Conn.Write(append(b, p...)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// dialUDP is a relay to one host.
func (x *proxy) dialUDP(ctx context.Context, p *Policy, addr string) (net.Conn, error) {
	r, err := x.associate(ctx, p)
	if err != nil {
		return nil, err
	}
	return &relayed{relay: r, to: addr}, nil
}

// relayed is a relay as a connection to one host. It drops packets of other hosts. Of a
// host that is a name it cannot know the address, and takes that of the first to answer.
type relayed struct {
	*relay
	to string

	mu   sync.Mutex
	from string // "": not known yet
}

var errTooLong = errors.New("netpolicy: datagram too long")

// Read implements net.Conn.
func (c *relayed) Read(p []byte) (int, error) {
	for {
		n, from, err := c.ReadFrom(p)
		if err != nil || c.expected(from.String()) {
			return n, err
		}
	}
}

func (c *relayed) expected(from string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.from == "" {
		c.from = c.to
		if _, err := netip.ParseAddrPort(c.to); err != nil {
			c.from = from
		}
	}
	return c.from == from
}

// Write implements net.Conn.
func (c *relayed) Write(p []byte) (int, error) {
	if len(p)+maxRelayHeader > maxDatagram {
		return 0, errTooLong
	}
	return c.send(p, c.to)
}
