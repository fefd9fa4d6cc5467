package extension

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/qqbtfs/qqbtfs/peerconn/bencode"
)

const (
	// HandshakeID is the extended message id of the extension handshake (BEP 10).
	HandshakeID = 0
	// UploadOnly names the extension by which libtorrent and others, which take the
	// handshake's word once, tell later that they want no pieces: a byte that is 1, or 0
	// when they want some again. No BEP has it.
	UploadOnly = "upload_only"
	// MaxMetadataSize is the largest info dictionary, in bytes, that is believed.
	MaxMetadataSize = 30 << 20
	// MaxClientName is the length in bytes to which a client's name is cut.
	MaxClientName = 64
	// MaxExtensions is how many names of M are taken; further ones are ignored.
	MaxExtensions = 64

	maxReqQ          = math.MaxUint16
	maxExtensionName = 64
)

// handshakeLimits leave room for far more than any client sends.
var handshakeLimits = bencode.Limits{Size: 64 << 10, Depth: 16, Tokens: 4096}

// Handshake is the payload of an extension handshake (BEP 10), message 0. A zero
// field was not sent, or is not to be sent.
type Handshake struct {
	// M maps the names of the sender's extensions to the message ids under
	// which it wants to get them. Id 0 takes an extension back.
	M map[string]uint8
	// V is the sender's name and version. Parsed, it is printable and at most
	// MaxClientName bytes.
	V string
	// ReqQ is how many requests the sender queues before it drops them.
	ReqQ int
	// Port is the TCP port that the sender listens on, key p.
	Port uint16
	// YourIP is the address from which the sender sees the receiver.
	YourIP netip.Addr
	// MetadataSize is the size in bytes of the info dictionary (BEP 9), which need not
	// be true. Parsed, MaxMetadataSize+1 stands for all that are larger.
	MetadataSize int64
	// UploadOnly tells whether the sender wants no pieces (BEP 21). It may change, so
	// nil, not said, is something else than false.
	UploadOnly *bool
	// IPv4 and IPv6 are other addresses of the sender.
	IPv4, IPv6 netip.Addr
}

// ParseHandshake decodes the payload of message 0. It is an error if b is not
// one bencoded dictionary within modest limits. Keys that are not known, and
// values of a wrong type or out of range, are skipped.
func ParseHandshake(b []byte) (Handshake, error) {
	v, err := bencode.Parse(b, handshakeLimits)
	if err != nil {
		return Handshake{}, fmt.Errorf("extension: handshake: %w", err)
	}
	if v.Kind() != bencode.Dict {
		return Handshake{}, fmt.Errorf("extension: handshake is a %v", v.Kind())
	}
	var h Handshake
	for key, value := range v.Entries() {
		h.set(string(key), value)
	}
	return h, nil
}

func (h *Handshake) set(key string, v bencode.Value) {
	switch key {
	case "m":
		h.M = parseM(v)
	case "v":
		name, _ := v.Bytes()
		h.V = clientName(name)
	case "reqq":
		h.ReqQ = int(min(positive(v, math.MaxInt64), maxReqQ))
	case "p":
		h.Port = uint16(positive(v, math.MaxUint16))
	case "metadata_size":
		h.MetadataSize = min(positive(v, math.MaxInt64), MaxMetadataSize+1)
	case "upload_only":
		if n, ok := v.Int(); ok {
			only := n != 0
			h.UploadOnly = &only
		}
	case "yourip":
		h.YourIP = address(v)
	case "ipv4":
		if a := address(v); a.Is4() {
			h.IPv4 = a
		}
	case "ipv6":
		if a := address(v); a.Is6() {
			h.IPv6 = a
		}
	}
}

func parseM(v bencode.Value) map[string]uint8 {
	m := make(map[string]uint8)
	for name, id := range v.Entries() {
		n, ok := id.Int()
		if ok && n >= 0 && n <= math.MaxUint8 && len(name) <= maxExtensionName && len(m) < MaxExtensions {
			m[string(name)] = uint8(n)
		}
	}
	return m
}

// positive returns an integer from 1 to limit, and 0 for anything else.
func positive(v bencode.Value, limit int64) int64 {
	if n, ok := v.Int(); ok && n > 0 && n <= limit {
		return n
	}
	return 0
}

// address returns an address in its 4 or 16 bytes, and the zero Addr for
// anything else.
func address(v bencode.Value) netip.Addr {
	b, _ := v.Bytes()
	a, _ := netip.AddrFromSlice(b)
	return a
}

// clientName makes a name from a stranger fit for a terminal. Nothing that it
// replaces gets longer.
func clientName(b []byte) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, string(b[:min(len(b), MaxClientName)]))
}

// Append appends the bencoded payload of h to b.
func (h Handshake) Append(b []byte) []byte {
	d := map[string]any{"m": h.M}
	if h.M == nil {
		d["m"] = map[string]uint8{}
	}
	put(d, "v", h.V)
	put(d, "reqq", h.ReqQ)
	put(d, "p", h.Port)
	put(d, "metadata_size", h.MetadataSize)
	if h.UploadOnly != nil {
		d["upload_only"] = 0
		if *h.UploadOnly {
			d["upload_only"] = 1
		}
	}
	put(d, "yourip", string(h.YourIP.Unmap().AsSlice()))
	put(d, "ipv4", string(h.IPv4.AsSlice()))
	put(d, "ipv6", string(h.IPv6.AsSlice()))
	encoded, err := bencode.Marshal(d)
	if err != nil {
		panic("BUG: extension: " + err.Error())
	}
	return append(b, encoded...)
}

// put adds a value that is to be sent.
func put[T comparable](d map[string]any, key string, v T) {
	if v != *new(T) {
		d[key] = v
	}
}
