// Package natpmp has the gateway of the local network forward a port to us, by NAT-PMP
// (RFC 6886).
//
// A Mapping is kept by a goroutine that asks for it, renews it at half of its time, and
// takes it back at the end. A gateway that does not answer is asked again now and then.
package natpmp

import (
	"bufio"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/qqbtfs/qqbtfs/peerconn/netpolicy"
)

const (
	serverPort = 5351
	opMapTCP   = 2
	isAnswer   = 128

	firstWait = 250 * time.Millisecond // RFC 6886, 3.1: doubled after each try
	tries     = 5
	retry     = 10 * time.Minute // after a gateway has not answered
	releasing = time.Second      // bounds the taking back
)

// Config says what to map.
type Config struct {
	// Port is the TCP port that we listen on.
	Port uint16
	// Gateway is where to ask. Zero means the gateway of the default route.
	Gateway netip.AddrPort
	// Lifetime is asked for; zero means 2 h (RFC 6886, 3.3).
	Lifetime time.Duration
	// Changed, if not nil, is called when the gateway's port is another one than before;
	// at first that is Port. It must not call Close.
	Changed func()
	// Policy is by which way to ask. nil: any.
	Policy *netpolicy.Policy
	// Logger is told of mappings and failures. nil: none.
	Logger *slog.Logger
}

// A Mapping is a port of the gateway's that leads to us. nil is none.
type Mapping struct {
	cfg      Config
	external atomic.Uint32
	moved    chan struct{} // has a token when the network has changed
	stop     context.CancelFunc
	done     chan struct{}
}

// Keep begins to map.
func Keep(cfg Config) *Mapping {
	cfg.Lifetime = cmp.Or(cfg.Lifetime, 2*time.Hour)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	ctx, stop := context.WithCancel(context.Background())
	m := &Mapping{cfg: cfg, moved: make(chan struct{}, 1), stop: stop, done: make(chan struct{})}
	go m.run(ctx)
	return m
}

// Port is the port at the gateway; zero: none (yet).
func (m *Mapping) Port() uint16 {
	if m == nil {
		return 0
	}
	return uint16(m.external.Load())
}

// Moved says that another gateway may be there now: it is asked at once.
func (m *Mapping) Moved() {
	if m == nil {
		return
	}
	select {
	case m.moved <- struct{}{}:
	default:
	}
}

// Close takes the mapping back and returns when that is done, or has failed.
func (m *Mapping) Close() {
	if m == nil {
		return
	}
	m.stop()
	<-m.done
}

func (m *Mapping) run(ctx context.Context) {
	defer close(m.done)
	for told := m.cfg.Port; ; {
		port, life, err := m.ask(ctx, cmp.Or(m.Port(), m.cfg.Port), m.cfg.Lifetime)
		wait := retry
		switch {
		case ctx.Err() != nil:
		case err != nil:
			m.cfg.Logger.Warn("the gateway forwards no port", "err", err)
			m.external.Store(0)
		default:
			if old := m.external.Swap(uint32(port)); old != uint32(port) {
				m.cfg.Logger.Info("the gateway forwards a port", "port", port, "to", m.cfg.Port)
			}
			wait = life / 2
		}
		if now := cmp.Or(m.Port(), m.cfg.Port); now != told && ctx.Err() == nil {
			if told = now; m.cfg.Changed != nil {
				m.cfg.Changed()
			}
		}
		select {
		case <-ctx.Done():
			m.release()
			return
		case <-m.moved:
		case <-time.After(wait):
		}
	}
}

// release takes the mapping back: a lifetime of zero (RFC 6886, 3.4).
func (m *Mapping) release() {
	if m.Port() == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), releasing)
	defer cancel()
	if _, _, err := m.ask(ctx, 0, 0); err != nil {
		m.cfg.Logger.Warn("the forwarded port could not be taken back", "err", err)
	}
	m.external.Store(0)
}

// ask requests a mapping, with a wish for the external port.
func (m *Mapping) ask(ctx context.Context, wish uint16, life time.Duration) (uint16, time.Duration, error) {
	gateway := m.cfg.Gateway
	if !gateway.IsValid() {
		a, err := defaultGateway()
		if err != nil {
			return 0, 0, err
		}
		gateway = netip.AddrPortFrom(a, serverPort)
	}
	conn, err := m.cfg.Policy.DialContext(ctx, "udp", gateway.String())
	if err != nil {
		return 0, 0, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	b := binary.BigEndian.AppendUint16([]byte{0, opMapTCP, 0, 0}, m.cfg.Port)
	b = binary.BigEndian.AppendUint16(b, wish)
	b = binary.BigEndian.AppendUint32(b, uint32(life/time.Second))
	for n := range tries {
		if _, err := conn.Write(b); err != nil {
			return 0, 0, err
		}
		port, granted, err := m.await(conn, firstWait<<n)
		if timeout := net.Error(nil); !errors.As(err, &timeout) || !timeout.Timeout() {
			return port, granted, err
		}
	}
	return 0, 0, fmt.Errorf("%v does not answer NAT-PMP", gateway)
}

// await reads until an answer to our request comes.
func (m *Mapping) await(conn net.Conn, wait time.Duration) (uint16, time.Duration, error) {
	if err := conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return 0, 0, err
	}
	for buf := make([]byte, 64); ; {
		n, err := conn.Read(buf)
		if err != nil {
			return 0, 0, err
		}
		port, granted, ok, err := parseAnswer(buf[:n], m.cfg.Port)
		if ok {
			return port, granted, err
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

// defaultGateway is that of the kernel's default route.
func defaultGateway() (netip.Addr, error) {
	f, err := os.Open("/proc/net/route")
	if err != nil {
		return netip.Addr{}, err
	}
	defer f.Close()
	return parseRoutes(f)
}

// parseRoutes finds the default gateway in the form of /proc/net/route.
func parseRoutes(r io.Reader) (netip.Addr, error) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 8 || f[1] != "00000000" || f[7] != "00000000" || f[2] == "00000000" {
			continue
		}
		if b, err := hex.DecodeString(f[2]); err == nil && len(b) == 4 {
			return netip.AddrFrom4([4]byte{b[3], b[2], b[1], b[0]}), nil // in the order of the machine
		}
	}
	return netip.Addr{}, errors.New("there is no default route")
}
