package e2e

import (
	"strings"
	"testing"
)

// eachVersion runs a test with the versions that have a v2 part.
func eachVersion(t *testing.T, f func(t *testing.T, s *sandbox, version string)) {
	for _, version := range []string{"v2", "hybrid"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			f(t, newSandbox(t), version)
		})
	}
}

// What libtorrent publishes in v2 is mounted, kept for the next mount, downloaded, and
// seeded again.
func TestV2FromLibtorrent(t *testing.T) {
	t.Parallel()
	eachVersion(t, func(t *testing.T, s *sandbox, version string) {
		album, torrent := s.album("pub/album"), s.path("theirs.torrent")
		must(t, s.command(python(t), libtorrentScript(t), "create", album, torrent, version))
		if i := s.info(torrent); i.Version != version {
			t.Errorf("info says %q", i.Version)
		}
		f := runLibtorrent(s, torrent, s.path("pub"))
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

// libtorrent accepts what create makes and downloads it from our seed, and finds the
// same hashes in the same content.
func TestLibtorrentFromV2(t *testing.T) {
	t.Parallel()
	eachVersion(t, func(t *testing.T, s *sandbox, version string) {
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
		runLibtorrent(s, torrent, s.mkdir("down"))
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
