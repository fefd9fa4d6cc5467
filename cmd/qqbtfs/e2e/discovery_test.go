package e2e

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
)

// inDHT starts the DHT that a client takes part in, on a network of its own: the clients'
// DHTs leave out loopback, and one takes part in none of less than nine nodes.
func (s *sandbox) inDHT() (ours *netns) {
	s.t.Helper()
	ours = s.lan()
	for range 10 {
		host, port := s.freeAddr()
		s.dht = append(s.dht, net.JoinHostPort(host, itoa(port)))
	}
	start(s.t, s.foreign(python(s.t), append([]string{libtorrentScript(s.t), "nodes"}, s.dht...)...)).awaitOutput(s.t, "listening")
	return ours
}

// withNode returns a copy of a torrent of v1 that names a node of the DHT (BEP 5,
// Torrent File Extensions).
func (s *sandbox) withNode(torrent, node string) string {
	s.t.Helper()
	host, port, err := net.SplitHostPort(node)
	if err != nil {
		s.t.Fatal(err)
	}
	b := bytes.TrimSuffix(readFile(s.t, torrent), []byte("e"))
	return s.write("with-node.torrent", fmt.Appendf(b, "5:nodesll%d:%si%seeee", len(host), host, port))
}

// A mount finds a client by the DHT alone.
func TestMountFindsClientByDHT(t *testing.T) {
	eachClient(t, byDHT, "our mount finds it", func(t *testing.T, s *sandbox, c client) {
		s.inDHT()
		album := s.album("pub/album")
		torrent := s.create(album, "--piece-length", "64KiB")
		c.run(s, torrent, filepath.Dir(album))
		m := s.mount("--dht", "on", "--dht-bootstrap", s.dht[0], torrent)
		await(t, "a peer by the DHT", func() bool { return m.torrent().KnownFrom["dht"] > 0 })
		same(t, album, filepath.Join(m.dir, "album"))
	})
}

// A client finds our seed by the DHT alone.
func TestClientFindsSeedByDHT(t *testing.T) {
	eachClient(t, byDHT, findsSeed, func(t *testing.T, s *sandbox, c client) {
		s.inDHT().mustBeFound()
		album := s.album("pub/album")
		torrent := s.create(album, "--piece-length", "64KiB")
		// Who asks too early asks again much later.
		s.seed(torrent, album, "-v", "--dht", "on", "--dht-bootstrap", s.dht[0]).awaitOutput(t, " DHT lookup ")
		c.run(s, torrent, s.mkdir("down"))
		await(t, "the download", func() bool { return sameFiles(album, s.path("down/album")) })
	})
}

// Two processes of ours find each other, with nodes that are all ours.
func TestOursByDHT(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	file := s.write("pub/film.bin", noise(11, 500_000))
	torrent := s.create(file)
	host, port := freeAddr(t)
	addr := net.JoinHostPort(host, itoa(port))
	seed := start(t, s.program("seed", torrent, "--data", file, "--listen", addr, "--dht", "on", "--cache-dir", s.mkdir("other")))
	seed.awaitOutput(t, "\npeer ")
	m := s.mount("--dht", "on", "--dht-bootstrap", addr, torrent)
	same(t, file, m.dir+"/film.bin")
	m.unmount()
	if len(readFile(t, s.path("cache/qqbtfs/dht"))) == 0 {
		t.Error("the table was not saved")
	}
	// With the saved table nobody has to be named.
	m.again("--dht", "on", torrent)
	if st := m.status(); st.DHT == nil || st.DHT.Nodes == 0 {
		t.Errorf("DHT: %+v", st.DHT)
	}
}

// A private torrent is found by none of the ways that find a public one (BEP 27).
func TestPrivateIsNotFound(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	host, port := freeAddr(t)
	addr := net.JoinHostPort(host, itoa(port))
	for _, name := range []string{"public", "private"} {
		s.write(name+"/"+name+".bin", noise(uint64(len(name)), 200_000))
	}
	public := s.create(s.path("public/public.bin"))
	private := s.create(s.path("private/private.bin"), "--private")
	on := []string{"--dht", "on", "--lsd", "on"}
	first := start(t, s.program(append([]string{"seed", public, "--data", s.path("public"), "--listen", addr, "--cache-dir", s.mkdir("a")}, on...)...))
	first.awaitOutput(t, "\npeer ")
	s.seed(private, s.path("private"), append(on, "--dht-bootstrap", addr, "--cache-dir", s.mkdir("b"))...)
	m := s.mount(append(on, "--dht-bootstrap", addr, private, public)...)
	same(t, s.path("public/public.bin"), m.dir+"/public.bin")
	for _, st := range m.status().Torrents {
		if st.Name == "private.bin" && (st.KnownPeers != 0 || len(st.Peers) != 0) {
			t.Errorf("of the private torrent %d peers are known: %v", st.KnownPeers, st.KnownFrom)
		}
	}
}

// lan is a network of two machines, one for our programs and one for the clients of
// others, each of which has an address of its own: some connect to nobody on loopback,
// and to some all that is at one address is one peer.
func (s *sandbox) lan() (ours *netns) {
	s.t.Helper()
	ours, theirs := s.netns(), s.netns()
	ours.ip(fmt.Sprintf(`link add m0 type veth peer name p0 netns %d
		addr add 10.79.0.1/16 dev m0
		addr add 10.79.1.1/16 dev m0
		link set m0 up
		route add default dev m0`, theirs.holder.cmd.Process.Pid))
	theirs.ip(`link set p0 up
		addr add 10.79.2.2/16 dev p0
		route add 224.0.0.0/4 dev p0`) // and to nowhere else: names are not looked up for long
	theirs.hosts = []string{"10.79.2.2"}
	for i := 3; i < 16; i++ {
		host := fmt.Sprintf("10.79.%d.2", i)
		theirs.ip("addr add " + host + "/16 dev p0")
		theirs.hosts = append(theirs.hosts, host)
	}
	ours.use()
	s.in, s.at = theirs, "10.79.0.1"
	return ours
}

// mustBeFound keeps our programs at the first address from connecting to clients, whose
// ports these are: who is connected to one of ours has found it. The way there leads to a
// gateway that is not there. Were there none, a socket that is bound to the interface would
// take them for neighbours.
func (n *netns) mustBeFound() {
	n.s.t.Helper()
	n.ip(`route add default via 10.79.0.9 dev m0 table 7
		rule add from 10.79.0.1 ipproto tcp dport 10000-29999 lookup 7`)
}

// otherAddr binds our programs to the second address of their machine from now on.
func (s *sandbox) otherAddr() { s.at = "10.79.1.1" }

// A client learns of the seed from a mount that has nothing, by peer exchange alone.
func TestClientLearnsByPeerExchange(t *testing.T) {
	eachClient(t, byPEX, "learns of our seed from our mount", func(t *testing.T, s *sandbox, c client) {
		s.lan().mustBeFound()
		s.pex = true
		album := s.album("pub/album")
		torrent := s.create(album, "--piece-length", "64KiB")
		seed := s.seed(torrent, album)
		f := c.run(s, torrent, s.mkdir("down"))
		s.otherAddr()
		s.mount("--fill", "none", "--peer", seed.addr, "--peer", f.addr, torrent)
		await(t, "the download", func() bool { return sameFiles(album, s.path("down/album")) })
	})
}

// A mount learns of the seed from a client, by peer exchange alone.
func TestMountLearnsFromClientByPeerExchange(t *testing.T) {
	eachClient(t, byPEX, tellsUs, func(t *testing.T, s *sandbox, c client) {
		s.lan()
		s.pex = true
		file := s.write("pub/film.bin", noise(13, 24<<20))
		torrent := s.create(file, "--piece-length", "64KiB")
		f := c.run(s, torrent, s.mkdir("down"))
		// Slow, so that the client stays its leecher. The seed hears of the mount as well, and
		// must not be who tells it: they do not understand each other.
		s.seed(torrent, file, "--peer", f.addr, "--upload-limit", "150KB/s", "--encryption", "off")
		s.otherAddr()
		m := s.mount("--fill", "none", "--peer", f.addr, "--encryption", "require", torrent)
		awaitFor(t, c.pexAfter+patience, "a peer by peer exchange", func() bool { return m.torrent().KnownFrom["pex"] > 0 })
	})
}

// A mount and a client on one network find each other by local discovery alone.
func TestMountAndClientByLocalDiscovery(t *testing.T) {
	eachClient(t, byLSD, eachOther, func(t *testing.T, s *sandbox, c client) {
		s.lan()
		s.lsd = true
		album := s.album("pub/album")
		torrent := s.create(album, "--piece-length", "64KiB")
		m := s.mount("--lsd", "on", torrent)
		c.run(s, torrent, filepath.Dir(album))
		same(t, album, filepath.Join(m.dir, "album"))
	})
}

// listensForPeers reports whether somebody has joined the group of BEP 14: he hears the
// next announce, which may be the last one for minutes.
func (n *netns) listensForPeers() bool {
	groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/igmp", n.holder.cmd.Process.Pid))
	return err == nil && bytes.Contains(groups, []byte("8F98C0EF")) // 239.192.152.143
}

// A client downloads from our seed on its network, found by local discovery alone.
func TestClientFindsSeedByLocalDiscovery(t *testing.T) {
	eachClient(t, byLSD, findsSeed, func(t *testing.T, s *sandbox, c client) {
		s.lan().mustBeFound()
		s.lsd = true
		album := s.album("pub/album")
		torrent := s.create(album, "--piece-length", "64KiB")
		c.run(s, torrent, s.mkdir("down"))
		await(t, "the client in the multicast group", s.in.listensForPeers)
		s.seed(torrent, album, "--lsd", "on")
		await(t, "the download", func() bool { return sameFiles(album, s.path("down/album")) })
	})
}
