package netpolicy_test

import (
	"context"
	"errors"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/peerconn/netpolicy"
	"github.com/qqbtfs/qqbtfs/peerconn/peertest"
)

// wire makes an interface whose packets go nowhere, with a default route.
func wire(t *testing.T, name, addr, gateway, metric string) {
	t.Helper()
	peertest.IP(t, "link add "+name+" type veth peer name "+name+"far")
	for _, end := range []string{name, name + "far"} {
		if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+end+"/disable_ipv6", []byte("1"), 0); err != nil {
			t.Log(err) // it would be counted
		}
		peertest.IP(t, "link set "+end+" up")
	}
	peertest.IP(t, "addr add "+addr+"/24 dev "+name)
	peertest.IP(t, "neigh add "+gateway+" lladdr 02:00:00:00:00:01 dev "+name+" nud permanent")
	peertest.IP(t, "route add default via "+gateway+" dev "+name+" metric "+metric)
}

// sent is how many packets left by an interface.
func sent(t *testing.T, name string) int {
	t.Helper()
	b, err := os.ReadFile("/proc/thread-self/net/dev")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); f[0] == name+":" {
			n, err := strconv.Atoi(f[10])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	return 0
}

const far = "203.0.113.7:9"

// knock sends over TCP and UDP to an address that does not answer, and looks a name up.
func knock(t *testing.T, p *netpolicy.Policy) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	conn, err := p.DialContext(ctx, "tcp", far)
	if err == nil {
		conn.Close()
		t.Error("connected to nobody")
	}
	u, uerr := p.DialContext(t.Context(), "udp", far)
	if uerr == nil {
		_, uerr = u.Write([]byte("x"))
		u.Close()
	}
	pc, perr := p.ListenPacket(t.Context(), "udp4", ":0")
	if perr == nil {
		to, _ := net.ResolveUDPAddr("udp", far)
		_, perr = pc.WriteTo([]byte("x"), to)
		pc.Close()
	}
	if (uerr == nil) != (perr == nil) {
		t.Errorf("a connection's %v, a socket's %v", uerr, perr)
	}
	return uerr
}

// "every socket leaves by that address or interface only, and if it is gone nothing
// leaves another way"
func TestBind(t *testing.T) {
	if !peertest.InNamespace(t) {
		return
	}
	peertest.IP(t, "link set lo up")
	wire(t, "best", "10.1.0.1", "10.1.0.2", "1")
	for _, bind := range []string{"tunnel", "10.2.0.1"} {
		wire(t, "tunnel", "10.2.0.1", "10.2.0.2", "9")
		p := policy(t, netpolicy.Config{Bind: bind})
		best, tunnel := sent(t, "best"), sent(t, "tunnel")
		if err := knock(t, p); err != nil {
			t.Errorf("bound to %s: %v", bind, err)
		}
		if sent(t, "best") != best || sent(t, "tunnel") < tunnel+3 {
			t.Errorf("bound to %s: %d packets by another way, %d by that one", bind, sent(t, "best")-best, sent(t, "tunnel")-tunnel)
		}
		l, err := p.Listen(t.Context(), "tcp", ":0")
		if err != nil {
			t.Fatal(err)
		}
		checkUnreachable(t, l, "10.1.0.1")
		l.Close()

		// A connection of before, and the route of others. Down, it still has its address.
		open, err := p.DialContext(t.Context(), "udp", far)
		if err != nil {
			t.Fatal(err)
		}
		best = sent(t, "best")
		peertest.IP(t, "link set tunnel down")
		_, _ = open.Write([]byte("x"))
		if err := knock(t, p); err == nil {
			t.Errorf("sent with %s down", bind)
		}
		peertest.IP(t, "link del tunnel")
		_, _ = open.Write([]byte("x"))
		open.Close()
		if err := knock(t, p); !errors.Is(err, netpolicy.ErrGone) {
			t.Errorf("without %s: %v", bind, err)
		}
		if n := sent(t, "best") - best; n != 0 {
			t.Errorf("%d packets left by another way without %s", n, bind)
		}
	}
	best := sent(t, "best") // the control: that is where packets go else
	if err := knock(t, nil); err != nil || sent(t, "best") < best+3 {
		t.Errorf("unbound: %v, %d packets", err, sent(t, "best")-best)
	}
}

// checkUnreachable connects to another address of this machine, which l is not at.
func checkUnreachable(t *testing.T, l net.Listener, host string) {
	t.Helper()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	if conn, err := net.DialTimeout("tcp", net.JoinHostPort(host, port), 50*time.Millisecond); err == nil {
		conn.Close()
		t.Errorf("%v is reached at %s", l.Addr(), host)
	}
}

func TestBindLoopback(t *testing.T) {
	target := echo(t)
	for _, bind := range []string{"127.0.0.1", "127.8.7.6", "lo"} {
		p := policy(t, netpolicy.Config{Bind: bind})
		for _, network := range []string{"tcp", "udp"} {
			conn, err := p.DialContext(t.Context(), network, target)
			if err != nil {
				t.Fatal(err)
			}
			say(t, conn)
			if host, _, _ := net.SplitHostPort(conn.LocalAddr().String()); bind != "lo" && host != bind {
				t.Errorf("bound to %s, came from %s", bind, host)
			}
			conn.Close()
		}
		l, err := p.Listen(t.Context(), "tcp", ":0")
		if err != nil {
			t.Fatal(err)
		}
		if host, _, _ := net.SplitHostPort(l.Addr().String()); bind != "lo" && host != bind {
			t.Errorf("bound to %s, listens at %s", bind, host)
		}
		l.Close()
	}
	p := policy(t, netpolicy.Config{Bind: "127.0.0.1"})
	if conn, err := p.DialContext(t.Context(), "tcp", "[::1]:9"); err == nil {
		conn.Close()
		t.Error("left by another family")
	}
	if l, err := p.Listen(t.Context(), "tcp", "127.0.0.2:0"); err == nil {
		l.Close()
		t.Error("listens at another address")
	}
	for _, bind := range []string{"no-such-interface", "192.0.2.1", "::2"} {
		if _, err := netpolicy.New(netpolicy.Config{Bind: bind}); !errors.Is(err, netpolicy.ErrGone) {
			t.Errorf("bind to %s: %v", bind, err)
		}
	}
}
