package swarm

import (
	"bytes"
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
	web       bool // no peer but a web server
	fast      bool
	remote    [20]byte
	client    string
	port      uint16 // where it accepts connections; zero: not known
	since     time.Time
	delivered int64     // bytes, wanted or not
	used      time.Time // when it last gave what was wanted or took something, or came

	chokesUs     bool
	uploadOnly   bool  // wants nothing (BEP 21)
	extended     bool  // its extended handshake has come
	untold       []int // pieces lost before that
	weInterested bool
	snubbed      bool // owes and does not deliver
	snubbedAt    time.Time
	heard        time.Time // when it last answered a request, however
	doubted      time.Time // since when it may be gone without our hearing of it
	verified     int       // pieces that it alone delivered and that were good

	weChoke    bool
	interested bool
	unchoked   time.Time // when its last turn to be served began
	exchange
	queue   []wire.Request // its requests that wait to be served
	serving int64          // bytes given to Serve and not written yet
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
			if !p.extended {
				s.self.vote(ev.YourIP)
				s.tellUntold(p)
			}
			p.client, p.port, p.uploadOnly = ev.Client, ev.Port, ev.UploadOnly
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
	case PeerLacks:
		if p := s.peers[ev.Peer]; p != nil {
			s.peerLacks(p, ev.Piece)
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
			s.interestChanged(p)
		}
	}
}

func (s *Swarm) peerConnected(ev PeerConnected) {
	var news []int
	if ev.Outgoing {
		news = s.dialEnded(ev.Addr)
		s.addrs.met(ev.Addr)
		s.share.full = time.Time{}
	}
	p := &peer{
		id: ev.Peer, addr: ev.Addr, outgoing: ev.Outgoing, web: ev.Web, fast: ev.Fast, remote: ev.Remote,
		since: s.now, used: s.now, chokesUs: true, weChoke: true,
	}
	p.turn = s.choker.left[p.addr.Addr()]
	s.peers[p.id] = p
	s.order = append(s.order, p.id)
	s.pick.Attach(p.id, p.fast)
	if p.web {
		s.webs++
		s.pick.SetInOrder(p.id)
	}
	switch {
	case p.remote == s.cfg.PeerID:
		s.addrs.ban(p.addr)
		s.drop(p, "it is ourselves")
		return
	case s.refused(p):
		s.drop(p, "banned")
		return
	}
	if p.web {
		return
	}
	if o := s.twin(p); o != nil {
		lost := s.lesser(o, p)
		s.drop(lost, "connected already")
		if lost == p {
			return
		}
	}
	if s.connected() > s.bound(s.cfg.MaxPeers) {
		lost := s.worst(p)
		s.drop(lost, "there are better peers")
		if lost == p {
			return
		}
	}
	if !p.outgoing {
		s.greet(p)
		return
	}
	p.weInterested = !s.cfg.SeedOnly && !s.completed || len(news) > 0 // as the opening said
	for _, i := range news {
		s.do(Send{p.id, wire.Have{Index: uint32(i)}})
	}
}

// refused reports whether a peer is banned, by its address and port or as a host
// that keeps coming back from other ports. Somebody honest may live behind the
// same address: a host is not refused that gave good pieces or that we dialled.
func (s *Swarm) refused(p *peer) bool {
	if s.addrs.banned(p.addr) {
		return true
	}
	host := p.addr.Addr()
	return !p.outgoing && s.banIPs[host] >= 3 && !s.goodIPs[host]
}

// twin returns the same peer's other connection, nil when there is none.
func (s *Swarm) twin(p *peer) *peer {
	for _, id := range s.order {
		if o := s.peers[id]; o != p && o.remote == p.remote && o.addr.Addr() == p.addr.Addr() {
			return o
		}
	}
	return nil
}

// lesser returns which of two connections to the same peer is to go. When both
// sides have dialled at once, both must give up the same one: it is that which
// the side with the smaller peer id made. Otherwise it is the newer.
func (s *Swarm) lesser(old, newer *peer) *peer {
	if old.outgoing == newer.outgoing {
		return newer
	}
	ours := bytes.Compare(s.cfg.PeerID[:], newer.remote[:]) < 0
	if newer.outgoing == ours {
		return newer
	}
	return old
}

// opening is what is said on a connection that we make: what we have, and that we
// are interested. A bitfield is right with and without the fast extension (BEP 6),
// which is not known yet.
func (s *Swarm) opening(addr netip.AddrPort) []wire.Message {
	s.told[addr] = len(s.news)
	msgs := []wire.Message{wire.Bitfield{Bits: s.pick.Bitfield()}}
	if !s.uploadOnly() {
		msgs = append(msgs, wire.Interested{})
	}
	return msgs
}

// dialEnded forgets a dial and returns the pieces that came since its opening.
func (s *Swarm) dialEnded(addr netip.AddrPort) []int {
	s.dials--
	news := s.news[s.told[addr]:]
	delete(s.told, addr)
	if len(s.told) == 0 {
		s.news = nil
	}
	return news
}

// greet tells a peer that connected to us what we have (BEP 3, bitfield; BEP 6,
// Have All and Have None).
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

// drop ends a connection. The peer is out of the swarm at once, whatever still
// comes from it; its address is free when the connection has ended.
func (s *Swarm) drop(p *peer, why string) {
	s.withdraw(s.pick.Release(p.id))
	s.remove(p)
	s.leaving[p.id] = p
	s.do(Disconnect{p.id, why})
}

// remove forgets a peer but for its address.
func (s *Swarm) remove(p *peer) {
	s.pick.Detach(p.id)
	delete(s.peers, p.id)
	if p.web {
		s.webs--
	}
	s.order = slices.DeleteFunc(s.order, func(id PeerID) bool { return id == p.id })
	s.remember(p)
	s.rememberTurn(p)
	s.dirty = true
	s.fillSlots()
}

func (s *Swarm) peerGone(ev PeerGone) {
	p := s.leaving[ev.Peer]
	if p != nil {
		delete(s.leaving, p.id)
	} else if p = s.peers[ev.Peer]; p != nil {
		s.remove(p)
	} else {
		return
	}
	if p.outgoing {
		s.addrs.left(s.now, p.addr, p.delivered > 0 && !ev.Broke)
	}
	if ev.Flood {
		s.ban(p.id, "sent a flood of messages")
	}
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

// connected returns how many peers there are, web servers not counted.
func (s *Swarm) connected() int { return len(s.peers) - s.webs }

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
	useful := !s.cfg.SeedOnly && s.pick.Useful(p.id)
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
