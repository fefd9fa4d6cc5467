package e2e

import (
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// magnet is a link to a torrent: its hashes, and what else is in a query string.
func (s *sandbox) magnet(torrent string, more ...string) string {
	s.t.Helper()
	var params []string
	i := s.info(torrent)
	if i.InfoHash != "" {
		params = append(params, "xt=urn:btih:"+i.InfoHash)
	}
	if i.InfoHashV2 != "" {
		params = append(params, "xt=urn:btmh:1220"+i.InfoHashV2)
	}
	return "magnet:?" + strings.Join(append(params, more...), "&")
}

// without is a link that lacks hashes of a kind; "": it has all.
func without(link, kind string) string {
	params := strings.Split(link, "&")
	for i, p := range params {
		if _, after, ok := strings.Cut(p, "xt=urn:"); ok && kind != "" && strings.HasPrefix(after, kind) {
			params[i] = strings.TrimSuffix(p, "xt=urn:"+after)
		}
	}
	return strings.Join(params, "&")
}

// peerParam and trackerParam are parameters of a magnet link.
func peerParam(addr string) string { return "x.pe=" + addr }
func trackerParam(u string) string { return "tr=" + url.QueryEscape(u) }

// awaitFiles returns when a mount shows as many names.
func (m *mount) awaitFiles(n int) {
	m.s.t.Helper()
	await(m.s.t, "the files", func() bool { return len(names(m.s.t, m.dir)) == n })
}

// Clients that we did not write give the metadata of what they seed, and then the content,
// to a mount that knows a magnet link alone. The next mount needs nobody.
func TestMountFromClientByMagnet(t *testing.T) {
	eachClient(t, byMagnet, mountReads, func(t *testing.T, s *sandbox, c client) {
		s.mountByMagnet(c, !c.noDial, "")
	})
}

// The same for versions that have a v2 part, with a peer in the link.
func TestMountFromClientByMagnetV2(t *testing.T) {
	eachVersion(t, readsByLink, func(t *testing.T, s *sandbox, c client, version string) {
		s.mountByMagnet(c, false, "", "--"+version)
	})
}

// The same for a hybrid whose link has one of its hashes.
func TestHybridByMagnetOfOneHash(t *testing.T) {
	t.Parallel()
	for name, unnamed := range map[string]string{"v1": "btmh", "v2": "btih"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			newSandbox(t).mountByMagnet(client{run: runLibtorrent}, false, unnamed, "--hybrid")
		})
	}
}

// mountByMagnet mounts what a client seeds by a link that lacks hashes of the kind unnamed
// and has the address of a tracker or of the client.
func (s *sandbox) mountByMagnet(c client, byTracker bool, unnamed string, version ...string) {
	s.t.Helper()
	album, args := s.album("pub/album"), append(version, "--piece-length", "64KiB")
	var tracker *opentracker
	if byTracker {
		tracker = newOpentracker(s)
		args = append(args, "--tracker", tracker.url("http"))
	}
	torrent := s.create(album, args...)
	if byTracker {
		tracker.run(torrent)
	}
	f := c.run(s, torrent, filepath.Dir(album))
	link := s.magnet(torrent, peerParam(f.addr))
	if byTracker {
		tracker.await(torrent, "complete", 1)
		link = s.magnet(torrent, trackerParam(tracker.url("http")))
	}
	link = without(link, unnamed)
	m := s.mount(link)
	m.awaitFiles(1)
	same(s.t, album, m.dir+"/album")
	m.complete()
	if st := m.torrent(); st.HashFailures != 0 || st.Banned != 0 || len(m.status().Torrents) != 1 {
		s.t.Errorf("%+v", st)
	}
	m.unmount()
	_ = f.stop(s.t, syscall.SIGKILL)

	// A link by the other hash finds it too.
	named := map[string]string{"btmh": "btih", "btih": "btmh"}[unnamed]
	m.again("--no-upload", without(s.magnet(torrent, "dn=again", peerParam(nobody)), named))
	if got := names(s.t, m.dir); !slices.Equal(got, []string{"album"}) {
		s.t.Errorf("at once there is %q", got)
	}
	same(s.t, album, m.dir+"/album")
	if strings.Contains(m.log(), "fetching metadata") {
		s.t.Error("the metadata is fetched again")
	}
	i, j := s.info(torrent), s.info(link)
	if j.Trackers = i.Trackers; i.Name != j.Name || i.Size != j.Size || i.Pieces != j.Pieces || i.Version != j.Version || len(i.Files) != len(j.Files) {
		s.t.Errorf("info of the torrent says\n%+v\nof the link\n%+v", i, j)
	}
	s.private()
}

// The link has nothing but the hash: peers come from the DHT.
func TestMountFindsClientByMagnetAndDHT(t *testing.T) {
	eachClient(t, byDHT, "our mount finds it by a magnet link", func(t *testing.T, s *sandbox, c client) {
		s.inDHT()
		album := s.album("pub/album")
		torrent := s.create(album, "--piece-length", "64KiB")
		c.run(s, torrent, filepath.Dir(album))
		m := s.mount("--dht", "on", "--dht-bootstrap", s.dht[0], s.magnet(torrent))
		m.awaitFiles(1)
		same(t, album, m.dir+"/album")
	})
}

// Metadata comes from a peer that has nothing else, the content from the web server that
// the link names.
func TestMagnetWithWebSeed(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	album := s.album("pub/album")
	web := s.serveFiles("pub")
	torrent := s.create(album, "--piece-length", "64KiB")
	empty := s.mount("--fill", "none", torrent)
	m := s.mount("--cache-dir", s.mkdir("other"), s.magnet(torrent, peerParam(empty.status().Listen[0]), "ws="+url.QueryEscape(web.URL)))
	m.awaitFiles(1)
	same(t, album, m.dir+"/album")
}

// Clients that we did not write get metadata and content from a mount, by a magnet link
// alone.
func TestClientFromMountByMagnet(t *testing.T) {
	eachClient(t, byMagnet, "gets all from our mount", func(t *testing.T, s *sandbox, c client) {
		album := s.album("pub/album")
		g := newGiver(s, c, album)
		g.given = s.magnet(g.torrent, trackerParam(g.tracker.url("http")))
		g.mount()
		g.m.complete()
		g.give()
		await(t, "the download", func() bool { return sameFiles(album, s.path("down/album")) })
	})
}

// The same for versions that have a v2 part: they need the piece layers from us.
func TestClientFromMountByMagnetV2(t *testing.T) {
	eachVersion(t, getsByLink, func(t *testing.T, s *sandbox, c client, version string) {
		album := s.album("pub/album")
		torrent := s.create(album, "--"+version, "--piece-length", "64KiB")
		m := s.mount("--peer", s.seed(torrent, album).addr, torrent)
		m.complete()
		c.run(s, s.magnet(torrent, peerParam(m.status().Listen[0])), s.mkdir("down"))
		await(t, "the download", func() bool { return sameFiles(album, s.path("down/album")) })
	})
}

// A mount of a torrent and of a link that nobody answers has the torrent's files, and says
// what it waits for. When the metadata comes, those who have listed the empty place see
// the files.
func TestMagnetBesideTorrent(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	pub, album := s.publish("film.bin", 1<<20), s.album("pub/album")
	torrent := s.create(album, "--piece-length", "64KiB")
	m := s.mount("--peer", pub.seed.addr, s.magnet(torrent, "dn=Some+album"), pub.torrent)
	if got := names(t, m.dir); !slices.Equal(got, []string{"film.bin"}) {
		t.Errorf("at first there is %q", got)
	}
	if _, err := os.Stat(m.dir + "/album"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("album: %v", err)
	}
	same(t, pub.file, m.dir+"/film.bin")
	if state := m.state(); !strings.HasPrefix(state, "Some album: fetching metadata: ") {
		t.Errorf("the root's state is %q", state)
	}
	for _, text := range []string{s.qqbtfs("status", m.dir), s.qqbtfs("status")} {
		if !strings.Contains(text, "Some album") || !strings.Contains(text, "fetching metadata: ") {
			t.Errorf("status does not say so:\n%s", text)
		}
	}
	s.seed(torrent, album, "--peer", m.status().Listen[0])
	m.awaitFiles(2)
	same(t, album, m.dir+"/album")
	same(t, pub.file, m.dir+"/film.bin")
	if state := m.state(); state != "" {
		t.Errorf("the root's state is %q", state)
	}
	if log := m.log(); !strings.Contains(log, "fetching metadata") || !strings.Contains(log, "the files are here") {
		t.Errorf("the log tells of neither:\n%s", log)
	}
}

// state is the extended attribute of the root; "": there is none.
func (m *mount) state() string {
	m.s.t.Helper()
	buf := make([]byte, 1000)
	n, err := unix.Lgetxattr(m.dir, "user.qqbtfs.state", buf)
	if err != nil && !errors.Is(err, unix.ENODATA) {
		m.s.t.Fatal(err)
	}
	return string(buf[:max(n, 0)])
}

// pendingLimit bounds an unmount while the metadata is awaited, from a tracker that does
// not answer and a peer that is not there.
const pendingLimit = time.Second

func TestUnmountWhilePending(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	torrent := s.lonely("film.bin", 100_000).torrent
	fastest := patience // of three: other tests run too
	for range 3 {
		tracker, asked := hungTracker(t)
		m := s.mount(s.magnet(torrent, trackerParam(tracker), peerParam(nobody)))
		await(t, "an announce", asked)
		if st := m.state(); !strings.HasPrefix(st, "fetching metadata: ") {
			t.Errorf("the root's state is %q", st)
		}
		pid, began := m.status().PID, time.Now()
		m.unmount()
		fastest = min(fastest, time.Since(began))
		m.awaitGone(pid)
	}
	if fastest > pendingLimit {
		t.Errorf("the unmount took %v, at most %v is allowed", fastest, pendingLimit)
	}
}

// Two links to torrents of one name: what they are called does not depend on which of them
// comes first, and the next mount, which has both at once, calls them the same.
func TestMagnetsOfOneName(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	type film struct{ file, torrent, hash string }
	var films []film
	for i, dir := range []string{"a", "b"} {
		f := film{file: s.write(dir+"/film.bin", noise(uint64(i), 200_000)), torrent: s.path(dir + ".torrent")}
		s.qqbtfs("create", f.file, "-o", f.torrent)
		f.hash = s.info(f.torrent).InfoHash
		films = append(films, f)
	}
	slices.SortFunc(films, func(a, b film) int { return strings.Compare(a.hash, b.hash) })
	links := []string{s.magnet(films[1].torrent), s.magnet(films[0].torrent)}
	m := s.mount(links...)
	s.seed(films[1].torrent, films[1].file, "--peer", m.status().Listen[0])
	m.awaitFiles(1)
	same(t, films[1].file, m.dir+"/film.bin")
	s.seed(films[0].torrent, films[0].file, "--peer", m.status().Listen[0])
	m.awaitFiles(2)
	check := func() {
		t.Helper()
		same(t, films[0].file, m.dir+"/film.bin")
		same(t, films[1].file, m.dir+"/film (2).bin")
	}
	check()
	m.unmount()
	m.again(links...)
	check()
}

// so (BEP 53) says which files are downloaded. The others are there to be read.
func TestMagnetSelectsFiles(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	album := s.album("pub/album")
	torrent := s.create(album, "--piece-length", "16KiB")
	seed := s.seed(torrent, album)
	const chosen, other = "02 夜想曲.flac", "01 Öl auf Holz.flac"
	at := -1
	for i, f := range s.info(torrent).Files {
		if f.Path == chosen {
			at = i
		}
	}
	link := s.magnet(torrent, peerParam(seed.addr), "so="+itoa(at))
	m := s.mount(link)
	m.awaitFiles(1)
	await(t, "the chosen file", func() bool { return strings.HasPrefix(m.torrent().State, "the selected files are complete") })
	if st := m.torrent(); st.BytesHave < 1<<20 || st.BytesHave > 1<<20+64<<10 {
		t.Errorf("%d bytes are here", st.BytesHave)
	}
	same(t, filepath.Join(album, chosen), filepath.Join(m.dir, "album", chosen))
	same(t, filepath.Join(album, other), filepath.Join(m.dir, "album", other))

	s.qqbtfs("get", link, "-o", s.path("down"), "--listen", "127.0.0.1:0")
	same(t, filepath.Join(album, chosen), s.path("down/album/"+chosen))
	if _, err := os.Stat(s.path("down/album/" + other)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s: %v", other, err)
	}
	s.fails(3, "asks for no file", "get", s.magnet(torrent, "so=99"), "-o", s.path("down"), "--listen", "127.0.0.1:0")
}
