package dht

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/anacrolix/dht/v2/krpc"

	"github.com/qqbtfs/qqbtfs/peerconn/bencode"
)

// maxSaved bounds the nodes of a family that are saved.
const maxSaved = 500

// table is a routing table as it is saved: our id and the nodes, of one family.
type table struct {
	id    krpc.ID
	nodes []krpc.NodeInfo
}

// state is what survives a restart.
type state struct{ v4, v6 table }

var stateLimits = bencode.Limits{Size: 128 << 10, Depth: 2, Tokens: 32}

// encode writes it in the compact form of answers (BEP 5, BEP 32).
func (s state) encode() []byte {
	m := map[string][]byte{}
	for suffix, t := range map[string]table{"": s.v4, "6": s.v6} {
		var nodes []byte
		for _, n := range t.nodes[:min(len(t.nodes), maxSaved)] {
			nodes = append(append(nodes, n.ID[:]...), n.Addr.IP...)
			nodes = binary.BigEndian.AppendUint16(nodes, uint16(n.Addr.Port))
		}
		m["id"+suffix], m["nodes"+suffix] = str(t.id[:]), str(nodes)
	}
	return dict(m)
}

func parseState(b []byte) (s state, err error) {
	v, err := bencode.Parse(b, stateLimits)
	if err == nil && v.Kind() != bencode.Dict {
		err = fmt.Errorf("a %v", v.Kind())
	}
	if err != nil {
		return state{}, fmt.Errorf("dht: saved table: %w", err)
	}
	m := entries(v)
	s.v4, s.v6 = parseTable(m["id"], m["nodes"], compact4), parseTable(m["id6"], m["nodes6"], compact6)
	return s, nil
}

func parseTable(id, nodes bencode.Value, size int) (t table) {
	if b, _ := id.Bytes(); len(b) == len(t.id) {
		copy(t.id[:], b)
	}
	b, _ := nodes.Bytes()
	for size += len(t.id); len(b) >= size && len(t.nodes) < maxSaved; b = b[size:] {
		var n krpc.NodeInfo
		k := copy(n.ID[:], b)
		a := address(b[k:size])
		if a.Port() != 0 && !a.Addr().IsUnspecified() && !a.Addr().IsMulticast() && a.Addr().Is4() == (size < 20+compact6) {
			n.Addr = nodeAddr(a.Addr().AsSlice(), int(a.Port()))
			t.nodes = append(t.nodes, n)
		}
	}
	return t
}

// loadState reads a saved table. Nothing saved is an empty one.
func loadState(path string) (state, error) {
	f, err := os.Open(path)
	if os.IsNotExist(err) {
		return state{}, nil
	}
	if err != nil {
		return state{}, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, stateLimits.Size+1))
	if err != nil {
		return state{}, err
	}
	return parseState(b)
}

// save replaces the file as a whole: several processes may share it.
func (s state) save(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".dht.*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(s.encode())
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// addrOf is an address as the library has it.
func addrOf(n krpc.NodeAddr) netip.AddrPort {
	a, _ := netip.AddrFromSlice(n.IP)
	return netip.AddrPortFrom(a.Unmap(), uint16(n.Port))
}
