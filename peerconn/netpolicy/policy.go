// Package netpolicy decides by which way the sockets of this program leave the machine.
//
// Whoever opens a socket to the outside does it through a Policy: peers, trackers, web
// servers, discovery. A Policy can bind all of them to an address or an interface, and
// can lead all of them through a SOCKS5 proxy. It has no other way to fall back to: when
// the address, the interface or the proxy is gone, connecting fails, and so does sending
// on sockets that are open.
//
// It does not decide whom to talk to, and what is not open does not concern it: with a
// proxy its user should not listen, see Proxied.
package netpolicy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"
)

// Config is what a Policy is made of. The zero value restricts nothing.
type Config struct {
	// Bind is an address of this machine or the name of an interface. Empty: any.
	Bind string
	// Proxy is a SOCKS5 proxy, as socks5://[USER:PASSWORD@]HOST:PORT. Empty: none.
	Proxy string
	// Logger gets what becomes of the proxy; nil: none.
	Logger *slog.Logger
}

// A Policy opens sockets. It may be used from any goroutine. nil is the Policy that
// restricts nothing.
type Policy struct {
	bind  *binding // nil: none
	proxy *proxy   // nil: none
	log   *slog.Logger
}

// ErrGone means that the address or interface to bind to is not there (any more).
var ErrGone = errors.New("is not there")

// dialTimeout bounds the making of one connection when the context does not.
const dialTimeout = 30 * time.Second

// New checks the configuration. An address or interface that does not exist is an
// error here, which wraps ErrGone; later on it may come and go. Errors begin with "bind: "
// or "proxy: ". Whether the proxy is there does not matter.
func New(cfg Config) (*Policy, error) {
	p := &Policy{log: cfg.Logger}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if cfg.Bind != "" {
		if p.bind, err = newBinding(cfg.Bind); err != nil {
			return nil, fmt.Errorf("bind: %w", err)
		}
	}
	if cfg.Proxy != "" {
		if p.proxy, err = newProxy(cfg.Proxy); err != nil {
			return nil, fmt.Errorf("proxy: %w", err)
		}
	}
	return p, nil
}

// Proxied reports whether there is a proxy. Listening, multicast and port forwarding
// would show this machine's own address and should be off then, unless asked for.
func (p *Policy) Proxied() bool { return p != nil && p.proxy != nil }

// Bound reports whether sockets are bound to an address or interface.
func (p *Policy) Bound() bool { return p != nil && p.bind != nil }

// Uses reports whether sockets may leave by an interface, for multicast, which goes to
// each of them.
func (p *Policy) Uses(i net.Interface) bool {
	if !p.Bound() {
		return true
	}
	device, err := p.bind.device()
	return err == nil && (device == "" || device == i.Name)
}

// String describes the policy without the proxy's password. Empty: no restriction.
func (p *Policy) String() string {
	var s string
	if p.Bound() {
		s = "bound to " + p.bind.name
	}
	if p.Proxied() {
		if s != "" {
			s += ", "
		}
		s += "by way of " + p.proxy.String()
	}
	return s
}

// DialContext connects to addr, HOST:PORT, over a network of net.Dialer: "tcp", "udp"
// and their 4 and 6. With a proxy the host may be a name, which the proxy looks up.
func (p *Policy) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	return p.DialChecked(ctx, network, addr, nil)
}

// A Check says whether to connect to an address, by an error if not.
type Check func(addr netip.AddrPort) error

// DialChecked is DialContext that connects only to addresses that check agrees to, after
// names have been looked up. Names that the proxy looks up are the proxy's to judge.
func (p *Policy) DialChecked(ctx context.Context, network, addr string, check Check) (net.Conn, error) {
	if !p.Proxied() {
		return p.direct(ctx, network, addr, check)
	}
	if ap, err := netip.ParseAddrPort(addr); err == nil && check != nil {
		if err := check(ap); err != nil {
			return nil, err
		}
	}
	addr = p.proxy.names.restore(addr)
	if isUDP(network) {
		return p.proxy.dialUDP(ctx, p, addr)
	}
	return p.proxy.dialTCP(ctx, p, addr)
}

// DialTCP connects to addr. What it returns carries the bytes of the peer and nothing
// else, with a proxy as without.
func (p *Policy) DialTCP(ctx context.Context, addr netip.AddrPort) (*net.TCPConn, error) {
	conn, err := p.DialContext(ctx, "tcp", addr.String())
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

// direct connects without the proxy, so to the proxy as well.
func (p *Policy) direct(ctx context.Context, network, addr string, check Check) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTimeout}
	if p.Bound() {
		d.Resolver = p.bind.resolver()
	}
	d.Control = func(network, addr string, c syscall.RawConn) error {
		if check != nil {
			ap, err := netip.ParseAddrPort(addr)
			if err == nil {
				err = check(ap)
			}
			if err != nil {
				return err
			}
		}
		if p.Bound() {
			return p.bind.control(network, addr, c)
		}
		return nil
	}
	return d.DialContext(ctx, network, addr)
}

// Listen accepts connections at addr, HOST:PORT. When sockets are bound, so is this one,
// and an empty or unspecified host is the address that they are bound to. A proxy does
// not concern it.
func (p *Policy) Listen(ctx context.Context, network, addr string) (net.Listener, error) {
	lc, network, addr, err := p.listening(network, addr)
	if err != nil {
		return nil, err
	}
	return lc.Listen(ctx, network, addr)
}

// ListenPacket opens a UDP socket at addr, HOST:PORT, as Listen does. With a proxy it is
// one of the proxy's instead and addr is not used: it outlives the proxy, and while that
// is away, at first too, reads wait and writes fail.
func (p *Policy) ListenPacket(ctx context.Context, network, addr string) (net.PacketConn, error) {
	if p.Proxied() {
		return p.proxy.listenUDP(ctx, p)
	}
	lc, network, addr, err := p.listening(network, addr)
	if err != nil {
		return nil, err
	}
	return lc.ListenPacket(ctx, network, addr)
}

func (p *Policy) listening(network, addr string) (lc net.ListenConfig, _, _ string, err error) {
	if p.Bound() {
		lc.SetMultipathTCP(false) // its further paths would not be bound
		lc.Control = p.bind.controlDevice
		network, addr, err = p.bind.listenAddr(network, addr)
	}
	return lc, network, addr, err
}

// LookupNetIP looks a name up by the policy's way. With a proxy, which looks names up by
// itself, it returns an address that stands for the name in DialContext.
func (p *Policy) LookupNetIP(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a.Unmap()}, nil
	}
	r := net.DefaultResolver
	switch {
	case p.Proxied():
		return []netip.Addr{p.proxy.names.lookup(host)}, nil
	case p.Bound():
		r = p.bind.resolver()
	}
	addrs, err := r.LookupNetIP(ctx, "ip", host)
	for i, a := range addrs {
		addrs[i] = a.Unmap()
	}
	return addrs, err
}

func isUDP(network string) bool { return strings.HasPrefix(network, "udp") }
