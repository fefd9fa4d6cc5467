package e2e

import (
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A client that requires encryption downloads from a seed that prefers it, and seeds to a
// mount that prefers it: on loopback it greets plainly, and is refused first.
func TestEncryptionRequiredByClient(t *testing.T) {
	eachClient(t, encryption, "required by it, both ways", func(t *testing.T, s *sandbox, c client) {
		s.encryption = "required"
		s.bothEncrypted(c, "prefer")
	})
}

// With a client that takes what it gets, it is enough that we require encryption. The seed
// dials: some clients greet peers of trackers plainly, and try again after a minute.
func TestEncryptionRequiredOfClient(t *testing.T) {
	eachClient(t, encryption, "required by us, both ways", func(t *testing.T, s *sandbox, c client) {
		c.noDial = true
		s.bothEncrypted(c, "require")
	})
}

// bothEncrypted has a client download from our seed, and then a mount from the client.
func (s *sandbox) bothEncrypted(c client, mode string) {
	s.t.Helper()
	album := s.album("pub/album")
	g := s.give(c, album, "--encryption", mode)
	await(s.t, "the download", func() bool { return sameFiles(album, s.path("down/album")) })
	if err := g.seed.stop(s.t, syscall.SIGTERM); err != nil {
		s.t.Errorf("seed ended with %v", err)
	}
	s.at, _ = freeAddr(s.t) // transmission remembers by address who has everything
	m := s.mount("--encryption", mode, "--peer", g.to.addr, g.torrent)
	same(s.t, album, filepath.Join(m.dir, "album"))
	for _, p := range m.torrent().Peers {
		if !p.Encrypted {
			s.t.Errorf("%s (%s) is not encrypted", p.Addr, p.Client)
		}
	}
}

// gift is what a client downloads to "down" from a seed of ours.
type gift struct {
	torrent string
	seed    *seeder
	to      *foreign
}

func (s *sandbox) give(c client, content string, args ...string) (g gift) {
	s.t.Helper()
	host, port := s.freeAddr()
	tracker := net.JoinHostPort(host, itoa(port))
	g.torrent = s.create(content, "--piece-length", "64KiB", "--tracker", "http://"+tracker+"/announce")
	args = append(args, "--with-tracker", tracker)
	if c.noDial {
		g.to = c.run(s, g.torrent, s.mkdir("down"))
		g.seed = s.seed(g.torrent, content, append(args, "--peer", g.to.addr)...)
		return g
	}
	g.seed = s.seed(g.torrent, content, append(args, "-v")...)
	g.seed.awaitOutput(s.t, " announced ")
	g.to = c.run(s, g.torrent, s.mkdir("down"))
	return g
}

// A client that knows no encryption is not served by those who require it, and served by
// those who prefer it.
func TestWithoutEncryption(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	file := s.write("pub/film.bin", noise(3, 500_000))
	torrent := s.create(file)
	s.encryption = "off"
	f := runLibtorrent(s, torrent, filepath.Dir(file))
	strict := s.mount("--encryption", "require", "--peer", f.addr, torrent)
	await(t, "a peer that is refused", func() bool { return strings.Contains(strict.log(), "disconnected") })
	if st := strict.torrent(); len(st.Peers) > 0 || st.Downloaded > 0 {
		t.Errorf("%d peers, %d bytes", len(st.Peers), st.Downloaded)
	}
	strict.unmount()
	m := s.mount("--peer", f.addr, torrent)
	same(t, file, m.dir+"/film.bin")
}

// "over IPv6 loopback", in both directions.
func TestClientOverIPv6(t *testing.T) {
	eachClient(t, ipv6, "both ways", func(t *testing.T, s *sandbox, c client) {
		s.ipv6 = true
		album := s.album("pub/album")
		torrent := s.create(album, "--piece-length", "64KiB")
		f := c.run(s, torrent, filepath.Dir(album))
		m := s.mount("--listen", "[::1]:0", "--peer", f.addr, torrent)
		same(t, album, filepath.Join(m.dir, "album"))
		if !strings.Contains(m.log(), "peer="+f.addr) {
			t.Errorf("the log does not name %s", f.addr)
		}
		if l := m.status().Listen; len(l) != 2 || !strings.HasPrefix(l[1], "[::1]:") {
			t.Errorf("listening on %v", l)
		}
		m.unmount()
		s.give(c, album, "--listen", "[::1]:0")
		await(t, "the download", func() bool { return sameFiles(album, s.path("down/album")) })
	})
}
