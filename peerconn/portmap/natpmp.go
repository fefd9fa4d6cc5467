package portmap

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/qqbtfs/qqbtfs/peerconn/netpolicy"
)

const (
	serverPort = 5351
	opMapTCP   = 2
	isAnswer   = 128

	firstWait = 250 * time.Millisecond // RFC 6886, 3.1: doubled after each try
	tries     = 5
)

// natpmp asks the gateway of the default route by the interface that the policy keeps to
// (RFC 6886).
type natpmp struct {
	gateway netip.AddrPort // zero: that one
	policy  *netpolicy.Policy
}

func (n *natpmp) String() string { return "NAT-PMP" }

// release asks for a lifetime of zero (RFC 6886, 3.4).
func (n *natpmp) release(ctx context.Context, port, _ uint16) error {
	_, _, err := n.ask(ctx, port, 0, 0)
	return err
}

func (n *natpmp) ask(ctx context.Context, port, wish uint16, life time.Duration) (uint16, time.Duration, error) {
	gateway := n.gateway
	if !gateway.IsValid() {
		a, err := defaultGateway(n.policy)
		if err != nil {
			return 0, 0, err
		}
		gateway = netip.AddrPortFrom(a, serverPort)
	}
	conn, err := n.policy.DialContext(ctx, "udp", gateway.String())
	if err != nil {
		return 0, 0, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	b := binary.BigEndian.AppendUint16([]byte{0, opMapTCP, 0, 0}, port)
	b = binary.BigEndian.AppendUint16(b, wish)
	b = binary.BigEndian.AppendUint32(b, uint32(life/time.Second))
	for try := range tries {
		if _, err := conn.Write(b); err != nil {
			return 0, 0, err
		}
		external, granted, err := await(conn, port, firstWait<<try)
		if timeout := net.Error(nil); !errors.As(err, &timeout) || !timeout.Timeout() {
			return external, granted, err
		}
	}
	return 0, 0, fmt.Errorf("%v does not answer", gateway)
}

// await reads until an answer to a request for port comes.
func await(conn net.Conn, port uint16, wait time.Duration) (uint16, time.Duration, error) {
	if err := conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return 0, 0, err
	}
	for buf := make([]byte, 64); ; {
		n, err := conn.Read(buf)
		if err != nil {
			return 0, 0, err
		}
		external, granted, ok, err := parseAnswer(buf[:n], port)
		if ok {
			return external, granted, err
		}
	}
}

// parseAnswer reads an answer (RFC 6886, 3.3); ok: it is one to a request for port.
func parseAnswer(b []byte, port uint16) (external uint16, life time.Duration, ok bool, err error) {
	if len(b) < 4 || b[0] != 0 || b[1] != isAnswer+opMapTCP {
		return 0, 0, false, nil
	}
	if code := binary.BigEndian.Uint16(b[2:]); code != 0 {
		return 0, 0, true, fmt.Errorf("the gateway refuses: code %d", code)
	}
	if len(b) < 16 || binary.BigEndian.Uint16(b[8:]) != port {
		return 0, 0, false, nil
	}
	life = time.Duration(binary.BigEndian.Uint32(b[12:])) * time.Second
	return binary.BigEndian.Uint16(b[10:]), max(life, 2*time.Second), true, nil
}

// defaultGateway is that of the kernel's first default route by an interface of policy's.
func defaultGateway(policy *netpolicy.Policy) (netip.Addr, error) {
	f, err := os.Open("/proc/net/route")
	if err != nil {
		return netip.Addr{}, err
	}
	defer f.Close()
	return parseRoutes(f, func(name string) bool {
		i, err := net.InterfaceByName(name)
		return err == nil && policy.Uses(*i)
	})
}

// parseRoutes finds the first default gateway by an interface that is used, in the form of
// /proc/net/route; the kernel lists the best route first.
func parseRoutes(r io.Reader, used func(name string) bool) (netip.Addr, error) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 8 || f[1] != "00000000" || f[7] != "00000000" || f[2] == "00000000" || !used(f[0]) {
			continue
		}
		if b, err := hex.DecodeString(f[2]); err == nil && len(b) == 4 {
			return netip.AddrFrom4([4]byte{b[3], b[2], b[1], b[0]}), nil // in the order of the machine
		}
	}
	return netip.Addr{}, errors.New("there is no default route")
}
