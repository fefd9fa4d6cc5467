package e2e

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
)

// dhtOf starts a small DHT of nodes that we did not write, and returns one of them.
func (s *sandbox) dhtOf(nodes int) string {
	s.t.Helper()
	py, script := python(s.t), libtorrentScript(s.t)
	var first string
	for range nodes {
		host, port := freeAddr(s.t)
		addr := net.JoinHostPort(host, itoa(port))
		args := []string{script, "node", addr}
		if first == "" {
			first = addr
		} else {
			args = append(args, first)
		}
		awaitPort(s.t, start(s.t, s.command(py, args...)), host, port)
	}
	return first
}

var dhtClients = []client{{name: "libtorrent", run: runLibtorrent}, {name: "aria2", run: runAria2}}

// eachOf runs a test with each of some clients.
func eachOf(t *testing.T, list []client, f func(t *testing.T, s *sandbox, c client)) {
	t.Parallel()
	for _, c := range list {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f(t, newSandbox(t), c)
		})
	}
}

// A mount finds a client by the DHT alone.
func TestMountByDHT(t *testing.T) {
	eachOf(t, dhtClients, func(t *testing.T, s *sandbox, c client) {
		s.dht = s.dhtOf(4)
		album := s.album("pub/album")
		torrent := s.create(album, "--piece-length", "64KiB")
		c.run(s, torrent, filepath.Dir(album))
		m := s.mount("--dht", "on", "--dht-bootstrap", s.dht, torrent)
		await(t, "a peer by the DHT", func() bool { return m.torrent().KnownFrom["dht"] > 0 })
		same(t, album, filepath.Join(m.dir, "album"))
	})
}

// A client finds our seed by the DHT alone.
func TestClientByDHT(t *testing.T) {
	eachOf(t, dhtClients, func(t *testing.T, s *sandbox, c client) {
		s.dht = s.dhtOf(4)
		album := s.album("pub/album")
		torrent := s.create(album, "--piece-length", "64KiB")
		s.seed(torrent, album, "--dht", "on", "--dht-bootstrap", s.dht)
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

// lanClients run on a network of their own: transmission connects to nobody on loopback,
// and to aria2 our seed and our mount would be one peer there.
var lanClients = []client{{name: "libtorrent", run: runLibtorrent}, {name: "transmission", run: runTransmission}}

// seedAt is seed at an address of the sandbox's network.
func (s *sandbox) seedAt(addr, torrent, data string, args ...string) {
	s.t.Helper()
	host, _, _ := net.SplitHostPort(addr)
	p := start(s.t, s.program(append([]string{"seed", torrent, "--data", data, "--bind", host, "--listen", addr}, args...)...))
	p.awaitOutput(s.t, "\npeer ")
}

// mountAt mounts at an address of the sandbox's network.
func (s *sandbox) mountAt(addr string, args ...string) *mount {
	s.t.Helper()
	host, _, _ := net.SplitHostPort(addr)
	m := &mount{s, s.mountpoint("mnt")}
	s.qqbtfs(append(append([]string{"mount", "-v", "--bind", host, "--listen", addr}, args...), m.dir)...)
	s.t.Cleanup(func() {
		if s.t.Failed() {
			m.showLog()
		}
		if m.mounted() {
			m.unmount()
		}
	})
	return m
}

// A client learns of the seed from a mount that has nothing, by peer exchange alone.
func TestClientByPeerExchange(t *testing.T) {
	eachOf(t, lanClients, func(t *testing.T, s *sandbox, c client) {
		s.lan()
		s.pex = true
		album := s.album("pub/album")
		torrent := s.create(album, "--piece-length", "64KiB")
		s.seedAt("10.79.0.1:6999", torrent, album)
		f := c.run(s, torrent, s.mkdir("down"))
		s.mountAt("10.79.0.3:6999", "--fill", "none", "--peer", "10.79.0.1:6999", "--peer", f.addr, torrent)
		await(t, "the download", func() bool { return sameFiles(album, s.path("down/album")) })
	})
}

// A mount learns of the seed from a client, by peer exchange alone.
func TestMountByPeerExchange(t *testing.T) {
	eachOf(t, lanClients, func(t *testing.T, s *sandbox, c client) {
		s.lan()
		s.pex = true
		file := s.write("pub/film.bin", noise(13, 24<<20))
		torrent := s.create(file, "--piece-length", "64KiB")
		f := c.run(s, torrent, s.mkdir("down"))
		// Slow, so that the client stays its leecher.
		s.seedAt("10.79.0.1:6999", torrent, file, "--peer", f.addr, "--upload-limit", "200KB/s")
		m := s.mountAt("10.79.0.3:6999", "--fill", "none", "--peer", f.addr, torrent)
		await(t, "a peer by peer exchange", func() bool { return m.torrent().KnownFrom["pex"] > 0 })
	})
}

// lan is a network of two machines, one for our program and one for the clients of
// others.
func (s *sandbox) lan() {
	s.t.Helper()
	ours, theirs := s.netns(), s.netns()
	ours.ip(fmt.Sprintf(`link add m0 type veth peer name p0 netns %d
		addr add 10.79.0.1/24 dev m0
		addr add 10.79.0.3/24 dev m0
		link set m0 up
		route add default dev m0`, theirs.holder.cmd.Process.Pid))
	theirs.ip(`addr add 10.79.0.2/24 dev p0
		link set p0 up
		route add default dev p0`)
	ours.use()
	s.in, s.host = theirs, "10.79.0.2"
}

// A mount and a client on one network find each other by local discovery alone. (aria2
// hears who is there, but is not heard when it seeds.)
func TestMountByLocalDiscovery(t *testing.T) {
	eachOf(t, lanClients, func(t *testing.T, s *sandbox, c client) {
		s.lan()
		s.lsd = true
		album := s.album("pub/album")
		torrent := s.create(album, "--piece-length", "64KiB")
		m := s.mountAt("10.79.0.1:6999", "--lsd", "on", torrent)
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
func TestClientByLocalDiscovery(t *testing.T) {
	eachOf(t, clients, func(t *testing.T, s *sandbox, c client) {
		s.lan()
		s.lsd = true
		album := s.album("pub/album")
		torrent := s.create(album, "--piece-length", "64KiB")
		c.run(s, torrent, s.mkdir("down"))
		await(t, "the client in the multicast group", s.in.listensForPeers)
		s.seedAt("10.79.0.1:6999", torrent, album, "--lsd", "on")
		await(t, "the download", func() bool { return sameFiles(album, s.path("down/album")) })
	})
}
