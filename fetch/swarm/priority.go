package swarm

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"net/netip"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Priority returns the canonical priority of the connection between two addresses
// (BEP 40), higher is better. Both sides compute the same, so nobody can choose to be
// preferred by everyone. It is zero where an address is not known or the families
// differ.
func Priority(a, b netip.AddrPort) uint32 {
	x, y := a.Addr().Unmap(), b.Addr().Unmap()
	if !x.IsValid() || x.BitLen() != y.BitLen() {
		return 0
	}
	if x == y {
		return hashSorted(binary.BigEndian.AppendUint16(nil, a.Port()), binary.BigEndian.AppendUint16(nil, b.Port()))
	}
	return hashSorted(masked(x.AsSlice(), y.AsSlice()), masked(y.AsSlice(), x.AsSlice()))
}

// masked returns a with what is left to chance taken away, which depends on how near b
// is: half of the bits behind the first two bytes of IPv4 or six of IPv6, and one byte
// less of that for each one behind those that both have in common.
func masked(a, b []byte) []byte {
	whole := 2
	if len(a) == 16 {
		whole = 6
	}
	for whole < len(a) && bytes.Equal(a[:whole], b[:whole]) {
		whole++
	}
	out := bytes.Clone(a)
	for i := whole; i < len(out); i++ {
		out[i] &= 0x55
	}
	return out
}

func hashSorted(a, b []byte) uint32 {
	if bytes.Compare(a, b) > 0 {
		a, b = b, a
	}
	return crc32.Update(crc32.Checksum(a, castagnoli), castagnoli, b)
}

// self is by which addresses peers see us. One of them may lie, so they vote.
type self struct {
	port  uint16
	votes map[netip.Addr]int
	v4    netip.Addr
	v6    netip.Addr
}

// maxVotes bounds the addresses that are remembered.
const maxVotes = 64

// vote takes in that a peer sees us at addr.
func (s *self) vote(addr netip.Addr) {
	addr = addr.Unmap()
	if !addr.IsValid() || addr.IsUnspecified() || s.votes[addr] == 0 && len(s.votes) >= maxVotes {
		return
	}
	if s.votes == nil {
		s.votes = map[netip.Addr]int{}
	}
	s.votes[addr]++
	best := &s.v4
	if addr.Is6() {
		best = &s.v6
	}
	if s.votes[addr] > s.votes[*best] {
		*best = addr
	}
}

// addr is our address as a peer at remote sees it; invalid while not known.
func (s *self) addr(remote netip.Addr) netip.AddrPort {
	if remote.Unmap().Is4() {
		return netip.AddrPortFrom(s.v4, s.port)
	}
	return netip.AddrPortFrom(s.v6, s.port)
}

// priority is that of a peer for us, zero while we do not know our address.
func (s *self) priority(remote netip.AddrPort) uint32 {
	return Priority(s.addr(remote.Addr()), remote)
}
