package e2e

import (
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/qqbtfs/qqbtfs/fetch"
)

// knows is what a client has last told of a peer.
func (f *foreign) knows(addr string) (told string) {
	for line := range strings.Lines(f.out.String()) {
		if rest, ok := strings.CutPrefix(line, "peer "+addr+" "); ok {
			told = strings.TrimSpace(rest)
		}
	}
	return told
}

// A client hears from our programs that they want nothing of it (BEP 21): a seed, one of a
// part, and a mount that is complete; and from that when it wants something again.
func TestClientHearsWhoWantsNothing(t *testing.T) {
	eachClient(t, uploadOnly, "hears from our seed, partial seed and mount whether they want anything", func(t *testing.T, s *sandbox, c client) {
		content := noise(18, 4<<20)
		file, part := s.write("pub/film.bin", content), s.write("part/film.bin", content)
		torrent := s.create(file, "--piece-length", "64KiB", "--private")
		damage(t, part, 0)
		fast := s.seed(torrent, file)
		slow := []string{"--upload-limit", "1KB/s"} // so that the client goes on to want
		seed, partial := s.seed(torrent, file, slow...), s.seed(torrent, part, slow...)
		m := s.mount(append(slow, "--ram", "256KiB", "--read-timeout", "1s", "--peer", fast.addr, torrent)...)
		m.complete()
		await(t, "everything on disk", func() bool { return m.torrent().Cache.DiskBytes >= 4<<20 })
		if err := fast.stop(t, syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		mounted := m.status().Listen[0]
		s.peers = []string{seed.addr, partial.addr, mounted}
		f := c.run(s, torrent, s.mkdir("down"))
		all := "uploads " + strings.Repeat("1", 64)
		for addr, want := range map[string]string{seed.addr: all, partial.addr: strings.Replace(all, "1", "0", 1), mounted: all} {
			await(t, addr+" "+want, func() bool { return f.knows(addr) == want })
		}
		if rot(t, s.path("cache"), content) == 0 {
			t.Fatal("nothing could be damaged")
		}
		if _, err := os.ReadFile(m.dir + "/film.bin"); !isErrno(err, syscall.ETIMEDOUT) {
			t.Errorf("the damaged file: %v, want ETIMEDOUT", err)
		}
		await(t, "a mount that wants something", func() bool { return strings.HasPrefix(f.knows(mounted), "wants ") })
		s.seed(torrent, file, "--peer", mounted)
		await(t, "a mount that is complete again", func() bool { return f.knows(mounted) == all })
	})
}

// A mount that has everything lets a client go that has all that it wants, which is not
// everything.
func TestMountHearsThatClientWantsNothing(t *testing.T) {
	eachClient(t, uploadOnly, "tells our mount that it wants no more, which lets it go when complete", func(t *testing.T, s *sandbox, c client) {
		album := s.album("pub/album")
		torrent := s.create(album, "--piece-length", "64KiB", "--private")
		seed := s.seed(torrent, album)
		m := s.mount("--fill", "none", "--peer", seed.addr, torrent)
		s.peers, s.want = []string{m.status().Listen[0], seed.addr}, "1,0,0,0,0,0,0,0"
		f := c.run(s, torrent, s.mkdir("down"))
		await(t, "a connection", func() bool { return f.knows(s.peers[0]) != "" })
		f.awaitOutput(t, "state finished")
		same(t, album, m.dir+"/album")
		await(t, "the end of the connection", func() bool {
			return !slices.ContainsFunc(m.torrent().Peers, func(p fetch.PeerStatus) bool { return strings.HasPrefix(p.Client, c.name) })
		})
	})
}

// A client hears which pieces a mount has evicted (BEP 54), and gets all from somebody
// else.
func TestClientForgetsWhatIsEvicted(t *testing.T) {
	eachClient(t, dontHave, "forgets what our mount has evicted, and gets it from a seed", func(t *testing.T, s *sandbox, c client) {
		file := s.write("pub/film.bin", noise(17, 64<<20))
		torrent := s.create(file, "--private")
		m := s.mount("--fill", "none", "--cache-size", "24MiB", "--ram", "8MiB", "--upload-limit", "1KB/s", "--peer", s.seed(torrent, file).addr, torrent)
		mounted := m.status().Listen[0]
		s.peers = []string{mounted}
		f := c.run(s, torrent, s.mkdir("down"))
		await(t, "a connection", func() bool { return f.knows(mounted) != "" })
		same(t, file, m.dir+"/film.bin")
		await(t, "the client to know what the mount has", func() bool {
			return strings.Count(f.knows(mounted), "1") == m.torrent().PiecesHave
		})
		if strings.HasPrefix(f.knows(mounted), "wants 1") {
			t.Error("nothing was evicted")
		}
		s.seed(torrent, file, "--peer", f.addr)
		await(t, "the download", func() bool { return sameFiles(file, s.path("down/film.bin")) })
	})
}
