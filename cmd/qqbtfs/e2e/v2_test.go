package e2e

import (
	"strings"
	"testing"
)

// eachVersion runs a test with the versions that have a v2 part, and with the clients
// that know them.
func eachVersion(t *testing.T, what string, f func(t *testing.T, s *sandbox, c client, version string)) {
	t.Parallel()
	for _, version := range []string{v2, hybrid} {
		t.Run(version, func(t *testing.T) {
			eachClient(t, version, what, func(t *testing.T, s *sandbox, c client) { f(t, s, c, version) })
		})
	}
}

// What libtorrent publishes in v2 is mounted, kept for the next mount, downloaded, and
// seeded again, whoever seeds it first.
func TestV2FromClient(t *testing.T) {
	eachVersion(t, mountReads, func(t *testing.T, s *sandbox, c client, version string) {
		album, torrent := s.album("pub/album"), s.path("theirs.torrent")
		must(t, s.command(python(t), libtorrentScript(t), "create", album, torrent, version))
		if i := s.info(torrent); i.Version != version {
			t.Errorf("info says %q", i.Version)
		}
		f := c.run(s, torrent, s.path("pub"))
		m := s.mount("--peer", f.addr, torrent)
		same(t, album, m.dir+"/album")
		m.complete()
		if st := m.torrent(); st.HashFailures != 0 || st.Banned != 0 || st.BytesHave != st.Bytes {
			t.Errorf("%+v", st)
		}
		m.unmount()
		m.again("--peer", nobody, torrent)
		same(t, album, m.dir+"/album")

		s.qqbtfs("get", torrent, "-o", s.path("down"), "--listen", "127.0.0.1:0", "--peer", f.addr)
		same(t, s.path("pub"), s.path("down"))
		seed := s.seed(torrent, s.path("down/album"))
		m = s.mount("--cache-dir", s.path("other"), "--peer", seed.addr, torrent)
		same(t, album, m.dir+"/album")
	})
}

// A client accepts what create makes and downloads it from our seed. libtorrent finds the
// same hashes in the same content.
func TestClientFromV2(t *testing.T) {
	eachVersion(t, "downloads from our seed", func(t *testing.T, s *sandbox, c client, version string) {
		host, port := freeAddr(t)
		tracker := host + ":" + itoa(port)
		album := s.album("pub/album")
		torrent := s.create(album, "--"+version, "--piece-length", "64KiB", "--tracker", "http://"+tracker+"/announce")
		i := s.info(torrent)
		if text := s.qqbtfs("info", torrent); i.Version != version || !strings.Contains(text, i.InfoHashV2) || !strings.Contains(text, i.InfoHash) {
			t.Errorf("%+v\n%s", i, text)
		}
		p := s.seed(torrent, album, "--with-tracker", tracker, "-v")
		p.awaitOutput(t, " announced ")
		c.run(s, torrent, s.mkdir("down"))
		await(t, "the download", func() bool { return sameFiles(album, s.path("down/album")) })

		theirs := s.path("theirs.torrent")
		must(t, s.command(python(t), libtorrentScript(t), "create", album, theirs, version))
		if j := s.info(theirs); j.Pieces != i.Pieces || j.Size != i.Size {
			t.Errorf("ours has %d pieces for %d bytes, theirs %d for %d", i.Pieces, i.Size, j.Pieces, j.Size)
		}
		m := s.mount("--peer", s.seed(theirs, album).addr, theirs)
		same(t, album, m.dir+"/album")
	})
}
