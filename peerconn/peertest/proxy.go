package peertest

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
)

// A Proxy is a SOCKS5 server (RFC 1928, 1929) on loopback.
type Proxy struct {
	User, Password string // empty: nobody has to log in
	NoUDP          bool   // refuse UDP ASSOCIATE

	l      net.Listener
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	conns  atomic.Int64
	relays atomic.Int64
}

// StartProxy runs p until the end of the test.
func StartProxy(t testing.TB, p *Proxy) {
	t.Helper()
	p.start(t, "127.0.0.1:0")
	t.Cleanup(p.Close)
}

// Restart runs p at its address again after Close.
func (p *Proxy) Restart(t testing.TB) {
	t.Helper()
	p.start(t, p.Addr())
}

func (p *Proxy) start(t testing.TB, addr string) {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	p.l = l
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.wg.Go(p.accept)
}

// Addr is where it listens.
func (p *Proxy) Addr() string { return p.l.Addr().String() }

// Conns is how many connections it has made.
func (p *Proxy) Conns() int { return int(p.conns.Load()) }

// Relays is how many UDP relays it has opened.
func (p *Proxy) Relays() int { return int(p.relays.Load()) }

// Close ends it with all its connections.
func (p *Proxy) Close() {
	p.cancel()
	p.l.Close()
	p.wg.Wait()
}

func (p *Proxy) accept() {
	for {
		conn, err := p.l.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() {
			defer conn.Close()
			defer context.AfterFunc(p.ctx, func() { conn.Close() })()
			_ = p.serve(conn)
		})
	}
}

func (p *Proxy) serve(conn net.Conn) error {
	if err := p.login(conn); err != nil {
		return err
	}
	var head [3]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return err
	}
	addr, err := readSocksAddr(conn)
	switch {
	case err != nil:
		return err
	case head[1] == 1:
		return p.connect(conn, addr)
	case head[1] == 3 && !p.NoUDP:
		return p.associate(conn)
	}
	_, err = conn.Write([]byte{5, 7, 0, 1, 0, 0, 0, 0, 0, 0})
	return err
}

func (p *Proxy) login(conn net.Conn) error {
	var head [2]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return err
	}
	if _, err := io.ReadFull(conn, make([]byte, head[1])); err != nil {
		return err
	}
	if p.User == "" {
		_, err := conn.Write([]byte{5, 0})
		return err
	}
	if _, err := conn.Write([]byte{5, 2}); err != nil {
		return err
	}
	want := string(append([]byte{1, byte(len(p.User))}, p.User...)) + string(rune(len(p.Password))) + p.Password
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil {
		return err
	}
	if string(got) != want {
		conn.Write([]byte{1, 1})
		return errors.New("peertest: wrong password")
	}
	_, err := conn.Write([]byte{1, 0})
	return err
}

func (p *Proxy) connect(conn net.Conn, addr string) error {
	var d net.Dialer
	out, err := d.DialContext(p.ctx, "tcp", addr)
	if err != nil {
		conn.Write([]byte{5, 5, 0, 1, 0, 0, 0, 0, 0, 0})
		return err
	}
	defer out.Close()
	p.conns.Add(1)
	if _, err := conn.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0}); err != nil {
		return err
	}
	var wg sync.WaitGroup
	wg.Go(func() { pipe(out, conn) })
	pipe(conn, out)
	wg.Wait()
	return nil
}

// pipe copies until the end and passes that on.
func pipe(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	_ = to.(*net.TCPConn).CloseWrite()
	_ = from.(*net.TCPConn).CloseRead()
}

// associate relays packets of the client, and the answers.
func (p *Proxy) associate(conn net.Conn) error {
	inside, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer inside.Close()
	outside, err := net.ListenPacket("udp", ":0")
	if err != nil {
		return err
	}
	defer outside.Close()
	p.relays.Add(1)
	port := inside.LocalAddr().(*net.UDPAddr).Port
	b := binary.BigEndian.AppendUint16([]byte{5, 0, 0, 1, 0, 0, 0, 0}, uint16(port))
	if _, err := conn.Write(b); err != nil {
		return err
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	client := make(chan net.Addr, 1)
	wg.Go(func() { relayOut(inside, outside, client) })
	wg.Go(func() { relayIn(inside, outside, client) })
	_, err = io.Copy(io.Discard, conn)
	inside.Close()
	outside.Close()
	return err
}

func relayOut(inside, outside net.PacketConn, client chan net.Addr) {
	defer close(client)
	for buf := make([]byte, 64<<10); ; {
		n, from, err := inside.ReadFrom(buf)
		if err != nil {
			return
		}
		select {
		case client <- from:
		default:
		}
		r := &sliceReader{buf[3:n]}
		addr, err := readSocksAddr(r)
		if err != nil {
			continue
		}
		if to, err := net.ResolveUDPAddr("udp", addr); err == nil {
			_, _ = outside.WriteTo(r.b, to)
		}
	}
}

func relayIn(inside, outside net.PacketConn, client chan net.Addr) {
	to, ok := <-client
	for buf := make([]byte, 64<<10); ok; {
		n, from, err := outside.ReadFrom(buf)
		if err != nil {
			return
		}
		ap := from.(*net.UDPAddr).AddrPort()
		b := append([]byte{0, 0, 0, 1}, ap.Addr().Unmap().AsSlice()...)
		if len(b) > 8 {
			b[3] = 4
		}
		b = append(binary.BigEndian.AppendUint16(b, ap.Port()), buf[:n]...)
		_, _ = inside.WriteTo(b, to)
	}
}

type sliceReader struct{ b []byte }

func (r *sliceReader) Read(p []byte) (int, error) {
	if len(r.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.b)
	r.b = r.b[n:]
	return n, nil
}

// readSocksAddr reads an address type, an address and a port.
func readSocksAddr(r io.Reader) (string, error) {
	var b [2]byte
	if _, err := io.ReadFull(r, b[:1]); err != nil {
		return "", err
	}
	n := map[byte]int{1: 4, 4: 16}[b[0]]
	if b[0] == 3 {
		if _, err := io.ReadFull(r, b[1:]); err != nil {
			return "", err
		}
		n = int(b[1])
	}
	host := make([]byte, n+2)
	if _, err := io.ReadFull(r, host); err != nil {
		return "", err
	}
	port := strconv.Itoa(int(binary.BigEndian.Uint16(host[n:])))
	if b[0] == 3 {
		return net.JoinHostPort(string(host[:n]), port), nil
	}
	a, ok := netip.AddrFromSlice(host[:n])
	if !ok {
		return "", errors.New("peertest: no address")
	}
	return net.JoinHostPort(a.String(), port), nil
}
