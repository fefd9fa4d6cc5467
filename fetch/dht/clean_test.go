package dht

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	lib "github.com/anacrolix/dht/v2"
	"github.com/anacrolix/dht/v2/krpc"
	"github.com/anacrolix/torrent/bencode"

	bounded "github.com/qqbtfs/qqbtfs/peerconn/bencode"
)

// bytesOf returns the keys of an encoded dictionary.
func bytesOf(b []byte) (keys []string) {
	v, err := bounded.Parse(b, packetLimits)
	if err != nil {
		return nil
	}
	for k := range v.Entries() {
		keys = append(keys, string(k))
	}
	return keys
}

func fits(id krpc.ID, a netip.Addr) bool { return lib.NodeIdSecure(id, a.AsSlice()) }

const (
	id1 = "20:aaaaaaaaaaaaaaaaaaaa"
	id2 = "20:bbbbbbbbbbbbbbbbbbbb"
)

// packets are messages as they are found in the field and as they should not be, each
// with what is left of it, "" for nothing.
var packets = map[string]struct{ in, out string }{
	"ping":             {"d1:ad2:id" + id1 + "e1:q4:ping1:t2:aa1:y1:qe", "d1:ad2:id" + id1 + "e1:q4:ping1:t2:aa1:y1:qe"},
	"find_node":        {"d1:ad2:id" + id1 + "6:target" + id2 + "e1:q9:find_node1:t2:aa1:y1:qe", "d1:ad2:id" + id1 + "9:info_hash" + id2 + "6:target" + id2 + "e1:q9:find_node1:t2:aa1:y1:qe"},
	"get_peers":        {"d1:ad2:id" + id1 + "9:info_hash" + id2 + "4:wantl2:n42:n62:n42:xxee1:q9:get_peers1:t2:aa1:v4:LT011:y1:qe", "d1:ad2:id" + id1 + "9:info_hash" + id2 + "4:wantl2:n42:n6ee1:q9:get_peers1:t2:aa1:y1:qe"},
	"announce_peer":    {"d1:ad2:id" + id1 + "9:info_hash" + id2 + "4:porti6881e5:token2:tte1:q13:announce_peer1:t1:a1:y1:qe", "d1:ad2:id" + id1 + "9:info_hash" + id2 + "4:porti6881e5:token2:tte1:q13:announce_peer1:t1:a1:y1:qe"},
	"read-only":        {"d1:ad2:id" + id1 + "e1:q4:ping2:roi1e1:t2:aa1:y1:qe", "d1:ad2:id" + id1 + "e1:q4:ping2:roi1e1:t2:aa1:y1:qe"},
	"answer":           {"d2:ip6:abcdef1:rd2:id" + id1 + "5:token1:t6:valuesl6:abcdef2:xxee1:t1:a1:y1:re", "d2:ip6:abcdef1:rd2:id" + id1 + "5:token1:t6:valuesl6:abcdefee1:t1:a1:y1:re"},
	"error":            {"d1:eli201e5:oopsee1:t1:a1:y1:ee", "d1:eli201e0:e1:t1:a1:y1:ee"},
	"bytes after it":   {"d1:ad2:id" + id1 + "e1:q4:ping1:t2:aa1:y1:qe\x00\x00", "d1:ad2:id" + id1 + "e1:q4:ping1:t2:aa1:y1:qe"},
	"unknown method":   {"d1:ad2:id" + id1 + "e1:q5:hello1:t2:aa1:y1:qe", "d1:ad2:id" + id1 + "e1:q7:unknown1:t2:aa1:y1:qe"},
	"put":              {"d1:ad2:id" + id1 + "1:v5:hello5:token1:t3:seqi1ee1:q3:put1:t2:aa1:y1:qe", "d1:ad2:id" + id1 + "5:token1:te1:q7:unknown1:t2:aa1:y1:qe"},
	"no arguments":     {"d1:q13:announce_peer1:t2:aa1:y1:qe", ""}, // the library panics
	"short ip":         {"d2:ip0:1:rd2:id" + id1 + "e1:t1:a1:y1:re", "d1:rd2:id" + id1 + "e1:t1:a1:y1:re"},
	"a short peer":     {"d1:rd2:id" + id1 + "6:valuesl1:xee1:t1:a1:y1:re", "d1:rd2:id" + id1 + "e1:t1:a1:y1:re"},
	"no id":            {"d1:ad4:porti1ee1:q4:ping1:t2:aa1:y1:qe", ""},
	"short id":         {"d1:rd2:id3:abce1:t1:a1:y1:re", ""},
	"nodes cut off":    {"d1:rd2:id" + id1 + "5:nodes3:abce1:t1:a1:y1:re", "d1:rd2:id" + id1 + "e1:t1:a1:y1:re"},
	"no transaction":   {"d1:ad2:id" + id1 + "e1:q4:ping1:y1:qe", ""},
	"port 0":           {"d1:ad2:id" + id1 + "9:info_hash" + id2 + "4:porti0e5:token2:tte1:q13:announce_peer1:t1:a1:y1:qe", ""},
	"a huge port":      {"d1:ad2:id" + id1 + "9:info_hash" + id2 + "4:porti70000e5:token2:tte1:q13:announce_peer1:t1:a1:y1:qe", ""},
	"get_peers of all": {"d1:ad2:id" + id1 + "e1:q9:get_peers1:t2:aa1:y1:qe", ""},
	"no kind":          {"d1:t2:aae", ""},
	"a list":           {"le", ""},
	"not bencoded":     {"hello", ""},
	"deep":             {"d1:ad2:id" + strings.Repeat("l", 50) + strings.Repeat("e", 50) + "e1:q4:ping1:t2:aa1:y1:qe", ""},
	"a long string":    {"d1:t999999999:x", ""},
	"types":            {"d1:ai5e1:ei5e1:qi5e1:rle1:t2:aa1:y1:qe", ""},
}

func TestClean(t *testing.T) {
	for name, c := range packets {
		p, ok := clean([]byte(c.in))
		if ok != (c.out != "") || ok && string(p.text) != c.out {
			t.Errorf("%s: %v %q, want %q", name, ok, p.text, c.out)
		}
	}
	many := "d1:rd2:id" + id1 + "5:nodes" + string(str(make([]byte, 100*26))) + "6:valuesl" + strings.Repeat("6:abcdef", 150) + "ee1:t1:a1:y1:re"
	p, ok := clean([]byte(many))
	var m krpc.Msg
	if err := bencode.Unmarshal(p.text, &m); err != nil || !ok || len(m.R.Values) != maxValues || len(m.R.Nodes) != maxNodes {
		t.Errorf("%d peers and %d nodes were left, %v", len(m.R.Values), len(m.R.Nodes), err)
	}
}

func TestReadOnlyMark(t *testing.T) {
	ping, answer := packets["ping"].in, packets["answer"].in
	if got := string(readOnly([]byte(ping))); got != packets["read-only"].in {
		t.Errorf("%q", got)
	}
	if got := string(readOnly([]byte(answer))); got != answer {
		t.Errorf("an answer became %q", got)
	}
}

// What is let through is what the library decodes without an error, let alone a panic.
func FuzzClean(f *testing.F) {
	for _, c := range packets {
		f.Add([]byte(c.in))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, ok := clean(b)
		if !ok {
			return
		}
		var m krpc.Msg
		if err := bencode.Unmarshal(p.text, &m); err != nil {
			t.Fatalf("%q: %v", p.text, err)
		}
		if again, ok := clean(p.text); !ok || string(again.text) != string(p.text) {
			t.Errorf("%q is cleaned to %q", p.text, again.text)
		}
		if p.query && m.A == nil || !p.query && m.R == nil && m.E == nil {
			t.Errorf("%q: something is missing: %s", p.text, fmt.Sprint(m))
		}
	})
}
