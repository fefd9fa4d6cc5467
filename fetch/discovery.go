package fetch

import (
	"iter"
	"net/netip"
	"slices"
	"time"

	"github.com/qqbtfs/qqbtfs/fetch/dht"
	"github.com/qqbtfs/qqbtfs/fetch/lsd"
	"github.com/qqbtfs/qqbtfs/fetch/pex"
	"github.com/qqbtfs/qqbtfs/fetch/swarm"
	"github.com/qqbtfs/qqbtfs/fetch/tracker"
	"github.com/qqbtfs/qqbtfs/peerconn"
	"github.com/qqbtfs/qqbtfs/peerconn/proto"
	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// idPEX is the id under which we want to get messages of ut_pex (BEP 10).
const idPEX = 2

// gossipEvery is how often is looked whether there is something to tell peers of peers.
const gossipEvery = 2 * time.Second

// Discovery says by which ways besides trackers a Session finds peers. Private torrents
// (BEP 27) use none of them. The zero value uses peer exchange only.
type Discovery struct {
	// DHT takes part in the distributed hash table (BEP 5).
	DHT bool
	// Bootstrap has nodes to begin with, as HOST:PORT; nil means those that everybody
	// knows.
	Bootstrap []string
	// State is the file that the table is kept in; "": none.
	State string
	// LSD finds peers on the local network (BEP 14).
	LSD bool
}

// search is one way to find peers of a torrent, beside the trackers, until it is closed.
// Want tells that peers run low. Neither waits for the network.
type search interface {
	Want()
	Close()
}

type searches []search

// Want tells that peers run low.
func (l searches) Want() {
	for _, s := range l {
		s.Want()
	}
}

// Close ends all of them; nothing is reported any more.
func (l searches) Close() {
	for _, s := range l {
		s.Close()
	}
}

// startDiscovery opens the ways to find peers. One that cannot be opened is no reason to
// fail.
func (s *Session) startDiscovery() {
	d, addrs := s.cfg.Discovery, s.Addrs()
	if d.LSD && len(addrs) > 0 && !s.cfg.Policy.Proxied() {
		n, err := lsd.New(lsd.Config{Addrs: addrs, Allow: s.cfg.Policy.Uses, Logger: s.log})
		if err != nil {
			s.log.Warn("no local discovery", "err", err)
		}
		s.lsd = n
	}
	if !d.DHT {
		return
	}
	if d.Bootstrap == nil && !onlyLoopback(addrs) {
		d.Bootstrap = dht.Bootstrap
	}
	if len(addrs) == 0 {
		addrs = []netip.AddrPort{netip.AddrPortFrom(netip.IPv6Unspecified(), 0)}
	}
	n, err := dht.New(dht.Config{
		Addrs: addrs, Bootstrap: d.Bootstrap, State: d.State, Logger: s.log,
		Listen: s.cfg.Policy.ListenPacket, Lookup: s.cfg.Policy.LookupNetIP,
	})
	if err != nil {
		s.log.Warn("no DHT", "err", err)
	}
	s.dht = n
}

// onlyLoopback reports whether all that we listen on is loopback: nobody elsewhere
// could answer.
func onlyLoopback(addrs []netip.AddrPort) bool {
	for _, a := range addrs {
		if !a.Addr().IsLoopback() {
			return false
		}
	}
	return len(addrs) > 0
}

func (s *Session) stopDiscovery() {
	if s.lsd != nil {
		s.lsd.Close()
	}
	if s.dht != nil {
		s.dht.Close()
	}
}

// DHT returns how the DHT is; nil: there is none.
func (s *Session) DHT() *dht.Status {
	if s.dht == nil {
		return nil
	}
	st := s.dht.Status()
	return &st
}

// search looks for the peers of a swarm by all ways that there are but trackers and peer
// exchange. Nothing of a private torrent may be looked for. found must not block, and it
// may be called from several goroutines.
func (s *Session) search(hash [20]byte, found func(addrs []netip.AddrPort, source string)) (list searches) {
	if s.lsd != nil {
		list = append(list, s.lsd.Search(hash, func(addrs []netip.AddrPort) { found(addrs, swarm.FromLSD) }))
	}
	if s.dht != nil {
		list = append(list, s.dht.Search(hash, s.Port, func(from netip.Addr, addrs []netip.AddrPort) {
			if addrs = credible(from, addrs); len(addrs) > 0 {
				found(addrs, swarm.FromDHT)
			}
		}))
	}
	return list
}

// newSearches looks for peers in each swarm of the torrent.
func (t *Torrent) newSearches() (list searches) {
	if t.meta.Info.Private || t.cfg.Quiet {
		return nil
	}
	for _, hash := range t.hashes {
		list = append(list, t.s.search(hash, func(addrs []netip.AddrPort, source string) {
			t.noteSwarm(hash, addrs)
			t.AddPeers(addrs, source)
		})...)
	}
	return list
}

// credible returns those of the addresses that somebody named which can be peers'. Who
// is elsewhere must not make us knock at what only we can reach.
func credible(by netip.Addr, addrs []netip.AddrPort) []netip.AddrPort {
	return slices.DeleteFunc(addrs, func(a netip.AddrPort) bool {
		return !tracker.Dialable(a) || nearness(a.Addr()) > nearness(by)
	})
}

// nearness is how near an address must be to be reached: 2 on this machine, 1 on a
// private network, 0 anywhere.
func nearness(a netip.Addr) int {
	switch a = a.Unmap(); {
	case a.IsLoopback():
		return 2
	case a.IsPrivate(), a.IsLinkLocalUnicast():
		return 1
	default:
		return 0
	}
}

// shares reports whether the torrent's peers may be found by others than trackers
// (BEP 27: "only" those).
func (t *Torrent) shares() bool { return !t.meta.Info.Private }

// dhtPort is the port of our DHT node to tell a peer, zero: none.
func (t *Torrent) dhtPort(peer netip.Addr) uint16 {
	if t.s.dht == nil || !t.shares() {
		return 0
	}
	return t.s.dht.Port(peer)
}

// tellNode tells a peer that has a DHT node of ours (BEP 5, port message).
func (p *peer) tellNode(c peerconn.Conn, remote wire.Handshake) {
	if port := p.t.dhtPort(p.addr.Addr()); port != 0 && remote.Reserved.HasDHT() {
		c.Send(wire.Port{Port: port})
	}
}

// hearNode takes the port of a peer's DHT node.
func (p *peer) hearNode(ev proto.PeerPort) {
	if p.t.dhtPort(p.addr.Addr()) != 0 && ev.Port != 0 {
		p.t.s.dht.AddNode(netip.AddrPortFrom(p.addr.Addr(), ev.Port))
	}
}

// hearPeers takes a message of peer exchange (BEP 11).
func (p *peer) hearPeers(payload []byte) {
	if !p.t.shares() {
		return
	}
	m, ok := p.ear.Hear(time.Now(), payload)
	if !ok {
		return
	}
	addrs := make([]netip.AddrPort, len(m.Added))
	for i, a := range m.Added {
		addrs[i] = a.Addr
	}
	p.post(swarm.PeersDropped{Addrs: m.Dropped, By: p.id})
	p.post(swarm.PeersFound{Addrs: p.t.allowed(credible(p.addr.Addr(), addrs)), Source: swarm.FromPEX, By: p.id})
}

// gossip tells peers of peers. It belongs to the torrent's goroutine.
type gossip struct {
	last  time.Time
	talks map[swarm.PeerID]*pex.Talk
}

// gossip tells who has come and who has gone, if it is time to.
func (t *Torrent) gossip(now time.Time) {
	if !t.shares() || now.Sub(t.talk.last) < gossipEvery {
		return
	}
	t.talk.last = now
	var views []swarm.PeerView // looked at only if somebody is to be told
	for id, p := range t.conns {
		talk := t.talk.talks[id]
		if talk == nil {
			talk = &pex.Talk{}
			t.talk.talks[id] = talk
		}
		if !talk.Due(now) || p.conn.State().Ext.M[pex.Name] == 0 {
			continue
		}
		if views == nil {
			views = t.swarm.Peers()
		}
		if m, ok := talk.Next(now, connectedFor(views, id, p.addr.Addr())); ok {
			p.conn.SendExtension(pex.Name, m.Append(nil))
		}
	}
}

// connectedFor yields the peers that another one may be told of: those that it may be
// able to reach.
func connectedFor(views []swarm.PeerView, to swarm.PeerID, addr netip.Addr) iter.Seq[pex.Peer] {
	return func(yield func(pex.Peer) bool) {
		for _, v := range views {
			if v.ID == to || !v.Listen.IsValid() || nearness(v.Listen.Addr()) > nearness(addr) || v.Listen.Addr().Zone() != "" {
				continue
			}
			var flags pex.Flags
			if v.Seed {
				flags |= pex.Seed
			}
			if v.Outgoing {
				flags |= pex.Reachable
			}
			if !yield(pex.Peer{Addr: v.Listen, Flags: flags}) {
				return
			}
		}
	}
}
