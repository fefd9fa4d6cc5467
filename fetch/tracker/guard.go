package tracker

import (
	"errors"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

var (
	carrierNAT  = netip.MustParsePrefix("100.64.0.0/10")
	thisNetwork = netip.MustParsePrefix("0.0.0.0/8")
)

// IsLocal reports whether a leads to this machine or its own network.
func IsLocal(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	return a.IsLoopback() || a.IsPrivate() || a.IsLinkLocalUnicast() ||
		carrierNAT.Contains(a) || thisNetwork.Contains(a) || a.IsUnspecified()
}

// admit returns the addresses of u's host that may be asked. A URL comes from
// a torrent, so from a stranger, and must not make this machine send requests
// of the stranger's choice to services that only this machine can reach. Local
// addresses are therefore asked for nothing but an announce, and not at all on
// the word of a public tracker: redirected is true when one sent us here.
func admit(u *url.URL, addrs []netip.Addr, redirected bool) ([]netip.Addr, error) {
	var ok []netip.Addr
	var err error
	for _, a := range addrs {
		switch {
		case a.IsMulticast() || a.Unmap() == broadcast:
			err = refusedf("%v is no address of a tracker", a)
		case !IsLocal(a):
			ok = append(ok, a)
		case redirected:
			err = refusedf("a public tracker redirects to the local address %v", a)
		case !announcePath(u):
			err = refusedf("the local address %v may only be asked for /announce", a)
		default:
			ok = append(ok, a)
		}
	}
	if len(ok) == 0 && err == nil {
		err = errors.New("host has no address of this family")
	}
	if len(ok) > 0 {
		err = nil
	}
	return ok, err
}

// announcePath reports whether u asks for an announce and nothing else. A UDP
// tracker without a path is one: its protocol has no other resource (BEP 15).
func announcePath(u *url.URL) bool {
	if u.Scheme == "udp" && strings.Trim(u.Path, "/") == "" && u.RawQuery == "" {
		return true
	}
	return strings.HasSuffix(u.Path, "/announce")
}

func anyPublic(addrs []netip.Addr) bool {
	return slices.ContainsFunc(addrs, func(a netip.Addr) bool { return !IsLocal(a) })
}
