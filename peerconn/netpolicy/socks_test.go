package netpolicy_test

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/peerconn/netpolicy"
	"github.com/qqbtfs/qqbtfs/peerconn/peertest"
)

// echo answers each connection and datagram with what it got, at the same port.
func echo(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u, err := net.ListenPacket("udp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(); u.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(c, c)
			c.Close()
		}
	}()
	go func() {
		for b := make([]byte, 2048); ; {
			n, from, err := u.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = u.WriteTo(b[:n], from)
		}
	}()
	return l.Addr().String()
}

func policy(t *testing.T, cfg netpolicy.Config) *netpolicy.Policy {
	t.Helper()
	p, err := netpolicy.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// say sends a word and expects it back.
func say(t *testing.T, conn net.Conn) {
	t.Helper()
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	n, err := io.ReadAtLeast(conn, b, 5)
	if err != nil || string(b[:n]) != "hello" {
		t.Errorf("the answer is %q, %v", b[:n], err)
	}
}

func TestProxy(t *testing.T) {
	peertest.NoLeaks(t)
	target := echo(t)
	_, port, _ := net.SplitHostPort(target)
	open := &peertest.Proxy{}
	peertest.StartProxy(t, open)
	closed := &peertest.Proxy{User: "me", Password: "secret"}
	peertest.StartProxy(t, closed)
	for name, test := range map[string]struct {
		url   string
		proxy *peertest.Proxy
	}{
		"open":   {"socks5://" + open.Addr(), open},
		"closed": {"socks5://me:secret@" + closed.Addr(), closed},
	} {
		t.Run(name, func(t *testing.T) {
			p := policy(t, netpolicy.Config{Proxy: test.url})
			// A name that nobody looked up but the proxy.
			addrs, err := p.LookupNetIP(t.Context(), "localhost")
			if err != nil || addrs[0].IsLoopback() {
				t.Fatalf("localhost is %v, %v", addrs, err)
			}
			for _, addr := range []string{target, "localhost:" + port, net.JoinHostPort(addrs[0].String(), port)} {
				for _, network := range []string{"tcp", "udp"} {
					conn, err := p.DialContext(t.Context(), network, addr)
					if err != nil {
						t.Fatal(err)
					}
					say(t, conn)
					conn.Close()
				}
			}
			if test.proxy.Conns() != 3 || test.proxy.Relays() != 3 {
				t.Errorf("%d connections and %d relays went by the proxy", test.proxy.Conns(), test.proxy.Relays())
			}
			if s := p.String(); strings.Contains(s, "secret") || !strings.Contains(s, test.proxy.Addr()) {
				t.Errorf("described as %q", s)
			}
		})
	}
}

func TestProxyRefuses(t *testing.T) {
	peertest.NoLeaks(t)
	target := echo(t)
	x := &peertest.Proxy{User: "me", Password: "secret", NoUDP: true}
	peertest.StartProxy(t, x)
	for _, test := range []struct{ user, network, addr, want string }{
		{"me:secret@", "udp", target, "command not supported"},
		{"me:wrong1@", "tcp", target, "refuses the user or password"},
		{"", "tcp", target, "log in"},
		{"me:secret@", "tcp", "127.0.0.1:1", "connection refused"},
	} {
		p := policy(t, netpolicy.Config{Proxy: "socks5://" + test.user + x.Addr()})
		conn, err := p.DialContext(t.Context(), test.network, test.addr)
		if err == nil {
			conn.Close()
		}
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%+v: %v", test, err)
		}
	}
	p := policy(t, netpolicy.Config{Proxy: "socks5://127.0.0.1:1"})
	if conn, err := p.DialContext(t.Context(), "tcp", target); err == nil {
		conn.Close()
		t.Error("connected past a proxy that is not there")
	}
}

func TestBadProxy(t *testing.T) {
	for _, s := range []string{"http://host:1", "socks5://", "socks5://u:secret@:1", "socks5://h:1/path", "socks5://h:secret", ":secret", "socks5://:secret@h:1"} {
		if _, err := netpolicy.New(netpolicy.Config{Proxy: s}); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", s, err)
		}
	}
}

// A socket of the proxy's is for those who talk to many.
func TestRelay(t *testing.T) {
	peertest.NoLeaks(t)
	a, b := echo(t), echo(t)
	x := &peertest.Proxy{}
	peertest.StartProxy(t, x)
	p := policy(t, netpolicy.Config{Proxy: "socks5://" + x.Addr()})
	pc, err := p.ListenPacket(t.Context(), "udp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	buf := make([]byte, 100)
	for _, to := range []string{a, b} {
		ua, _ := net.ResolveUDPAddr("udp", to)
		if _, err := pc.WriteTo([]byte(to), ua); err != nil {
			t.Fatal(err)
		}
		n, from, err := pc.ReadFrom(buf)
		if err != nil || from.String() != to || string(buf[:n]) != to {
			t.Errorf("%q from %v, %v; want it from %s", buf[:n], from, err, to)
		}
	}
}

// The socket of a proxy that is away works once that is there, and again after it was
// restarted: "A UDP association terminates when the TCP connection that the UDP ASSOCIATE
// request arrived on terminates" (RFC 1928, section 6). Reads wait all the time.
func TestProxyComesAndGoes(t *testing.T) {
	peertest.NoLeaks(t)
	to, _ := net.ResolveUDPAddr("udp", echo(t))
	x := &peertest.Proxy{}
	peertest.StartProxy(t, x)
	x.Close()
	pc, err := policy(t, netpolicy.Config{Proxy: "socks5://" + x.Addr()}).ListenPacket(t.Context(), "udp", ":0")
	if err != nil {
		t.Fatal("no socket while the proxy is away: ", err)
	}
	defer pc.Close()
	if _, err := pc.WriteTo([]byte("hello"), to); err == nil {
		t.Error("sent past a proxy that is not there")
	}
	answers, failed := make(chan string, 1000), make(chan error)
	read := func() {
		for b := make([]byte, 100); ; {
			n, _, err := pc.ReadFrom(b)
			if err != nil {
				failed <- err
				return
			}
			answers <- string(b[:n])
		}
	}
	go read()
	for _, word := range []string{"first", "again"} {
		x.Restart(t)
		await(t, pc, to, word, answers)
		x.Close()
	}
	if x.Relays() != 2 {
		t.Errorf("%d relays of a proxy that ran twice", x.Relays())
	}
	_ = pc.SetReadDeadline(time.Unix(1, 0))
	if err := <-failed; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after the deadline: %v", err)
	}
	_ = pc.SetReadDeadline(time.Time{})
	go read()
	pc.Close()
	if err := <-failed; !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// await sends a word until it comes back.
func await(t *testing.T, pc net.PacketConn, to net.Addr, word string, answers <-chan string) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(time.Minute); ; {
		select {
		case got := <-answers:
			if got == word {
				return
			}
		case <-tick.C:
			_, _ = pc.WriteTo([]byte(word), to)
		case <-end:
			t.Fatalf("%q does not come back by the proxy", word)
		}
	}
}

func FuzzProxyAnswer(f *testing.F) {
	f.Add([]byte{5, 0, 5, 0, 0, 1, 127, 0, 0, 1, 0, 80})
	f.Add([]byte{5, 2, 1, 0, 5, 0, 0, 3, 1, 'h', 0, 80})
	f.Add([]byte{5, 0, 5, 9, 0, 4})
	f.Fuzz(func(t *testing.T, b []byte) { netpolicy.Negotiate(b) })
}
