package swarm

import (
	"net/netip"
	"slices"
	"time"

	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// peer is a connected peer as the swarm sees it.
type peer struct {
	id        PeerID
	addr      netip.AddrPort
	outgoing  bool
	fast      bool
	remote    [20]byte
	client    string
	since     time.Time
	delivered int64 // bytes, wanted or not

	chokesUs     bool
	weInterested bool
	snubbed      bool // owes and does not deliver
	verified     int  // pieces that it alone delivered and that were good

	weChoke    bool
	interested bool
	unchoked   time.Time      // when we last unchoked it
	queue      []wire.Request // its requests that wait to be served
	serving    int64          // bytes given to Serve and not written yet
}

// stepPeer takes in the events of connections.
func (s *Swarm) stepPeer(ev Event) {
	switch ev := ev.(type) {
	case PeerConnected:
		s.peerConnected(ev)
	case PeerGone:
		s.peerGone(ev)
	case PeerExtended:
		if p := s.peers[ev.Peer]; p != nil {
			p.client = ev.Client
			if ev.ReqQ > 0 {
				s.pick.SetQueue(p.id, ev.ReqQ)
			}
		}
	case PeerHasSet:
		if p := s.peers[ev.Peer]; p != nil {
			s.pick.SetHas(p.id, ev.Set)
			s.updateInterest(p)
			s.dirty = true
		}
	case PeerHas:
		if p := s.peers[ev.Peer]; p != nil {
			s.pick.Have(p.id, ev.Piece)
			if !p.weInterested && !s.pick.Has(ev.Piece) {
				s.updateInterest(p)
			}
			s.dirty = true
		}
	case PeerChokes:
		if p := s.peers[ev.Peer]; p != nil {
			p.chokesUs = ev.Choke
			s.pick.SetOpen(p.id, !ev.Choke)
			s.dirty = true
		}
	case PeerAllows:
		if p := s.peers[ev.Peer]; p != nil {
			s.pick.Allow(p.id, ev.Piece)
			s.dirty = true
		}
	case PeerInterested:
		if p := s.peers[ev.Peer]; p != nil {
			p.interested = ev.Interested
			s.unchokeFree()
		}
	}
}

func (s *Swarm) peerConnected(ev PeerConnected) {
	if ev.Outgoing {
		s.dials--
		s.addrs.met(ev.Addr)
	}
	p := &peer{
		id: ev.Peer, addr: ev.Addr, outgoing: ev.Outgoing, fast: ev.Fast, remote: ev.Remote,
		since: s.now, chokesUs: true, weChoke: true,
	}
	s.peers[p.id] = p
	s.order = append(s.order, p.id)
	s.pick.Attach(p.id, p.fast)
	switch {
	case p.remote == s.cfg.PeerID:
		s.addrs.ban(p.addr)
		s.do(Disconnect{p.id, "it is ourselves"})
		return
	case s.refused(p.addr):
		s.do(Disconnect{p.id, "banned"})
		return
	case s.twin(p):
		s.do(Disconnect{p.id, "connected already"})
		return
	}
	s.greet(p)
}

// refused reports whether addr is banned, itself or as a host that keeps coming
// back from other ports while nobody honest is connected from there.
func (s *Swarm) refused(addr netip.AddrPort) bool {
	if s.addrs.banned(addr) {
		return true
	}
	if s.banIPs[addr.Addr()] < 3 {
		return false
	}
	for _, p := range s.peers {
		if p.addr.Addr() == addr.Addr() && p.verified > 0 {
			return false
		}
	}
	return true
}

// twin reports whether the same peer is connected already.
func (s *Swarm) twin(p *peer) bool {
	for _, o := range s.peers {
		if o != p && o.remote == p.remote && o.addr.Addr() == p.addr.Addr() {
			return true
		}
	}
	return false
}

// greet tells a new peer what we have (BEP 3, bitfield; BEP 6, Have All and Have
// None).
func (s *Swarm) greet(p *peer) {
	switch n := s.pick.Count(); {
	case p.fast && n == 0:
		s.do(Send{p.id, wire.HaveNone{}})
	case p.fast && s.complete():
		s.do(Send{p.id, wire.HaveAll{}})
	case n > 0:
		s.do(Send{p.id, wire.Bitfield{Bits: s.pick.Bitfield()}})
	}
}

func (s *Swarm) peerGone(ev PeerGone) {
	p := s.peers[ev.Peer]
	if p == nil {
		return
	}
	s.pick.Detach(p.id)
	delete(s.peers, p.id)
	s.order = slices.DeleteFunc(s.order, func(id PeerID) bool { return id == p.id })
	s.remember(p)
	if p.outgoing {
		s.addrs.left(s.now, p.addr, p.delivered > 0 && !ev.Broke)
	}
	s.dirty = true
	s.unchokeFree()
	s.dial()
	s.findPeers()
}

// remember keeps the address of a peer that left, for blame that comes later.
func (s *Swarm) remember(p *peer) {
	if len(s.gone) >= 1000 {
		clear(s.gone)
	}
	s.gone[p.id] = p.addr
}

func (s *Swarm) addrOf(id PeerID) (netip.AddrPort, bool) {
	if p := s.peers[id]; p != nil {
		return p.addr, true
	}
	a, ok := s.gone[id]
	return a, ok
}

// updateInterest tells the peer whether we want anything of it. We are
// interested in everything that is missing, wanted now or not: a peer takes its
// time to unchoke, and a read does not want to wait for that.
func (s *Swarm) updateInterest(p *peer) {
	useful := s.pick.Useful(p.id)
	if useful == p.weInterested {
		return
	}
	p.weInterested = useful
	if useful {
		s.do(Send{p.id, wire.Interested{}})
	} else {
		s.do(Send{p.id, wire.NotInterested{}})
	}
}
