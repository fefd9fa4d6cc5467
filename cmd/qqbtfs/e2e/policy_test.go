package e2e

import (
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qqbtfs/qqbtfs/peerconn/peertest"
)

// Everything goes through the proxy: the source, the trackers and the peers, and nobody
// is listened for. Its password is nowhere to be seen.
func TestProxy(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	proxy := &peertest.Proxy{User: "me", Password: "hunter2"}
	peertest.StartProxy(t, proxy)
	tracker := newOpentracker(s)
	file := s.write("pub/film.bin", noise(4, 700_000))
	torrent := s.create(file, "--tracker", tracker.url("http"), "--tracker", tracker.url("udp"))
	tracker.run(torrent)
	s.seed(torrent, file)
	tracker.await(torrent, "complete", 1)

	m := &mount{s, s.mountpoint("proxied")}
	s.env = append(s.env, "QQBTFS_PROXY=socks5://me:hunter2@"+proxy.Addr())
	s.qqbtfs("mount", "-v", torrent, m.dir)
	same(t, file, m.dir+"/film.bin")
	if st := m.status(); len(st.Listen) != 0 {
		t.Errorf("listening on %v", st.Listen)
	}
	if proxy.Conns() == 0 || proxy.Conns()+proxy.Relays() < 2 {
		t.Errorf("%d connections and %d relays of the proxy", proxy.Conns(), proxy.Relays())
	}
	m.unmount()
	if log := m.log(); strings.Contains(log, "hunter2") || !strings.Contains(log, proxy.Addr()) {
		t.Errorf("the log has the password, or not the proxy: %s", log)
	}

	// Without the proxy nothing goes out.
	proxy.Close()
	s.qqbtfs("mount", "-v", "--cache-dir", s.mkdir("other"), "--read-timeout", "1s", torrent, m.dir)
	if r := run(t, s.command("cat", m.dir+"/film.bin")); r.code == 0 {
		t.Error("read past a proxy that is not there")
	}
	m.unmount()
}

// Peers on a blocklist are neither dialled nor let in.
func TestBlocklist(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	file := s.write("pub/film.bin", noise(6, 300_000))
	torrent := s.create(file)
	seed := s.seed(torrent, file)
	list := s.write("list.p2p", []byte("All of us:127.0.0.0-127.255.255.255\n"))
	m := s.mount("--blocklist", list, "--read-timeout", "1s", "--peer", seed.addr, torrent)
	if !strings.Contains(m.log(), "is on the blocklist") {
		t.Error("the log does not tell that the peer is blocked")
	}
	if r := run(t, s.command("cat", m.dir+"/film.bin")); r.code == 0 {
		t.Error("read from a peer that is blocked")
	}
	if out := s.qqbtfs("status", m.dir); !strings.Contains(out, "turned away") {
		t.Errorf("status: %s", out)
	}
	conn, err := net.Dial("tcp", m.status().Listen[0])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("let in")
	}
	m.unmount()
	s.fails(1, "no line of it is", "mount", "--blocklist", file, torrent, m.dir)
	s.fails(2, "--bind: address 192.0.2.77 is not there", "mount", "--bind", "192.0.2.77", torrent, m.dir)
	s.fails(2, "--port-forward", "mount", "--port-forward", "--proxy", "socks5://127.0.0.1:1", torrent, m.dir)
	s.fails(2, "--proxy: a proxy has to be socks5://", "mount", "--proxy", "http://u:hunter2@127.0.0.1:1", torrent, m.dir)
}

// A blocklist that changes is read again, and who is on it now is left. One that cannot
// be read changes nothing.
func TestBlocklistChanges(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	pub := s.publish("film.bin", 300_000)
	list := s.write("list.p2p", []byte("Somebody:198.51.100.0-198.51.100.255\n"))
	m := s.mount("--blocklist", list, "--fill", "none", "--peer", pub.seed.addr, pub.torrent)
	peers := func(n int) func() bool { return func() bool { return len(m.torrent().Peers) == n } }
	await(t, "the seed", peers(1))
	s.write("list.p2p", noise(9, 4000))
	await(t, "a warning", func() bool { return strings.Contains(m.log(), "the blocklist stays as it was") })
	if n := len(m.torrent().Peers); n != 1 {
		t.Errorf("%d peers with a list that cannot be read", n)
	}
	s.write("list.p2p", []byte("All of us:127.0.0.0-127.255.255.255\n"))
	await(t, "the end of the connection", peers(0))
	s.write("list.p2p", []byte("Somebody else:198.51.100.0-198.51.100.254\n"))
	await(t, "the seed again", peers(1))
}

// Bound to an address of this machine, peers see that one.
func TestBindAddress(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	file := s.write("pub/film.bin", noise(8, 300_000))
	torrent := s.create(file)
	seed := s.seed(torrent, file, "-v")
	m := &mount{s, s.mountpoint("bound")}
	s.qqbtfs("mount", "-v", "--bind", "127.77.66.55", "--peer", seed.addr, torrent, m.dir)
	same(t, file, filepath.Join(m.dir, "film.bin"))
	seed.awaitOutput(t, "peer=127.77.66.55:")
	if l := m.status().Listen; len(l) != 1 || !strings.HasPrefix(l[0], "127.77.66.55:") {
		t.Errorf("listening on %v", l)
	}
	m.unmount()
}
