package trackerd

import (
	"net/netip"
	"sync"
	"time"
)

const maxAnswer = 200 // peers in one answer, of each family

// event values, as BEP 15 numbers them.
const (
	eventNone = iota
	eventCompleted
	eventStarted
	eventStopped
)

type announce struct {
	infoHash [20]byte
	peer     netip.AddrPort
	left     int64
	event    uint32
	numWant  int // negative: as many as one answer holds
}

type answer struct {
	peers4, peers6    []netip.AddrPort
	seeders, leechers int
}

type peer struct {
	seen time.Time
	seed bool
}

type swarm struct {
	peers     map[netip.AddrPort]peer
	seeders   int
	completed int
}

func (s *swarm) remove(a netip.AddrPort) {
	if s.peers[a].seed {
		s.seeders--
	}
	delete(s.peers, a)
}

func (s *swarm) set(a netip.AddrPort, p peer) {
	s.remove(a)
	s.peers[a] = p
	if p.seed {
		s.seeders++
	}
}

// registry holds every swarm.
type registry struct {
	ttl                   time.Duration // of a peer that does not announce
	maxTorrents, maxPeers int

	mu     sync.Mutex // protects what follows
	swarms map[[20]byte]*swarm
	swept  time.Time
}

// announce records a and returns its answer, and false if the registry is full.
func (r *registry) announce(now time.Time, a announce) (answer, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sweep(now)
	s := r.swarms[a.infoHash]
	if s == nil {
		if a.event == eventStopped {
			return answer{}, true
		}
		if len(r.swarms) >= r.maxTorrents {
			return answer{}, false
		}
		s = &swarm{peers: make(map[netip.AddrPort]peer)}
		r.swarms[a.infoHash] = s
	}
	_, known := s.peers[a.peer]
	switch {
	case a.event == eventStopped:
		s.remove(a.peer)
	case known || len(s.peers) < r.maxPeers:
		s.set(a.peer, peer{seen: now, seed: a.left == 0})
	}
	if a.event == eventCompleted {
		s.completed++
	}
	return s.answer(a), true
}

// answer picks peers for a: seeds get no seeds, nobody gets itself. The order
// is that of Go's map, which starts at a random place.
func (s *swarm) answer(a announce) answer {
	ans := answer{seeders: s.seeders, leechers: len(s.peers) - s.seeders}
	want := maxAnswer
	if a.numWant >= 0 {
		want = min(want, a.numWant)
	}
	if a.event == eventStopped {
		want = 0
	}
	for addr, p := range s.peers {
		if addr == a.peer || p.seed && a.left == 0 {
			continue
		}
		list := &ans.peers6
		if addr.Addr().Is4() {
			list = &ans.peers4
		}
		if len(*list) < want {
			*list = append(*list, addr)
		}
	}
	return ans
}

// sweep drops what has expired, now and then.
func (r *registry) sweep(now time.Time) {
	if now.Sub(r.swept) < r.ttl/4 {
		return
	}
	r.swept = now
	for hash, s := range r.swarms {
		for addr, p := range s.peers {
			if now.Sub(p.seen) > r.ttl {
				s.remove(addr)
			}
		}
		if len(s.peers) == 0 {
			delete(r.swarms, hash)
		}
	}
}

// scrape returns seeders, completed and leechers; zeros for the unknown.
func (r *registry) scrape(hash [20]byte) (seeders, completed, leechers int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.swarms[hash]
	if s == nil {
		return 0, 0, 0
	}
	return s.seeders, s.completed, len(s.peers) - s.seeders
}

// appendCompact appends p as BEP 23 and BEP 7 write it.
func appendCompact(b []byte, peers []netip.AddrPort) []byte {
	for _, p := range peers {
		b = append(b, p.Addr().AsSlice()...)
		b = append(b, byte(p.Port()>>8), byte(p.Port()))
	}
	return b
}
