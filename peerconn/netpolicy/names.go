package netpolicy

import (
	"net"
	"net/netip"
	"sync"
)

// names gives addresses to names that only the proxy may look up, so that all code that
// looks a name up and connects to the result works with a proxy: DialContext puts the
// name back in the place of its address. The addresses are of 198.18.0.0/15, which
// nobody has (RFC 2544).
type names struct {
	mu   sync.Mutex
	addr map[string]netip.Addr
	name map[netip.Addr]string
	last uint16
}

// maxNames is how many are remembered. Then it begins anew.
const maxNames = 1 << 14

func (n *names) lookup(host string) netip.Addr {
	n.mu.Lock()
	defer n.mu.Unlock()
	if a, ok := n.addr[host]; ok {
		return a
	}
	if n.addr == nil || len(n.addr) >= maxNames {
		n.addr, n.name = map[string]netip.Addr{}, map[netip.Addr]string{}
	}
	n.last++
	a := netip.AddrFrom4([4]byte{198, 18, byte(n.last >> 8), byte(n.last)})
	n.addr[host], n.name[a] = a, host
	return a
}

// restore is HOST:PORT with the name that an address was given to.
func (n *names) restore(addr string) string {
	ap, err := netip.ParseAddrPort(addr)
	if err != nil {
		return addr
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	host, ok := n.name[ap.Addr()]
	if !ok {
		return addr
	}
	_, port, _ := net.SplitHostPort(addr)
	return net.JoinHostPort(host, port)
}
