package trackerd

import (
	"bytes"
	"net/netip"
	"testing"
	"time"
)

func TestPeersExpire(t *testing.T) {
	r := &registry{ttl: time.Minute, maxTorrents: 10, maxPeers: 10, swarms: make(map[[20]byte]*swarm)}
	now := time.Unix(1000, 0)
	at := func(port uint16) announce {
		return announce{peer: netip.AddrPortFrom(netip.MustParseAddr("9.9.9.9"), port), numWant: -1}
	}
	r.announce(now, at(1))
	now = now.Add(50 * time.Second)
	if ans, _ := r.announce(now, at(2)); ans.seeders != 2 {
		t.Errorf("before: %+v", ans)
	}
	now = now.Add(30 * time.Second)
	if ans, _ := r.announce(now, at(2)); ans.seeders != 1 || ans.leechers != 0 {
		t.Errorf("after: %+v", ans)
	}
	other := at(3)
	other.infoHash[0] = 1
	if r.announce(now.Add(time.Hour), other); len(r.swarms) != 1 {
		t.Errorf("%d swarms, want the empty one gone", len(r.swarms))
	}
}

func TestAnswerIsCapped(t *testing.T) {
	r := &registry{ttl: time.Minute, maxTorrents: 10, maxPeers: 1000, swarms: make(map[[20]byte]*swarm)}
	a := announce{left: 1, numWant: -1}
	for i := range 600 {
		a.peer = netip.AddrPortFrom(netip.MustParseAddr([]string{"9.9.9.9", "2001:db8::1"}[i%2]), uint16(i+1))
		r.announce(time.Unix(0, 0), a)
	}
	ans, _ := r.announce(time.Unix(0, 0), a)
	if len(ans.peers4) != maxAnswer || len(ans.peers6) != maxAnswer || ans.leechers != 600 {
		t.Errorf("%d and %d peers of %d", len(ans.peers4), len(ans.peers6), ans.leechers)
	}
	a.numWant = 7
	if ans, _ := r.announce(time.Unix(0, 0), a); len(ans.peers4) != 7 {
		t.Errorf("%d peers, 7 wanted", len(ans.peers4))
	}
	a.event = eventStopped
	if ans, _ := r.announce(time.Unix(0, 0), a); len(ans.peers4) != 0 || ans.leechers != 599 {
		t.Errorf("stopped: %+v", ans)
	}
}

func FuzzAnswerUDP(f *testing.F) {
	s := New(Options{MaxTorrents: 4, MaxPeers: 4})
	f.Add(make([]byte, 98), true)
	f.Add([]byte{0, 0, 4, 0x17, 0x27, 0x10, 0x19, 0x80, 0, 0, 0, 0, 1, 2, 3, 4}, false)
	f.Add([]byte("short"), true)
	f.Fuzz(func(t *testing.T, in []byte, valid bool) {
		b := bytes.Clone(in) // else the id gets into the corpus
		now, from := time.Unix(5000, 0), netip.MustParseAddrPort("127.0.0.1:1000")
		if valid && len(b) >= 16 {
			id := s.connID(now, from)
			for i := range 8 {
				b[i] = byte(id >> (56 - 8*i))
			}
		}
		if out := s.answerUDP(now, from, b); !valid && len(out) > len(b) {
			t.Errorf("%d bytes for %d from a source without a connection id", len(out), len(b))
		}
	})
}
