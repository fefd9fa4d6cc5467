package tracker

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

const (
	compact4 = 4 + 2  // bytes of a peer in BEP 23's list
	compact6 = 16 + 2 // and in BEP 7's
)

// parseCompact reads a compact peer list (BEP 23; BEP 7, peers6) of entries of
// size bytes. Entries past MaxPeers are not read.
func parseCompact(b []byte, size int) ([]netip.AddrPort, error) {
	if len(b)%size != 0 {
		return nil, fmt.Errorf("compact peer list of %d bytes is not a multiple of %d", len(b), size)
	}
	b = b[:min(len(b), MaxPeers*size)]
	peers := make([]netip.AddrPort, 0, len(b)/size)
	for ; len(b) > 0; b = b[size:] {
		addr, _ := netip.AddrFromSlice(b[:size-2])
		p := netip.AddrPortFrom(addr.Unmap(), binary.BigEndian.Uint16(b[size-2:]))
		if Dialable(p) {
			peers = append(peers, p)
		}
	}
	return peers, nil
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// Dialable reports whether p can be a peer at all.
func Dialable(p netip.AddrPort) bool {
	a := p.Addr()
	return p.Port() != 0 && a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() && a != broadcast
}

// cleanPeers returns the peers of an answer that are worth a connection: not
// ourselves, none twice, at most MaxPeers. Loopback addresses count only from
// a tracker that is local itself: from elsewhere they would make us knock on
// our own services.
func cleanPeers(r Response, port uint16, localTracker bool) []netip.AddrPort {
	self := netip.AddrPortFrom(r.ExternalIP, port)
	kept := r.Peers[:0]
	for _, p := range r.Peers {
		if p == self || p.Addr().IsLoopback() && !localTracker {
			continue
		}
		kept = append(kept, p)
	}
	kept = uniquePeers(kept)
	return kept[:min(len(kept), MaxPeers)]
}

// uniquePeers removes duplicates in place, keeping the order.
func uniquePeers(peers []netip.AddrPort) []netip.AddrPort {
	seen := make(map[netip.AddrPort]bool, len(peers))
	kept := peers[:0]
	for _, p := range peers {
		if !seen[p] {
			seen[p] = true
			kept = append(kept, p)
		}
	}
	return kept
}
