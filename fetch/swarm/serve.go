package swarm

import (
	"slices"

	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// serveWindow is how many bytes may be on their way from the cache to the socket
// of one peer.
const serveWindow = 512 << 10

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

// serve moves requests from the peer's queue to the cache while the window has room
// and the seeding is not at its goal.
func (s *Swarm) serve(p *peer) {
	for len(p.queue) > 0 && p.serving < serveWindow {
		if !s.mayServe() {
			s.seeding.held = true
			return
		}
		r := p.queue[0]
		p.queue = p.queue[1:]
		if !s.pick.Has(int(r.Index)) { // lost meanwhile
			s.reject(p, r)
			continue
		}
		p.serving += int64(r.Length)
		s.seeding.serving += int64(r.Length)
		s.do(Serve{p.id, r})
	}
}

func (s *Swarm) blockServed(ev BlockServed) {
	s.seeding.serving -= int64(ev.Req.Length)
	if ev.Sent {
		s.stats.Uploaded += int64(ev.Req.Length)
	}
	if p := s.peers[ev.Peer]; p != nil {
		p.serving -= int64(ev.Req.Length)
		if ev.Sent {
			s.served(p, int64(ev.Req.Length))
		} else if !p.weChoke {
			s.reject(p, ev.Req)
		}
		s.serve(p)
	}
	s.watchSeeding()
}
