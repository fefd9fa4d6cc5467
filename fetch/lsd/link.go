package lsd

import (
	"context"
	"net"
	"net/netip"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// The groups of BEP 14.
var (
	group4 = netip.MustParseAddrPort("239.192.152.143:6771")
	group6 = netip.MustParseAddrPort("[ff15::efc0:988f]:6771")
)

// A way is an interface and the address on it that peers reach us at.
type way struct {
	ifi net.Interface
	src netip.Addr // of the group's family; the zero Addr: the system's choice
}

// ways returns on which interfaces of a family there is something to announce: those
// whose addresses we listen on. It is looked up for each announce, for networks come
// and go. Loopback counts only when it was asked for by its address.
func ways(cfg Config, is4 bool) (list []way) {
	ifs, err := net.Interfaces()
	if err != nil {
		return nil
	}
	for _, ifi := range ifs {
		if ifi.Flags&net.FlagUp == 0 || cfg.Allow != nil && !cfg.Allow(ifi) {
			continue
		}
		if w, ok := wayOn(ifi, cfg.Addrs, is4); ok {
			list = append(list, w)
		}
	}
	return list
}

func wayOn(ifi net.Interface, listen []netip.AddrPort, is4 bool) (way, bool) {
	loopback := ifi.Flags&net.FlagLoopback != 0
	for _, p := range prefixes(ifi) {
		if p.Addr().Is4() != is4 {
			continue
		}
		for _, l := range listen {
			a := l.Addr().Unmap()
			switch {
			case a.IsUnspecified() && (is4 || a.Is6()) && !loopback && ifi.Flags&net.FlagMulticast != 0:
				return way{ifi: ifi}, true
			case a.WithZone("") == p.Addr() || loopback && is4 && a.IsLoopback() && p.Contains(a):
				return way{ifi, a}, true
			}
		}
	}
	return way{}, false
}

func prefixes(ifi net.Interface) (list []netip.Prefix) {
	addrs, _ := ifi.Addrs() // an interface that has just gone has none
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			list = append(list, netip.PrefixFrom(p.Addr().Unmap(), p.Bits()))
		}
	}
	return list
}

// bind opens a socket at a group's port, which others may have open as well.
func bind(network string, group netip.AddrPort) (net.PacketConn, error) {
	var lc net.ListenConfig
	return lc.ListenPacket(context.Background(), network, group.String())
}

// link4 is the group of IPv4.
type link4 struct {
	cfg Config
	c   *ipv4.PacketConn
}

func open4(cfg Config) (link, error) {
	c, err := bind("udp4", group4)
	if err != nil {
		return nil, err
	}
	l := &link4{cfg, ipv4.NewPacketConn(c)}
	if err := l.c.SetControlMessage(ipv4.FlagDst, true); err != nil {
		return nil, err
	}
	_ = l.c.SetMulticastLoopback(true) // others on this machine; the default anyway
	l.join()
	return l, nil
}

// join joins the group on all interfaces; where that was done before it fails.
func (l *link4) join() (list []way) {
	list = ways(l.cfg, true)
	for _, w := range list {
		_ = l.c.JoinGroup(&w.ifi, net.UDPAddrFromAddrPort(group4))
	}
	return list
}

func (l *link4) read(b []byte) (int, netip.AddrPort, error) {
	for {
		n, cm, from, err := l.c.ReadFrom(b)
		if err != nil {
			return 0, netip.AddrPort{}, err
		}
		// What was sent to us alone may come from anywhere.
		if cm != nil && cm.Dst.IsMulticast() {
			return n, sender(from), nil
		}
	}
}

func (l *link4) send(text func(host string) []byte) {
	b := text(group4.String())
	for _, w := range l.join() {
		cm := &ipv4.ControlMessage{IfIndex: w.ifi.Index, Src: w.src.AsSlice()}
		_, _ = l.c.WriteTo(b, cm, net.UDPAddrFromAddrPort(group4)) // the next one may get through
	}
}

func (l *link4) close() { l.c.Close() }

// link6 is the group of IPv6.
type link6 struct {
	cfg Config
	c   *ipv6.PacketConn
}

func open6(cfg Config) (link, error) {
	c, err := bind("udp6", group6)
	if err != nil {
		return nil, err
	}
	l := &link6{cfg, ipv6.NewPacketConn(c)}
	if err := l.c.SetControlMessage(ipv6.FlagDst, true); err != nil {
		return nil, err
	}
	_ = l.c.SetMulticastLoopback(true)
	l.join()
	return l, nil
}

func (l *link6) join() (list []way) {
	list = ways(l.cfg, false)
	for _, w := range list {
		_ = l.c.JoinGroup(&w.ifi, net.UDPAddrFromAddrPort(group6))
	}
	return list
}

func (l *link6) read(b []byte) (int, netip.AddrPort, error) {
	for {
		n, cm, from, err := l.c.ReadFrom(b)
		if err != nil {
			return 0, netip.AddrPort{}, err
		}
		if cm != nil && cm.Dst.IsMulticast() {
			return n, sender(from), nil
		}
	}
}

func (l *link6) send(text func(host string) []byte) {
	b := text(group6.String())
	for _, w := range l.join() {
		cm := &ipv6.ControlMessage{IfIndex: w.ifi.Index, Src: w.src.WithZone("").AsSlice()}
		_, _ = l.c.WriteTo(b, cm, net.UDPAddrFromAddrPort(group6))
	}
}

func (l *link6) close() { l.c.Close() }

func sender(a net.Addr) netip.AddrPort {
	ap := a.(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
