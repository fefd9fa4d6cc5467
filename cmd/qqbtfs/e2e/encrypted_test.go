package e2e

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
)

// Clients that we did not write and that want encryption seed for us. Ours prefers it or
// requires it; preferring, it greets plainly on loopback and is refused first.
func TestEncryptedFromClient(t *testing.T) {
	t.Parallel()
	eachClient(t, func(t *testing.T, s *sandbox, c client) {
		s.encrypted = true
		album := s.album("pub/album")
		torrent := s.create(album, "--piece-length", "64KiB")
		f := c.run(s, torrent, filepath.Dir(album))
		for _, mode := range []string{"require", "prefer"} {
			m := s.mount("--encryption", mode, "--cache-dir", s.mkdir(mode), "--peer", f.addr, torrent)
			same(t, album, filepath.Join(m.dir, "album"))
			for _, p := range m.torrent().Peers {
				if !p.Encrypted {
					t.Errorf("%s: %s (%s) is not encrypted", mode, p.Addr, p.Client)
				}
			}
			m.unmount()
		}
	})
}

// They download from our seed, which requires encryption too.
func TestEncryptedFromSeed(t *testing.T) {
	t.Parallel()
	eachClient(t, func(t *testing.T, s *sandbox, c client) {
		s.encrypted = true
		album := s.album("pub/album")
		s.give(c, album, "--encryption", "require")
		await(t, "the download", func() bool { return sameFiles(album, s.path("down/album")) })
	})
}

// give runs a client that downloads to "down" from a seed of ours.
func (s *sandbox) give(c client, content string, args ...string) {
	s.t.Helper()
	host, port := s.freeAddr()
	tracker := net.JoinHostPort(host, itoa(port))
	torrent := s.create(content, "--piece-length", "64KiB", "--tracker", "http://"+tracker+"/announce")
	args = append(args, "--with-tracker", tracker)
	if c.noDial {
		f := c.run(s, torrent, s.mkdir("down"))
		s.seed(torrent, content, append(args, "--peer", f.addr)...)
		return
	}
	s.seed(torrent, content, append(args, "-v")...).awaitOutput(s.t, " announced ")
	c.run(s, torrent, s.mkdir("down"))
}

// A client that knows no encryption is not served by those who require it, and served by
// those who prefer it.
func TestPlainClient(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	file := s.write("pub/film.bin", noise(3, 500_000))
	torrent := s.create(file)
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
func TestIPv6(t *testing.T) {
	t.Parallel()
	for _, c := range clients {
		if c.name == "aria2" {
			continue // it binds to interfaces, and all of IPv6 is on one
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t)
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
}
