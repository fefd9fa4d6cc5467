package proto

import (
	"crypto/sha1"
	"encoding/binary"
	"net/netip"
	"slices"
)

// AllowedFastCount is the usual size of an allowed fast set (BEP 6: "We currently
// set k to 10").
const AllowedFastCount = 10

// AllowedFastSet returns the k pieces, of numPieces, that a peer at ip may
// request while it is choked (BEP 6, Allowed Fast Set Generation): the same from
// every peer that offers it k. A torrent of fewer pieces gives them all. There is
// no set for IPv6 (BEP 6: "We currently have no provisions for IPv6").
func AllowedFastSet(ip netip.Addr, infoHash [20]byte, numPieces, k int) []uint32 {
	ip = ip.Unmap()
	if !ip.Is4() || numPieces <= 0 {
		return nil
	}
	k = min(k, numPieces)
	prefix := ip.As4()
	prefix[3] = 0
	var set []uint32
	for x := append(prefix[:], infoHash[:]...); len(set) < k; {
		sum := sha1.Sum(x)
		x = sum[:]
		for word := range slices.Chunk(x, 4) {
			piece := binary.BigEndian.Uint32(word) % uint32(numPieces)
			if len(set) < k && !slices.Contains(set, piece) {
				set = append(set, piece)
			}
		}
	}
	return set
}
