package dht

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/anacrolix/dht/v2/krpc"
	peer_store "github.com/anacrolix/dht/v2/peer-store"
)

const (
	// storeHashes and storePeers bound what others may keep with us.
	storeHashes = 1000
	storePeers  = 100
	// storeFor is how long a peer is kept that does not announce again.
	storeFor = 45 * time.Minute
	// storeAnswer is how many peers one answer tells: it has to fit into a datagram.
	storeAnswer = 50
)

// store keeps the peers that were announced to us (BEP 5, announce_peer), bounded. It
// implements the library's peer store.
type store struct {
	// told is called with each peer that announces itself, without locks.
	told func(h [20]byte, peer netip.AddrPort)

	mu     sync.Mutex
	hashes map[peer_store.InfoHash][]stored // the newest last
}

type stored struct {
	addr krpc.NodeAddr
	at   time.Time
}

func newStore(told func(h [20]byte, peer netip.AddrPort)) *store {
	return &store{told: told, hashes: map[peer_store.InfoHash][]stored{}}
}

// AddPeer keeps a peer. What is full gives up the oldest peer of a torrent; a torrent
// more is not kept unless one has run out.
func (s *store) AddPeer(h peer_store.InfoHash, addr krpc.NodeAddr) {
	if addr.Port <= 0 || addr.Port > 65535 {
		return
	}
	s.told(h, addrOf(addr))
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hashes[h] == nil && len(s.hashes) >= storeHashes {
		s.sweep(now)
		if len(s.hashes) >= storeHashes {
			return
		}
	}
	addr.IP = slices.Clone(addr.IP)
	list := slices.DeleteFunc(s.hashes[h], func(p stored) bool { return p.addr.Equal(addr) })
	if len(list) >= storePeers {
		list = slices.Delete(list, 0, 1)
	}
	s.hashes[h] = append(list, stored{addr, now})
}

func (s *store) sweep(now time.Time) {
	for h, list := range s.hashes {
		if now.Sub(list[len(list)-1].at) > storeFor {
			delete(s.hashes, h)
		}
	}
}

// GetPeers returns the peers of a torrent that announced themselves last.
func (s *store) GetPeers(h peer_store.InfoHash) (addrs []krpc.NodeAddr) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range slices.Backward(s.hashes[h]) {
		if len(addrs) == storeAnswer || now.Sub(p.at) > storeFor {
			break
		}
		addrs = append(addrs, p.addr)
	}
	return addrs
}

// nodeAddr is how the library writes an address; an IPv4 address has four bytes.
func nodeAddr(ip net.IP, port int) krpc.NodeAddr {
	if v4 := ip.To4(); v4 != nil {
		ip = v4
	}
	return krpc.NodeAddr{IP: ip, Port: port}
}
