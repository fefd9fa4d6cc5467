package fetch

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/cache/memstore"
	"github.com/qqbtfs/qqbtfs/fetch/pex"
	"github.com/qqbtfs/qqbtfs/fetch/swarm"
)

// privateContent is a private torrent (BEP 27). It has other bytes than a public one, so
// that both may be in one session.
func privateContent(t *testing.T) content {
	t.Helper()
	c := makeContent(t, 300_001, 32<<10)
	c.meta.Info.Private = true
	return c
}

// eventually polls until ok, for what other goroutines do.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(30 * time.Second); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("not in 30 s: %s", what)
		}
	}
}

// knownFrom returns how many addresses a torrent knows by a source.
func knownFrom(tor *Torrent, source string) int { return tor.Status().KnownFrom[source] }

// A party is a session by its torrents.
type party struct{ public, private *Torrent }

// parties starts sessions that all take part in a public and in a private torrent: the
// first has everything, the others nothing.
func parties(t *testing.T, n int, cfg func(i int, before []*Session) Config, peers func(i int, before []*Session) []netip.AddrPort) (list []party) {
	t.Helper()
	public, private := makeContent(t, 300_000, 32<<10), privateContent(t)
	var sessions []*Session
	for i := range n {
		s := newSession(t, cfg(i, sessions))
		var p party
		for _, x := range []struct {
			tor **Torrent
			c   content
		}{{&p.private, private}, {&p.public, public}} { // the private one first
			tc := TorrentConfig{Meta: x.c.meta, Store: memstore.New(Geometry(x.c.meta))}
			if i == 0 {
				tc.Store = x.c.full(t)
			}
			if peers != nil {
				tc.Peers = peers(i, sessions)
			}
			*x.tor = add(t, s, tc)
		}
		sessions, list = append(sessions, s), append(list, p)
	}
	return list
}

func TestFoundByPeerExchangeAlone(t *testing.T) {
	t.Parallel()
	all := parties(t, 3, func(int, []*Session) Config { return Config{} }, func(i int, before []*Session) []netip.AddrPort {
		if i == 0 {
			return nil
		}
		return before[i-1].Addrs()
	})
	last := all[2]
	eventually(t, "the seed, by peer exchange on either side", func() bool {
		return len(last.public.Status().Peers) == 2 &&
			knownFrom(last.public, swarm.FromPEX)+knownFrom(all[0].public, swarm.FromPEX) > 0
	})
	if st := last.private.Status(); len(st.Peers) != 1 || st.KnownPeers != 1 {
		t.Errorf("of the private torrent %d peers and %d addresses", len(st.Peers), st.KnownPeers)
	}
}

func TestFoundByDHTAlone(t *testing.T) {
	t.Parallel()
	all := parties(t, 4, func(i int, before []*Session) Config {
		d := Discovery{DHT: true}
		if i > 0 {
			port := before[0].DHT().Port
			d.Bootstrap = []string{netip.AddrPortFrom(before[0].Addrs()[0].Addr(), port).String()}
		}
		return Config{Discovery: d}
	}, nil)
	last := all[3]
	eventually(t, "a peer by the DHT", func() bool { return knownFrom(last.public, swarm.FromDHT) > 0 && len(last.public.Status().Peers) > 0 })
	for i, p := range all {
		if st := p.private.Status(); st.KnownPeers != 0 || len(st.Peers) != 0 {
			t.Errorf("%d: of the private torrent %d addresses are known", i, st.KnownPeers)
		}
	}
}

func TestFoundByLocalDiscoveryAlone(t *testing.T) {
	t.Parallel()
	all := parties(t, 2, func(int, []*Session) Config { return Config{Discovery: Discovery{LSD: true}} }, nil)
	if all[0].public.s.lsd == nil {
		t.Skip("no multicast here")
	}
	eventually(t, "a peer by local discovery", func() bool {
		return knownFrom(all[0].public, swarm.FromLSD) > 0 || knownFrom(all[1].public, swarm.FromLSD) > 0
	})
	eventually(t, "a connection", func() bool { return len(all[1].public.Status().Peers) > 0 })
	for i, p := range all {
		if st := p.private.Status(); st.KnownPeers != 0 || len(st.Peers) != 0 {
			t.Errorf("%d: of the private torrent %d addresses are known", i, st.KnownPeers)
		}
	}
}

// A peer whose DHT node nobody else knows is one to begin with (BEP 5, port message).
func TestNodeOfPeer(t *testing.T) {
	t.Parallel()
	dht := Config{Discovery: Discovery{DHT: true}}
	all := parties(t, 2, func(int, []*Session) Config { return dht }, func(i int, before []*Session) []netip.AddrPort {
		if i == 0 {
			return nil
		}
		return before[0].Addrs()
	})
	for _, p := range all {
		eventually(t, "the other's node", func() bool { return p.public.s.DHT().Nodes == 1 })
	}
}

// BEP 27: of a private torrent peers hear neither that we have a DHT node nor that we
// exchange peers, and what they say of it is not taken.
func TestPrivateTorrentIsNotShared(t *testing.T) {
	s := newSession(t, Config{Discovery: Discovery{DHT: true, LSD: true}})
	peerAddr := netip.MustParseAddrPort("127.0.0.1:9")
	for _, c := range []content{makeContent(t, 100_000, 32<<10), privateContent(t)} {
		public := !c.meta.Info.Private
		tor := add(t, s, TorrentConfig{Meta: c.meta, Store: memstore.New(Geometry(c.meta))})
		cfg := tor.protoConfig(peerAddr, tor.hashes[0])
		_, exchanges := cfg.Extension.M[pex.Name]
		if exchanges != public || cfg.Handshake.Reserved.HasDHT() != public || (len(tor.searches) > 0) != public {
			t.Errorf("private %v: exchanges peers %v, DHT %v, %d searches", !public, exchanges, cfg.Handshake.Reserved.HasDHT(), len(tor.searches))
		}
		p := &peer{t: tor, addr: peerAddr}
		m := pex.Message{Added: []pex.Peer{{Addr: netip.MustParseAddrPort("20.0.0.1:1")}}}
		p.hearPeers(m.Append(nil))
		if (len(p.evs) > 0) != public {
			t.Errorf("private %v: peer exchange gives %v", !public, p.evs)
		}
	}
}

// Who is elsewhere cannot make us connect to this machine or its network.
func TestCredible(t *testing.T) {
	named := []string{"127.0.0.1:1", "10.0.0.1:1", "192.168.1.1:1", "20.0.0.1:1", "[::1]:1", "[fe80::1]:1", "[2001:db8::1]:1", "20.0.0.1:0", "0.0.0.0:1", "224.0.0.1:1"}
	for by, want := range map[string]int{"20.0.0.9": 2, "10.0.0.9": 5, "127.0.0.1": 7, "::ffff:20.0.0.9": 2, "2001:db8::9": 2} {
		var addrs []netip.AddrPort
		for _, s := range named {
			addrs = append(addrs, netip.MustParseAddrPort(s))
		}
		if got := credible(netip.MustParseAddr(by), addrs); len(got) != want {
			t.Errorf("of what %s names %v is taken, want %d", by, got, want)
		}
	}
}

// Peers are not told addresses that they cannot reach, and not themselves.
func TestWhomPeersAreToldOf(t *testing.T) {
	var views []swarm.PeerView
	for i, s := range []string{"20.0.0.1:1", "10.0.0.1:1", "127.0.0.1:1", "20.0.0.2:1"} {
		views = append(views, swarm.PeerView{ID: swarm.PeerID(i), Listen: netip.MustParseAddrPort(s), Seed: i == 3, Outgoing: i == 3})
	}
	views = append(views, swarm.PeerView{ID: 9})
	for to, want := range map[string]int{"30.0.0.1": 1, "10.0.0.9": 2, "127.0.0.1": 3} {
		got := slices.Collect(connectedFor(views, 0, netip.MustParseAddr(to)))
		if len(got) != want || got[want-1].Addr != views[3].Listen || got[want-1].Flags != pex.Seed|pex.Reachable {
			t.Errorf("%s is told of %v", to, got)
		}
	}
}
