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

// socket is what the two address families do differently.
type socket interface {
	JoinGroup(*net.Interface, net.Addr) error
	SetMulticastLoopback(on bool) error
	Close() error
	// receive tells where a datagram was sent to as well; nil if that is unknown.
	receive(b []byte) (n int, to net.IP, from net.Addr, err error)
	// sendOn sends to the group on one interface.
	sendOn(w way, b []byte, group net.Addr) error
}

type socket4 struct{ *ipv4.PacketConn }

func (s socket4) receive(b []byte) (n int, to net.IP, from net.Addr, err error) {
	n, cm, from, err := s.ReadFrom(b)
	if cm != nil {
		to = cm.Dst
	}
	return n, to, from, err
}

func (s socket4) sendOn(w way, b []byte, group net.Addr) error {
	_, err := s.WriteTo(b, &ipv4.ControlMessage{IfIndex: w.ifi.Index, Src: w.src.AsSlice()}, group)
	return err
}

type socket6 struct{ *ipv6.PacketConn }

func (s socket6) receive(b []byte) (n int, to net.IP, from net.Addr, err error) {
	n, cm, from, err := s.ReadFrom(b)
	if cm != nil {
		to = cm.Dst
	}
	return n, to, from, err
}

func (s socket6) sendOn(w way, b []byte, group net.Addr) error {
	src := w.src.WithZone("").AsSlice() // the interface is the zone
	_, err := s.WriteTo(b, &ipv6.ControlMessage{IfIndex: w.ifi.Index, Src: src}, group)
	return err
}

// multicast is the link of one address family.
type multicast struct {
	socket
	cfg   Config
	is4   bool
	group netip.AddrPort
}

func open4(cfg Config) (link, error) {
	c, err := bind("udp4", group4)
	if err != nil {
		return nil, err
	}
	s := socket4{ipv4.NewPacketConn(c)}
	return open(&multicast{s, cfg, true, group4}, s.SetControlMessage(ipv4.FlagDst, true))
}

func open6(cfg Config) (link, error) {
	c, err := bind("udp6", group6)
	if err != nil {
		return nil, err
	}
	s := socket6{ipv6.NewPacketConn(c)}
	return open(&multicast{s, cfg, false, group6}, s.SetControlMessage(ipv6.FlagDst, true))
}

// bind opens a socket at a group's port, which others may have open as well.
func bind(network string, group netip.AddrPort) (net.PacketConn, error) {
	var lc net.ListenConfig
	return lc.ListenPacket(context.Background(), network, group.String())
}

func open(m *multicast, err error) (link, error) {
	if err != nil {
		m.close()
		return nil, err
	}
	_ = m.SetMulticastLoopback(true) // others on this machine; the default anyway
	m.join()
	return m, nil
}

// join joins the group on all interfaces; where that was done before it fails.
func (m *multicast) join() (list []way) {
	list = ways(m.cfg, m.is4)
	for _, w := range list {
		_ = m.JoinGroup(&w.ifi, net.UDPAddrFromAddrPort(m.group))
	}
	return list
}

func (m *multicast) read(b []byte) (int, netip.AddrPort, error) {
	for {
		n, to, from, err := m.receive(b)
		if err != nil {
			return 0, netip.AddrPort{}, err
		}
		// What was sent to us alone may come from anywhere.
		if to.IsMulticast() {
			return n, sender(from), nil
		}
	}
}

func (m *multicast) send(text func(host string) []byte) {
	b := text(m.group.String())
	for _, w := range m.join() {
		_ = m.sendOn(w, b, net.UDPAddrFromAddrPort(m.group)) // the next one may get through
	}
}

func (m *multicast) close() { m.Close() }

func sender(a net.Addr) netip.AddrPort {
	ap := a.(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
