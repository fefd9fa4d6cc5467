package swarm

import (
	"net/netip"
	"testing"
)

func TestPriority(t *testing.T) {
	for _, tc := range []struct {
		why, a, b string
		want      uint32
	}{
		// BEP 40, Test Vectors.
		{"far", "123.213.32.10:6881", "98.76.54.32:51413", 0xec2d7224},
		{"the same /24", "123.213.32.10:6881", "123.213.32.234:51413", 0x99568189},
		// The rest are of their masks, by hand.
		{"one address: the ports", "10.0.0.1:1234", "10.0.0.1:300", crcOf(0x01, 0x2c, 0x04, 0xd2)},
		{"the same /16", "230.12.123.1:0", "230.12.1.3:0", crcOf(230, 12, 1, 1, 230, 12, 123, 1)},
		{"mapped", "[::ffff:123.213.32.10]:1", "98.76.54.32:1", 0xec2d7224},
		{"two families", "10.0.0.1:1", "[2001:db8::1]:1", 0},
		{"IPv6, far", "[2001:db8:0:ff0f::ff]:1", "[2001:db8:1:ff0f::f3]:1", crcOf(
			0x20, 0x01, 0x0d, 0xb8, 0, 0, 0x55, 0x05, 0, 0, 0, 0, 0, 0, 0, 0x55,
			0x20, 0x01, 0x0d, 0xb8, 0, 1, 0x55, 0x05, 0, 0, 0, 0, 0, 0, 0, 0x51)},
		{"IPv6, the same /48", "[2001:db8::f0ff:0:0:0:ff]:1", "[2001:db8:0:10::1]:1", crcOf(
			0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 1,
			0x20, 0x01, 0x0d, 0xb8, 0, 0, 0xf0, 0x55, 0, 0, 0, 0, 0, 0, 0, 0x55)},
	} {
		a, b := netip.MustParseAddrPort(tc.a), netip.MustParseAddrPort(tc.b)
		if got, back := Priority(a, b), Priority(b, a); got != tc.want || back != tc.want {
			t.Errorf("%s: %08x, the other way %08x, want %08x", tc.why, got, back, tc.want)
		}
	}
	if got := Priority(netip.AddrPort{}, netip.MustParseAddrPort("10.0.0.1:1")); got != 0 {
		t.Errorf("%08x without an address of ours", got)
	}
}

func crcOf(b ...byte) uint32 { return hashSorted(b[:len(b)/2], b[len(b)/2:]) }

// BEP 40: "The client can use an IP address given via BEP 10 as a hint, but should not
// blindly trust it."
func TestOwnAddressIsVotedFor(t *testing.T) {
	s := self{port: 7}
	remote := netip.MustParseAddr("10.0.0.9")
	for _, v := range []string{"192.0.2.1", "::ffff:192.0.2.2", "192.0.2.2", "192.0.2.1", "192.0.2.2", "0.0.0.0", "2001:db8::1"} {
		s.vote(netip.MustParseAddr(v))
	}
	s.vote(netip.Addr{})
	if got := s.addr(remote).String(); got != "192.0.2.2:7" {
		t.Error(got)
	}
	if got := s.addr(netip.MustParseAddr("2001:db8::2")).String(); got != "[2001:db8::1]:7" {
		t.Error(got)
	}
	for k := range 1000 {
		s.vote(netip.AddrFrom4([4]byte{9, 9, byte(k >> 8), byte(k)}))
	}
	if len(s.votes) != maxVotes || s.addr(remote).Addr().String() != "192.0.2.2" {
		t.Errorf("%d votes, we are %v", len(s.votes), s.addr(remote))
	}
}
