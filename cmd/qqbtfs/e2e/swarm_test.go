package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A mount of what a client seeds that we did not write, found by a tracker that we did
// not write either, is what was published.
func TestMountFromClient(t *testing.T) {
	eachClient(t, v1, mountReads, func(t *testing.T, s *sandbox, c client) {
		scheme := "http"
		if c.name == "libtorrent" {
			scheme = "udp"
		}
		album := s.album("pub/album")
		tracker := newOpentracker(s)
		torrent := s.create(album, "--piece-length", "64KiB", "--tracker", tracker.url(scheme))
		tracker.run(torrent)
		c.run(s, torrent, filepath.Dir(album))
		tracker.await(torrent, "complete", 1)
		m := s.mount(torrent)
		same(t, album, filepath.Join(m.dir, "album"))
		m.complete()
		st := m.torrent()
		if len(st.Trackers) != 1 || !st.Trackers[0].Working || !strings.HasPrefix(st.Trackers[0].URL, scheme+":") {
			t.Errorf("trackers: %+v", st.Trackers)
		}
		if st.HashFailures != 0 || st.Downloaded < st.Bytes || st.Wasted > st.Bytes/50 {
			t.Errorf("downloaded %d bytes of %d, wasted %d, %d hash failures", st.Downloaded, st.Bytes, st.Wasted, st.HashFailures)
		}
		tracker.await(torrent, "complete", 2)
	})
}

// Clients that we did not write download from our seed, found by its own tracker.
func TestClientFromSeed(t *testing.T) {
	eachClient(t, v1, "downloads from our seed", func(t *testing.T, s *sandbox, c client) {
		album := s.album("pub/album")
		s.give(c, album)
		await(t, "the download", func() bool { return sameFiles(album, s.path("down/album")) })
	})
}

// giver is a mount that a client finds by a tracker, and nobody else has the content.
type giver struct {
	s       *sandbox
	c       client
	tracker *opentracker
	content string
	torrent string // names the tracker; the seed does not know it
	given   string // what the client gets of it: the torrent or a link
	seed    *seeder
	m       *mount
}

func newGiver(s *sandbox, c client, content string, seedArgs ...string) *giver {
	s.t.Helper()
	g := &giver{s: s, c: c, content: content, tracker: newOpentracker(s)}
	g.torrent = s.create(content, "--piece-length", "64KiB", "--tracker", g.tracker.url("http"))
	g.given = g.torrent
	plain := s.path("plain.torrent")
	s.qqbtfs("create", content, "-o", plain, "--piece-length", "64KiB")
	g.tracker.run(g.torrent)
	g.seed = s.seed(plain, filepath.Dir(content), seedArgs...)
	return g
}

// mount mounts with the seed as the only peer.
func (g *giver) mount(args ...string) {
	g.s.t.Helper()
	g.m = g.s.mount(append(args, "--peer", g.seed.addr, g.torrent)...)
}

// give ends the seed and lets the client download to the directory down from the
// mount, which is mounted anew.
func (g *giver) give(args ...string) *foreign {
	g.s.t.Helper()
	g.m.unmount()
	if err := g.seed.stop(g.s.t, syscall.SIGTERM); err != nil {
		g.s.t.Errorf("seed ended with %v", err)
	}
	down := g.s.mkdir("down")
	if g.c.noDial {
		f := g.c.run(g.s, g.given, down)
		g.m.again(append(args, "--peer", f.addr, g.torrent)...)
		return f
	}
	g.m.again(append(args, g.torrent)...)
	await(g.s.t, "the mount's announce", func() bool { return g.m.torrent().Trackers[0].LastOK != "" })
	return g.c.run(g.s, g.given, down)
}

// Clients that we did not write download from a mount that is complete.
func TestClientFromMount(t *testing.T) {
	eachClient(t, v1, "downloads from our mount", func(t *testing.T, s *sandbox, c client) {
		album := s.album("pub/album")
		g := newGiver(s, c, album)
		g.mount()
		g.m.complete()
		g.give()
		await(t, "the download", func() bool { return sameFiles(album, s.path("down/album")) })
		if st := g.m.torrent(); st.Uploaded < st.Bytes || st.Downloaded != 0 {
			t.Errorf("the mount sent %d bytes and got %d", st.Uploaded, st.Downloaded)
		}
	})
}

// A mount that has only what was read gives just that, and fetches nothing on behalf
// of others. The rest comes from elsewhere.
func TestClientFromPartialMount(t *testing.T) {
	eachClient(t, v1, "gets what our partial mount has, the rest from a seed", func(t *testing.T, s *sandbox, c client) {
		const size, part = 6 << 20, 2 << 20
		content := noise(1, size)
		file := s.write("pub/film.bin", content)
		g := newGiver(s, c, file, "--upload-limit", "1MB/s") // so that readahead does not get all
		g.mount("--fill", "none")
		if got := readPart(t, g.m.dir+"/film.bin", part); !bytes.Equal(got, content[:part]) {
			t.Fatal("the mount has other content")
		}
		f := g.give("--fill", "none")
		have := g.m.torrent().BytesHave
		if have < part || have >= size {
			t.Fatalf("the mount has %d bytes, want a part", have)
		}
		await(t, "what the mount has", func() bool {
			return sameStart(s.path("down/film.bin"), content[:part]) ||
				sameStart(s.path("down/film.bin.part"), content[:part])
		})
		if st := g.m.torrent(); st.BytesHave != have || st.Downloaded != 0 {
			t.Errorf("the mount fetched: has %d bytes, had %d", st.BytesHave, have)
		}
		g.m.unmount() // transmission wants one peer of an address
		s.seed(g.torrent, file, "--peer", f.addr)
		await(t, "the rest", func() bool { return sameFiles(filepath.Dir(file), s.path("down")) })
	})
}

// sameStart reports whether a file starts with some bytes.
func sameStart(name string, want []byte) bool {
	b, err := os.ReadFile(name)
	return err == nil && bytes.HasPrefix(b, want)
}
