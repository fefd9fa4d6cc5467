package netpolicy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A binding holds sockets to an address or an interface. It looks at the interfaces for
// each socket anew: a tunnel comes and goes.
type binding struct {
	name   string     // as given
	source netip.Addr // zero: name is an interface
}

func newBinding(s string) (*binding, error) {
	b := &binding{name: s}
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		b.source = a.Unmap()
	}
	_, err := b.device()
	return b, err
}

// device is the interface to bind to. It is empty for an address of the loopback
// interface that is not a loopback address: such an address is routed to this machine
// by others and leaves by any interface.
func (b *binding) device() (string, error) {
	if !b.source.IsValid() {
		if _, err := net.InterfaceByName(b.name); err != nil {
			return "", fmt.Errorf("interface %s %w", b.name, ErrGone)
		}
		return b.name, nil
	}
	ifs, err := net.Interfaces()
	if err != nil {
		return "", err
	}
	for _, i := range ifs {
		if !has(i, b.source.WithZone("")) {
			continue
		}
		if i.Flags&net.FlagLoopback != 0 && !b.source.IsLoopback() {
			return "", nil
		}
		return i.Name, nil
	}
	return "", fmt.Errorf("address %v %w", b.source, ErrGone)
}

// has reports whether a is an address of i. A loopback interface has its whole network.
func has(i net.Interface, a netip.Addr) bool {
	for _, p := range prefixes(i) {
		if p.Addr() == a || i.Flags&net.FlagLoopback != 0 && p.Contains(a) {
			return true
		}
	}
	return false
}

func prefixes(i net.Interface) (ps []netip.Prefix) {
	addrs, err := i.Addrs()
	if err != nil {
		return nil // it has gone meanwhile
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			ps = append(ps, netip.PrefixFrom(p.Addr().Unmap(), p.Bits()))
		}
	}
	return ps
}

// control binds a socket before it connects; it is a net.Dialer's Control.
func (b *binding) control(network, _ string, c syscall.RawConn) error {
	device, err := b.device()
	if err != nil {
		return err
	}
	return onSocket(c, func(fd int) error {
		source := b.source
		err := bindToDevice(fd, device)
		if errors.Is(err, unix.EPERM) {
			if err = nil; !source.IsValid() {
				source, err = interfaceAddr(device, network)
			}
		}
		if err != nil || !source.IsValid() {
			return err
		}
		return bindToAddr(fd, network, source)
	})
}

// controlDevice binds a socket that will listen. Its address is bound by net.
func (b *binding) controlDevice(_, _ string, c syscall.RawConn) error {
	device, err := b.device()
	if err != nil {
		return err
	}
	return onSocket(c, func(fd int) error {
		err := bindToDevice(fd, device)
		if errors.Is(err, unix.EPERM) && b.source.IsValid() {
			return nil
		}
		return err
	})
}

func onSocket(c syscall.RawConn, f func(fd int) error) error {
	var failed error
	if err := c.Control(func(fd uintptr) { failed = f(int(fd)) }); err != nil {
		return err
	}
	return failed
}

func bindToAddr(fd int, network string, source netip.Addr) error {
	if source.Is6() != isV6(network) {
		return fmt.Errorf("%v over %s: %w", source, network, unix.EADDRNOTAVAIL)
	}
	choosePortLate(fd)
	if err := unix.Bind(fd, sockaddr(source)); err != nil {
		return fmt.Errorf("bind to %v: %w", source, err)
	}
	return nil
}

func isV6(network string) bool { return strings.HasSuffix(network, "6") }

// interfaceAddr is the first address that the interface has for the network.
func interfaceAddr(device, network string) (netip.Addr, error) {
	i, err := net.InterfaceByName(device)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("interface %s %w", device, ErrGone)
	}
	for _, p := range prefixes(*i) {
		if a := p.Addr(); a.Is6() == isV6(network) && !a.IsLinkLocalUnicast() {
			return a, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("address of interface %s over %s %w", device, network, ErrGone)
}

func sockaddr(a netip.Addr) unix.Sockaddr {
	if a.Is4() {
		return &unix.SockaddrInet4{Addr: a.As4()}
	}
	sa := &unix.SockaddrInet6{Addr: a.As16()}
	if i, err := net.InterfaceByName(a.Zone()); err == nil {
		sa.ZoneId = uint32(i.Index)
	}
	return sa
}

// listenAddr is where to listen when addr was asked for.
func (b *binding) listenAddr(network, addr string) (string, string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || !b.source.IsValid() {
		return network, addr, err
	}
	if a, err := netip.ParseAddr(host); host != "" && (err != nil || !a.IsUnspecified() && a.Unmap() != b.source) {
		return "", "", fmt.Errorf("netpolicy: cannot listen on %s when bound to %s", addr, b.name)
	}
	return network, net.JoinHostPort(b.source.String(), port), nil
}

// resolver looks names up over bound sockets. A server on this machine is asked all the
// same; whom that asks in turn is not ours to decide.
func (b *binding) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		var d net.Dialer
		if a, err := netip.ParseAddrPort(addr); err != nil || !a.Addr().IsLoopback() {
			d.Control = b.control
		}
		return d.DialContext(ctx, network, addr)
	}}
}
