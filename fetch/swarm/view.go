package swarm

import (
	"net/netip"
	"time"
)

// PeerView is a peer as status shows it.
type PeerView struct {
	ID           PeerID
	Addr         netip.AddrPort
	Outgoing     bool
	Web          bool           // no peer but a web server
	Source       string         // who named its address, or Incoming
	Listen       netip.AddrPort // where others can connect to it; zero: not known
	Seed         bool
	Client       string
	Remote       [20]byte
	Since        time.Time
	Pieces       int // that it has
	Owes         int // blocks that we asked for
	Rate         float64
	RTT          time.Duration
	ChokesUs     bool
	WeInterested bool
	Snubbed      bool
	WeChoke      bool
	Interested   bool
	Queue        int // blocks that it asked for
}

// Peers returns the connected peers in order of arrival.
func (s *Swarm) Peers() []PeerView {
	list := make([]PeerView, 0, len(s.order))
	for _, id := range s.order {
		p := s.peers[id]
		owes, _ := s.pick.Owes(id)
		rate, rtt := s.pick.Rate(id)
		list = append(list, PeerView{
			ID: id, Addr: p.addr, Outgoing: p.outgoing, Web: p.web, Source: s.source(p), Listen: p.listen(),
			Seed: s.pick.IsSeed(id), Client: p.client, Remote: p.remote, Since: p.since,
			Pieces: s.pick.Progress(id), Owes: owes, Rate: rate, RTT: rtt,
			ChokesUs: p.chokesUs, WeInterested: p.weInterested, Snubbed: p.snubbed,
			WeChoke: p.weChoke, Interested: p.interested, Queue: len(p.queue),
		})
	}
	return list
}

func (s *Swarm) source(p *peer) string {
	if !p.outgoing {
		return Incoming
	}
	return s.addrs.sourceOf(p.addr)
}

// listen returns where others can connect to a peer. The port that one comes from is
// not it.
func (p *peer) listen() netip.AddrPort {
	switch {
	case p.outgoing:
		return p.addr
	case p.port != 0:
		return netip.AddrPortFrom(p.addr.Addr(), p.port)
	default:
		return netip.AddrPort{}
	}
}

// Sources returns how many addresses of peers are known by who named them first.
func (s *Swarm) Sources() map[string]int {
	known := map[string]int{}
	for source, n := range s.addrs.known {
		if n > 0 && source != "" {
			known[source] = n
		}
	}
	return known
}

// Known returns how many addresses of peers are known.
func (s *Swarm) Known() int { return len(s.addrs.book) }

// Dialling returns how many dials are under way.
func (s *Swarm) Dialling() int { return s.dials }
