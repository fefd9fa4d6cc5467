package portmap

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/peerconn/peertest"
)

// ask is what a gateway is asked.
type ask struct {
	port, wish uint16
	life       uint32
}

// gateway answers requests with another port, after it has let one go unanswered.
func gateway(t *testing.T, addr string, code uint16) (netip.AddrPort, <-chan ask) {
	t.Helper()
	conn, err := net.ListenPacket("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	asks, done := make(chan ask, 16), make(chan struct{})
	go func() {
		defer close(done)
		for b, first := make([]byte, 64), true; ; first = false {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			if first || n != 12 {
				continue
			}
			q := ask{binary.BigEndian.Uint16(b[4:]), binary.BigEndian.Uint16(b[6:]), binary.BigEndian.Uint32(b[8:])}
			out := binary.BigEndian.AppendUint16([]byte{0, 128 + b[1]}, code)
			out = binary.BigEndian.AppendUint32(out, 1)
			out = binary.BigEndian.AppendUint16(out, q.port)
			out = binary.BigEndian.AppendUint16(out, 40000)
			out = binary.BigEndian.AppendUint32(out, q.life)
			_, _ = conn.WriteTo([]byte("noise"), from)
			_, _ = conn.WriteTo(out, from)
			asks <- q
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
	return conn.LocalAddr().(*net.UDPAddr).AddrPort(), asks
}

func TestMapping(t *testing.T) {
	peertest.NoLeaks(t)
	gw, asks := gateway(t, "127.0.0.1:0", 0)
	m := Keep(Config{Port: 6881, Gateway: gw, Lifetime: 2 * time.Second})
	if q := <-asks; q != (ask{6881, 6881, 2}) {
		t.Errorf("asked %+v", q)
	}
	if q := <-asks; q != (ask{6881, 40000, 2}) { // renewed at half of its time
		t.Errorf("asked %+v", q)
	}
	if m.Port() != 40000 {
		t.Errorf("mapped to %d", m.Port())
	}
	m.Close()
	if q := <-asks; q != (ask{6881, 0, 0}) {
		t.Errorf("at the end asked %+v", q)
	}
	if m.Port() != 0 {
		t.Error("mapped after the end")
	}
}

// Whoever tells others of the port has to hear that it is another one; and on another
// network another gateway is there.
func TestMoved(t *testing.T) {
	peertest.NoLeaks(t)
	gw, asks := gateway(t, "127.0.0.1:0", 0)
	changed := make(chan struct{}, 10)
	m := Keep(Config{Port: 6881, Gateway: gw, Changed: func() { changed <- struct{}{} }})
	defer m.Close()
	<-asks
	select {
	case <-changed:
	case <-time.After(10 * time.Second):
		t.Fatal("nobody is told of the port")
	}
	if m.Port() != 40000 {
		t.Errorf("told of port %d", m.Port())
	}
	m.Moved()
	select {
	case <-asks: // an hour early
	case <-time.After(10 * time.Second):
		t.Fatal("not asked again")
	}
	if len(changed) > 0 {
		t.Error("told of the same port again")
	}
}

func TestRefused(t *testing.T) {
	peertest.NoLeaks(t)
	gw, asks := gateway(t, "127.0.0.1:0", 2)
	m := Keep(Config{Port: 6881, Gateway: gw})
	<-asks
	m.Close()
	if m.Port() != 0 || len(asks) > 0 {
		t.Errorf("mapped to %d, %d more asked", m.Port(), len(asks))
	}
}

// The gateway of the default route, in a network of its own.
func TestDefaultRoute(t *testing.T) {
	if _, err := exec.LookPath("ip"); err != nil || !peertest.InNamespace(t) {
		return
	}
	if _, err := defaultGateway(nil); err == nil {
		t.Error("a gateway without a route")
	}
	peertest.IP(t, "link set lo up")
	peertest.IP(t, "link add inside type veth peer name outside")
	peertest.IP(t, "addr add 10.3.0.2/24 dev inside")
	peertest.IP(t, "link set inside up")
	peertest.IP(t, "link set outside up")
	peertest.IP(t, "route add default via 10.3.0.1 dev inside")
	if a, err := defaultGateway(nil); err != nil || a.String() != "10.3.0.1" {
		t.Fatalf("gateway %v, %v", a, err)
	}
	peertest.IP(t, "addr add 10.3.0.1/32 dev lo") // we are the gateway as well
	_, asks := gateway(t, "10.3.0.1:5351", 0)
	m := Keep(Config{Port: 7000})
	if q := <-asks; q != (ask{7000, 7000, 7200}) {
		t.Errorf("asked %+v", q)
	}
	m.Close()
}

// The gateway is that of the interface we are bound to, not that of the best route.
func TestRouteOfInterface(t *testing.T) {
	const routes = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n" +
		"eth1\t00000000\t0163A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n" +
		"eth0\t00000000\t01004D0A\t0003\t0\t0\t500\t00000000\t0\t0\t0\n"
	for name, want := range map[string]string{"eth0": "10.77.0.1", "eth1": "192.168.99.1"} {
		a, err := parseRoutes(strings.NewReader(routes), func(n string) bool { return n == name })
		if err != nil || a.String() != want {
			t.Errorf("%s: gateway %v, %v; want %s", name, a, err, want)
		}
	}
	if a, err := parseRoutes(strings.NewReader(routes), func(string) bool { return false }); err == nil {
		t.Errorf("gateway %v of no interface", a)
	}
}

func FuzzParseAnswer(f *testing.F) {
	f.Add([]byte{0, 130, 0, 0, 0, 0, 0, 1, 26, 225, 156, 64, 0, 0, 28, 32})
	f.Add([]byte{0, 130, 0, 2})
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, life, ok, err := parseAnswer(b, 6881); ok && err == nil && life < 2*time.Second {
			t.Errorf("renew every %v", life/2)
		}
	})
}

func FuzzParseRoutes(f *testing.F) {
	f.Add("Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\neth0\t00000000\t0100030A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n")
	f.Fuzz(func(t *testing.T, s string) {
		_, _ = parseRoutes(strings.NewReader(s), func(string) bool { return true })
	})
}
