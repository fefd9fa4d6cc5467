// Package pex is peer exchange (BEP 11): peers tell each other whom they are connected
// to.
//
// A Message is the payload of one ut_pex message. A Talk turns who is connected into
// messages of what is new on one connection, and an Ear limits what the other side may
// say there. All are pure: the time and the peers come in as arguments.
//
// It does not judge addresses beyond what can be an address at all, and it does not
// know private torrents (BEP 27), which must not use it.
package pex

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"

	"github.com/qqbtfs/qqbtfs/peerconn/bencode"
)

const (
	// Name is the extension's name in the extension handshake (BEP 10).
	Name = "ut_pex"
	// MaxPeers bounds the added and the dropped peers of one message, each. (BEP 11:
	// "Except for the initial PEX message the combined amount of added v4/v6 contacts
	// should not exceed 50 entries. The same applies to dropped entries.") The initial
	// message is no exception here.
	MaxPeers = 50
)

// Flags say what the sender knows of a peer (BEP 11, added.f).
type Flags uint8

// The flags of BEP 11.
const (
	PrefersEncryption Flags = 1 << iota
	Seed                    // or it wants nothing more (BEP 21)
	UTP
	Holepunch
	Reachable // the sender connected to it, not the other way round
)

// Peer is a peer that was added.
type Peer struct {
	Addr  netip.AddrPort
	Flags Flags
}

// Message is who came and who went since the one before.
type Message struct {
	Added   []Peer
	Dropped []netip.AddrPort
}

const (
	compact4 = 4 + 2 // bytes of an address and a port (BEP 23)
	compact6 = 16 + 2
)

// limits leave room for the initial message of clients that tell all they have.
var limits = bencode.Limits{Size: 64 << 10, Depth: 4, Tokens: 64}

// Parse decodes a message. Peers past MaxPeers and addresses with port 0 are left
// out; who is added and dropped at once counts as added. It is an error if a list is
// not of whole addresses.
func Parse(b []byte) (Message, error) {
	v, err := bencode.Parse(b, limits)
	if err == nil && v.Kind() != bencode.Dict {
		err = fmt.Errorf("a %v", v.Kind())
	}
	if err != nil {
		return Message{}, fmt.Errorf("pex: message: %w", err)
	}
	lists := map[string][]byte{}
	for key, value := range v.Entries() {
		lists[string(key)], _ = value.Bytes()
	}
	var m Message
	for _, family := range []struct {
		suffix string
		size   int
	}{{"", compact4}, {"6", compact6}} {
		added, dropped := lists["added"+family.suffix], lists["dropped"+family.suffix]
		if len(added)%family.size+len(dropped)%family.size != 0 {
			return Message{}, errors.New("pex: message: a list is cut off")
		}
		m.add(added, lists["added"+family.suffix+".f"], family.size)
		m.drop(dropped, family.size)
	}
	return m, nil
}

func (m *Message) add(list, flags []byte, size int) {
	for k := 0; len(list) > 0 && len(m.Added) < MaxPeers; k, list = k+1, list[size:] {
		p := Peer{Addr: address(list[:size])}
		if k < len(flags) {
			p.Flags = Flags(flags[k])
		}
		if p.Addr.Port() != 0 && !m.has(p.Addr) {
			m.Added = append(m.Added, p)
		}
	}
}

func (m *Message) drop(list []byte, size int) {
	for ; len(list) > 0 && len(m.Dropped) < MaxPeers; list = list[size:] {
		if a := address(list[:size]); a.Port() != 0 && !m.has(a) {
			m.Dropped = append(m.Dropped, a)
		}
	}
}

// has reports whether an address was added.
func (m *Message) has(a netip.AddrPort) bool {
	for _, p := range m.Added {
		if p.Addr == a {
			return true
		}
	}
	return false
}

// address decodes a compact address.
func address(b []byte) netip.AddrPort {
	n := len(b) - 2
	a, _ := netip.AddrFromSlice(b[:n])
	return netip.AddrPortFrom(a.Unmap(), binary.BigEndian.Uint16(b[n:]))
}

// Append appends the encoded message to b.
func (m Message) Append(b []byte) []byte {
	var added, flags, dropped [2][]byte // of IPv4 and of IPv6
	for _, p := range m.Added {
		k := family(p.Addr)
		added[k] = appendCompact(added[k], p.Addr)
		flags[k] = append(flags[k], byte(p.Flags))
	}
	for _, a := range m.Dropped {
		k := family(a)
		dropped[k] = appendCompact(dropped[k], a)
	}
	b = append(b, 'd')
	for k, suffix := range []string{"", "6"} {
		b = appendEntry(b, "added"+suffix, added[k])
		b = appendEntry(b, "added"+suffix+".f", flags[k])
	}
	for k, suffix := range []string{"", "6"} {
		b = appendEntry(b, "dropped"+suffix, dropped[k])
	}
	return append(b, 'e')
}

func family(a netip.AddrPort) int {
	if a.Addr().Unmap().Is4() {
		return 0
	}
	return 1
}

func appendCompact(b []byte, a netip.AddrPort) []byte {
	b = append(b, a.Addr().Unmap().AsSlice()...)
	return binary.BigEndian.AppendUint16(b, a.Port())
}

// appendEntry appends a key and a string to a dictionary.
func appendEntry(b []byte, key string, value []byte) []byte {
	for _, s := range []string{key, string(value)} {
		b = strconv.AppendInt(b, int64(len(s)), 10)
		b = append(b, ':')
		b = append(b, s...)
	}
	return b
}
