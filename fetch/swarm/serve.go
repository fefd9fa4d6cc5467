package swarm

import (
	"slices"
	"time"

	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// serveWindow is how many bytes may be on their way from the cache to the socket
// of one peer.
const serveWindow = 512 << 10

// slots decides whom we unchoke: a fixed number of interested peers, and every
// rotateEvery the one that was served longest gives its slot to one that waits.
type slots struct{ rotated time.Time }

func (s *Swarm) unchokedCount() int {
	n := 0
	for _, p := range s.peers {
		if !p.weChoke {
			n++
		}
	}
	return n
}

// unchokeFree gives free slots to interested peers, those first that have waited
// longest, and takes the slots of peers that lost interest when others wait.
func (s *Swarm) unchokeFree() {
	for _, p := range s.waiting() {
		if s.unchokedCount() >= s.cfg.UploadSlots && !s.chokeIdle() {
			return
		}
		s.unchoke(p)
	}
}

// waiting returns the interested peers that we choke, longest waiting first.
func (s *Swarm) waiting() []*peer {
	var list []*peer
	for _, id := range s.order {
		if p := s.peers[id]; p.interested && p.weChoke {
			list = append(list, p)
		}
	}
	slices.SortStableFunc(list, func(a, b *peer) int { return a.unchoked.Compare(b.unchoked) })
	return list
}

// chokeIdle takes the slot of a peer that is not interested any more.
func (s *Swarm) chokeIdle() bool {
	for _, id := range s.order {
		if p := s.peers[id]; !p.weChoke && !p.interested {
			s.choke(p)
			return true
		}
	}
	return false
}

func (s *Swarm) rotate() {
	if s.now.Sub(s.slots.rotated) < rotateEvery {
		return
	}
	s.slots.rotated = s.now
	s.unchokeFree()
	waiting := s.waiting()
	if len(waiting) == 0 || s.cfg.UploadSlots < 0 {
		return
	}
	var longest *peer
	for _, id := range s.order {
		if p := s.peers[id]; !p.weChoke && (longest == nil || p.unchoked.Before(longest.unchoked)) {
			longest = p
		}
	}
	if longest != nil {
		s.choke(longest)
		s.unchoke(waiting[0])
	}
}

func (s *Swarm) unchoke(p *peer) {
	p.weChoke, p.unchoked = false, s.now
	s.do(Send{p.id, wire.Unchoke{}})
}

// choke stops serving a peer and forgets its queue. The connection rejects what
// was in it, as BEP 6 asks for.
func (s *Swarm) choke(p *peer) {
	p.weChoke, p.queue = true, nil
	s.do(Send{p.id, wire.Choke{}})
}

func (s *Swarm) peerRequests(ev PeerRequests) {
	p := s.peers[ev.Peer]
	if p == nil {
		return
	}
	if p.weChoke || !s.pick.Has(int(ev.Req.Index)) {
		s.reject(p, ev.Req)
		return
	}
	p.queue = append(p.queue, ev.Req)
	s.serve(p)
}

func (s *Swarm) reject(p *peer, r wire.Request) {
	if p.fast {
		s.do(Send{p.id, wire.Reject(r)})
	}
}

func (s *Swarm) peerCancels(ev PeerCancels) {
	p := s.peers[ev.Peer]
	if p == nil {
		return
	}
	if at := slices.Index(p.queue, ev.Req); at >= 0 {
		p.queue = slices.Delete(p.queue, at, at+1) // answered by the connection
	}
}

// serve moves requests from the peer's queue to the cache while the window has
// room.
func (s *Swarm) serve(p *peer) {
	for len(p.queue) > 0 && p.serving < serveWindow {
		r := p.queue[0]
		p.queue = p.queue[1:]
		p.serving += int64(r.Length)
		s.do(Serve{p.id, r})
	}
}

func (s *Swarm) blockServed(ev BlockServed) {
	if ev.Sent {
		s.stats.Uploaded += int64(ev.Req.Length)
	}
	p := s.peers[ev.Peer]
	if p == nil {
		return
	}
	p.serving -= int64(ev.Req.Length)
	if !ev.Sent && !p.weChoke {
		s.reject(p, ev.Req)
	}
	s.serve(p)
}
