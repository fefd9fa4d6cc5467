package dht

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strconv"

	"github.com/qqbtfs/qqbtfs/peerconn/bencode"
)

// maxPacket is the longest datagram that is looked at, in bytes.
const maxPacket = 4096

// packetLimits leave room for a get_peers answer of a few hundred peers.
var packetLimits = bencode.Limits{Size: maxPacket, Depth: 4, Tokens: 1024}

const (
	maxValues = 100 // peers of one answer
	maxNodes  = 16  // nodes of one answer; BEP 5 says 8
	maxToken  = 128
)

// packet is a message that is safe to hand to the library.
type packet struct {
	text  []byte     // encoded anew, with nothing in it but what was checked
	query bool       // or else an answer or an error
	ip    netip.Addr // our address as the sender sees it (BEP 42), if it says so
}

// clean checks a datagram and encodes what we understand of it anew: the messages of
// BEP 5 with the keys of BEP 32, 42 and 43. The library behind would take anything:
// some of that makes it panic, some of it fills the memory. False: it is no message.
func clean(b []byte) (p packet, ok bool) {
	v, err := bencode.ParsePrefix(b, packetLimits)
	if err != nil || v.Kind() != bencode.Dict {
		return packet{}, false
	}
	m := entries(v)
	t, _ := m["t"].Bytes()
	y, _ := m["y"].Bytes()
	if len(t) == 0 || len(t) > 32 {
		return packet{}, false
	}
	out := map[string][]byte{"t": str(t), "y": str(y)}
	if ip, ok := m["ip"].Bytes(); ok && (len(ip) == compact4 || len(ip) == compact6) {
		p.ip = address(ip).Addr()
		out["ip"] = str(ip)
	}
	if ro, ok := m["ro"].Int(); ok && ro == 1 {
		out["ro"] = integer(1)
	}
	switch string(y) {
	case "q":
		p.query = true
		ok = cleanQuery(m, out)
	case "r":
		out["r"], ok = cleanAnswer(m["r"])
	case "e":
		out["e"], ok = cleanError(m["e"])
	default:
		ok = false
	}
	p.text = dict(out)
	return p, ok
}

// entries returns the values of a dictionary, nothing for what is none.
func entries(v bencode.Value) map[string]bencode.Value {
	m := map[string]bencode.Value{}
	for k, item := range v.Entries() {
		m[string(k)] = item
	}
	return m
}

// required are the arguments without which a query makes no sense.
var required = map[string][]string{
	"ping": nil, "find_node": {"target"}, "get_peers": {"info_hash"}, "announce_peer": {"info_hash", "token"},
}

// unknownMethod stands for all methods that we do not know: the library counts each
// name that it hears, for good. The answer to it is an error (BEP 5, 204).
const unknownMethod = "unknown"

func cleanQuery(m map[string]bencode.Value, out map[string][]byte) bool {
	q, _ := m["q"].Bytes()
	in, a := entries(m["a"]), map[string][]byte{}
	for _, key := range []string{"id", "info_hash", "target"} {
		if b, ok := in[key].Bytes(); ok && len(b) == 20 {
			a[key] = str(b)
		}
	}
	if b, ok := in["token"].Bytes(); ok && len(b) <= maxToken {
		a["token"] = str(b)
	}
	for key, most := range map[string]int64{"port": 65535, "implied_port": 1} {
		if n, ok := in[key].Int(); ok && n > 0 && n <= most {
			a[key] = integer(n)
		}
	}
	a["want"] = cleanWant(in["want"])
	need, known := required[string(q)]
	if !known {
		q = []byte(unknownMethod)
	}
	for _, key := range append(need, "id") {
		if a[key] == nil {
			return false
		}
	}
	if string(q) == "announce_peer" && a["port"] == nil && a["implied_port"] == nil {
		return false
	}
	if string(q) == "find_node" {
		a["info_hash"] = a["target"] // which is where the library looks for it
	}
	out["q"], out["a"] = str(q), dict(a)
	return true
}

// cleanWant keeps the families of BEP 32, nil: none was named.
func cleanWant(v bencode.Value) []byte {
	var names []string
	for item := range v.Items() {
		if b, _ := item.Bytes(); (string(b) == "n4" || string(b) == "n6") && !slices.Contains(names, string(b)) {
			names = append(names, string(b))
		}
	}
	if names == nil {
		return nil
	}
	out := []byte{'l'}
	for _, n := range names {
		out = append(out, str([]byte(n))...)
	}
	return append(out, 'e')
}

func cleanAnswer(v bencode.Value) ([]byte, bool) {
	in, r := entries(v), map[string][]byte{}
	id, _ := in["id"].Bytes()
	if len(id) != 20 {
		return nil, false
	}
	r["id"] = str(id)
	for key, size := range map[string]int{"nodes": 20 + compact4, "nodes6": 20 + compact6} {
		if b, ok := in[key].Bytes(); ok && len(b)%size == 0 {
			r[key] = str(b[:min(len(b), maxNodes*size)])
		}
	}
	if b, ok := in["token"].Bytes(); ok && len(b) <= maxToken {
		r["token"] = str(b)
	}
	values, n := []byte{'l'}, 0
	for item := range in["values"].Items() {
		b, _ := item.Bytes()
		if n < maxValues && (len(b) == compact4 || len(b) == compact6) {
			values = append(values, str(b)...)
			n++
		}
	}
	if n > 0 {
		r["values"] = append(values, 'e')
	}
	return dict(r), true
}

func cleanError(v bencode.Value) ([]byte, bool) {
	var code int64
	for item := range v.Items() {
		code, _ = item.Int()
		break
	}
	out := append([]byte{'l'}, integer(code)...)
	return append(append(out, str(nil)...), 'e'), v.Kind() == bencode.List
}

const (
	compact4 = 4 + 2 // bytes of an address and a port
	compact6 = 16 + 2
)

// address decodes a compact address.
func address(b []byte) netip.AddrPort {
	n := len(b) - 2
	a, _ := netip.AddrFromSlice(b[:n])
	return netip.AddrPortFrom(a.Unmap(), binary.BigEndian.Uint16(b[n:]))
}

func str(b []byte) []byte {
	out := strconv.AppendInt(nil, int64(len(b)), 10)
	return append(append(out, ':'), b...)
}

func integer(n int64) []byte { return append(strconv.AppendInt([]byte{'i'}, n, 10), 'e') }

// dict encodes a dictionary of encoded values, without those that are nil.
func dict(m map[string][]byte) []byte {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	out := []byte{'d'}
	for _, k := range keys {
		if m[k] != nil {
			out = append(append(out, str([]byte(k))...), m[k]...)
		}
	}
	return append(out, 'e')
}

// torrentOf returns the info-hash in a query of ours, if it has one.
func torrentOf(query []byte) (hash [20]byte, ok bool) {
	v, err := bencode.Parse(query, packetLimits)
	if err != nil {
		return hash, false
	}
	b, _ := entries(entries(v)["a"])["info_hash"].Bytes()
	return hash, copy(hash[:], b) == len(hash)
}

// readOnly adds to a query that its sender answers none (BEP 43: "ro", "set to 1").
func readOnly(query []byte) []byte {
	v, err := bencode.Parse(query, packetLimits)
	if err != nil {
		return query // our own; the library has its reasons
	}
	m := map[string][]byte{}
	for k, item := range v.Entries() {
		m[string(k)] = item.Raw()
	}
	if string(m["y"]) != "1:q" {
		return query
	}
	m["ro"] = integer(1)
	return dict(m)
}
