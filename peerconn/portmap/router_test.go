package portmap

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/peerconn/peertest"
)

// elsewhere is a network namespace, that of a process.
type elsewhere string

func newElsewhere(t *testing.T) elsewhere {
	t.Helper()
	cmd := exec.Command("unshare", "-n", "cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); _ = cmd.Wait() })
	fmt.Fprintln(in) // comes back when the namespace is there
	if _, err := io.ReadFull(out, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return elsewhere(strconv.Itoa(cmd.Process.Pid))
}

func (e elsewhere) command(args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"-t", string(e), "-n"}, args...)...)
}

func (e elsewhere) run(t *testing.T, line string) {
	t.Helper()
	if out, err := e.command(strings.Fields(line)...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
}

// reaches reports whether a connection to addr succeeds from there.
func (e elsewhere) reaches(host string, port uint16) bool {
	return e.command("timeout", "10", "bash", "-c", fmt.Sprintf("</dev/tcp/%s/%d", host, port)).Run() == nil
}

// rules are the chains that miniupnpd fills.
const rules = `table inet filter {
	chain miniupnpd {}
	chain prerouting_miniupnpd {}
	chain postrouting_miniupnpd {}
	chain forward { type filter hook forward priority 0; jump miniupnpd; }
	chain prerouting { type nat hook prerouting priority -100; jump prerouting_miniupnpd; }
	chain postrouting { type nat hook postrouting priority 100; jump postrouting_miniupnpd; }
}`

// startRouter runs miniupnpd between this namespace, where it is the default gateway, and
// the stranger that is returned, to whom it is 8.8.4.1. It forwards none but high ports. It is
// ready when it has said so.
func startRouter(t *testing.T, enabled, ready string) (stranger elsewhere) {
	t.Helper()
	router, stranger := newElsewhere(t), newElsewhere(t)
	peertest.IP(t, "link set lo up")
	peertest.IP(t, "link add inside type veth peer name lan netns "+string(router))
	peertest.IP(t, "addr add 10.3.0.2/24 dev inside")
	peertest.IP(t, "link set inside up")
	router.run(t, "ip addr add 10.3.0.1/24 dev lan")
	router.run(t, "ip link set lan up")
	router.run(t, "ip link add wan type veth peer name outside netns "+string(stranger))
	router.run(t, "ip addr add 8.8.4.1/24 dev wan")
	router.run(t, "ip link set wan up")
	stranger.run(t, "ip addr add 8.8.4.2/24 dev outside")
	stranger.run(t, "ip link set outside up")
	peertest.IP(t, "route add default via 10.3.0.1")
	router.run(t, "sysctl -qw net.ipv4.ip_forward=1")
	nft := router.command("nft", "-f", "-")
	nft.Stdin = strings.NewReader(rules)
	if out, err := nft.CombinedOutput(); err != nil {
		t.Fatalf("nft: %v\n%s", err, out)
	}
	conf := filepath.Join(t.TempDir(), "conf")
	if err := os.WriteFile(conf, []byte(`ext_ifname=wan
listening_ip=lan
`+enabled+`
uuid=6f9a4e5c-2a8f-4c58-9f0e-0b3d2f1c7a11
allow 40000-65535 10.3.0.0/24 1024-65535
deny 0-65535 0.0.0.0/0 0-65535
`), 0o600); err != nil {
		t.Fatal(err)
	}
	daemon := router.command("miniupnpd", "-d", "-f", conf, "-P", conf+".pid")
	log, err := daemon.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = daemon.Process.Kill()
		_ = daemon.Wait()
	})
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		t.Log(lines.Text())
		if strings.Contains(lines.Text(), ready) {
			go io.Copy(io.Discard, log)
			return stranger
		}
	}
	t.Fatal("no gateway")
	return ""
}

// testRouter asks a gateway for port, as protocol. A stranger reaches us by the port that
// it forwards, until we close.
func testRouter(t *testing.T, enabled, ready, protocol string, port uint16) {
	for _, program := range []string{"miniupnpd", "nft", "nsenter", "bash"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(program, " is not installed")
		}
	}
	if !peertest.InNamespace(t) {
		return
	}
	stranger := startRouter(t, enabled, ready)
	l, err := net.Listen("tcp", netip.AddrPortFrom(netip.MustParseAddr("10.3.0.2"), port).String())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	m := Keep(Config{Port: port, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	defer m.Close()
	for m.Port() == 0 { // a search is a datagram, which may be lost
		m.Moved()
		time.Sleep(50 * time.Millisecond)
	}
	external := m.Port()
	if external < 40000 {
		t.Errorf("mapped to %d", external)
	}
	if !stranger.reaches("8.8.4.1", external) {
		t.Error("nobody gets through")
	}
	m.Close()
	if by := m.protocols[0].String(); by != protocol {
		t.Errorf("mapped by %s", by)
	}
	if stranger.reaches("8.8.4.1", external) {
		t.Error("still forwarded after the end")
	}
}

// A port that the gateway forwards to nobody is asked for first.
func TestRouterUPnP(t *testing.T) {
	testRouter(t, "enable_upnp=yes\nenable_natpmp=no", "HTTP listening", "UPnP", 6881)
}

func TestRouterOfBoth(t *testing.T) {
	testRouter(t, "enable_upnp=yes\nenable_natpmp=yes", "NAT-PMP/PCP traffic", "NAT-PMP", 45000)
}
