package fetch

import (
	"bytes"
	"context"
	"crypto/sha1"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/cache/memstore"
	"github.com/qqbtfs/qqbtfs/fetch/metainfo"
	"github.com/qqbtfs/qqbtfs/fetch/swarm"
	"github.com/qqbtfs/qqbtfs/fetch/webseed"
)

// webServer serves files from memory and notes the requests.
type webServer struct {
	*httptest.Server
	files map[string][]byte // by their escaped path
	// first sees each request before it is answered, and answers it with true.
	first func(http.ResponseWriter, *http.Request) bool

	mu    sync.Mutex
	asked []string // paths and ranges
}

func newWebServer(t *testing.T) *webServer {
	w := &webServer{files: map[string][]byte{}}
	w.Server = httptest.NewServer(w)
	t.Cleanup(w.Close)
	return w
}

func (w *webServer) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	w.asked = append(w.asked, r.URL.EscapedPath()+" "+r.Header.Get("Range"))
	w.mu.Unlock()
	if w.first != nil && w.first(rw, r) {
		return
	}
	data, ok := w.files[r.URL.EscapedPath()]
	if !ok {
		http.NotFound(rw, r)
		return
	}
	http.ServeContent(rw, r, "", time.Time{}, bytes.NewReader(data))
}

// requests returns what was asked for so far.
func (w *webServer) requests() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.asked)
}

// has makes it a web seed of a content.
func (w *webServer) has(c content) {
	w.files["/data.bin"] = c.data
	c.meta.URLList = []string{w.URL + "/"}
}

// told returns a logger and a channel that is closed once it has been told text.
func told(text string) (*slog.Logger, <-chan struct{}) {
	l := &listener{text: []byte(text), heard: make(chan struct{})}
	return slog.New(slog.NewTextHandler(l, nil)), l.heard
}

type listener struct {
	text  []byte
	once  sync.Once
	heard chan struct{}
}

func (l *listener) Write(b []byte) (int, error) {
	if bytes.Contains(b, l.text) {
		l.once.Do(func() { close(l.heard) })
	}
	return len(b), nil
}

// await waits for something that must happen.
func await(t *testing.T, tor *Torrent, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(20 * time.Second):
		t.Fatalf("it has not happened: %+v", tor.Status())
	}
}

// download adds a torrent with an empty store.
func download(t *testing.T, cfg Config, tc TorrentConfig) *Torrent {
	t.Helper()
	tc.Store = memstore.New(Geometry(tc.Meta))
	return add(t, newSession(t, cfg), tc)
}

// album is a torrent of several files that a server has: with padding, an empty one, and
// names that have to be escaped.
func album(t *testing.T, w *webServer) content {
	t.Helper()
	rnd := rand.New(rand.NewPCG(1, 2))
	var all []byte
	var files []any
	for _, f := range []struct {
		path []string
		size int
		pad  bool
	}{
		{[]string{"a b", "é#1.bin"}, 3<<20 + 17, false}, {[]string{".pad", "1"}, 1<<20 - 17, true},
		{[]string{"empty"}, 0, false}, {[]string{"c", "100%?.bin"}, 2<<20 + 5, false}, {[]string{"d"}, 99, false},
	} {
		data := make([]byte, f.size)
		d := map[string]any{"path": f.path, "length": f.size}
		if f.pad {
			d["attr"] = "p"
		} else {
			for i := range data {
				data[i] = byte(rnd.Uint32())
			}
			w.files["/base/an%5Calbum/"+strings.NewReplacer(" ", "%20", "#", "%23", "?", "%3F", "100%", "100%25", "é", "%C3%A9").Replace(strings.Join(f.path, "/"))] = data
		}
		all = append(all, data...)
		files = append(files, d)
	}
	const pieceLength = 256 << 10
	var pieces []byte
	for at := 0; at < len(all); at += pieceLength {
		sum := sha1.Sum(all[at:min(at+pieceLength, len(all))])
		pieces = append(pieces, sum[:]...)
	}
	return content{parsed(t, map[string]any{
		"url-list": w.URL + "/base",
		"info":     map[string]any{"name": `an\album`, "files": files, "piece length": pieceLength, "pieces": string(pieces), "private": 1},
	}), all}
}

func checkFiles(t *testing.T, tor *Torrent, c content) {
	t.Helper()
	for i, f := range c.meta.Info.Files {
		r := tor.NewReader(i)
		got := make([]byte, f.Length)
		err := readAt(context.Background(), r, got, 0)
		if err != nil || !bytes.Equal(got, c.data[f.Offset:f.Offset+f.Length]) {
			t.Errorf("file %d: %v", i, err)
		}
		r.Close()
	}
}

// A torrent with one web server and no peer, a private one, is filled: by few requests,
// without a byte too much, none of padding.
func TestWebSeedAlone(t *testing.T) {
	w := newWebServer(t)
	c := album(t, w)
	tor := download(t, Config{}, TorrentConfig{Meta: c.meta, Fill: true})
	await(t, tor, tor.Done())
	checkFiles(t, tor, c)
	st := tor.Status()
	if st.Wasted != 0 || st.HashFailures != 0 || len(st.Peers) != 0 || st.KnownPeers != 0 || st.Uploaded != 0 {
		t.Errorf("status: %+v", st)
	}
	content := int64(len(c.data) - (1<<20 - 17))
	if len(st.WebSeeds) != 1 || st.WebSeeds[0] != (WebSeedStatus{URL: w.URL + "/base", State: "idle", InUse: true, Progress: 1, Downloaded: content, DownRate: st.WebSeeds[0].DownRate}) {
		t.Errorf("web seeds: %+v", st.WebSeeds)
	}
	blocks := len(c.data) / (16 << 10)
	if asked := w.requests(); len(asked) > blocks/8 || slices.ContainsFunc(asked, func(s string) bool { return strings.Contains(s, ".pad") }) {
		t.Errorf("%d requests for %d blocks: %q", len(asked), blocks, asked)
	}
}

func TestWebSeedReadsWithoutFill(t *testing.T) {
	w := newWebServer(t)
	c := album(t, w)
	checkFiles(t, download(t, Config{}, TorrentConfig{Meta: c.meta}), c)
}

// Files of v2 and of hybrids begin with pieces; what is padding in the one is nothing in
// the other.
func TestWebSeedOfV2(t *testing.T) {
	for _, version := range []string{"v2", "hybrid"} {
		t.Run(version, func(t *testing.T) {
			w := newWebServer(t)
			f := makeFiles(t, version, 64<<10, 1, 0, 700_000, 16<<10, 64<<10, 3<<20+5, 0, 65_537)
			for name, data := range f.data {
				w.files["/dir/"+name] = data
			}
			f.meta.URLList = []string{w.URL}
			tor := download(t, Config{}, TorrentConfig{Meta: f.meta, Fill: true})
			await(t, tor, tor.Done())
			f.check(t, tor)
			if st := tor.Status(); st.Wasted != 0 {
				t.Errorf("%d bytes wasted", st.Wasted)
			}
		})
	}
}

// The web seed of a magnet link (ws) gives the content when the metadata is here, which
// comes from a peer that has no content.
func TestWebSeedOfMagnet(t *testing.T) {
	w := newWebServer(t)
	c := makeContent(t, 1<<20, 64<<10)
	w.has(c)
	link := c.link()
	link.WebSeeds = c.meta.URLList
	other := newSession(t, Config{})
	add(t, other, TorrentConfig{Meta: &metainfo.MetaInfo{InfoRaw: c.meta.InfoRaw, Info: c.meta.Info}, Store: memstore.New(Geometry(c.meta)), SeedOnly: true})
	p := addMagnet(t, newSession(t, Config{}), MagnetConfig{Link: link, Peers: other.Addrs()})
	awaitMeta(t, p)
	tor, err := p.Torrent(TorrentConfig{Store: memstore.New(Geometry(c.meta)), Fill: true})
	if err != nil {
		t.Fatal(err)
	}
	await(t, tor, tor.Done())
	checkRead(t, tor, c)
}

func TestWebSeedLimit(t *testing.T) {
	w := newWebServer(t)
	c := makeContent(t, 1<<20, 64<<10)
	w.has(c)
	begun := time.Now()
	tor := download(t, Config{DownloadLimit: 1 << 20}, TorrentConfig{Meta: c.meta, Fill: true})
	await(t, tor, tor.Done())
	if took := time.Since(begun); took < 600*time.Millisecond {
		t.Errorf("1 MiB at 1 MiB/s took %v", took)
	}
}

// One file is not on the server: the rest comes from it, and that file from a peer.
func TestWebSeedLacksAFile(t *testing.T) {
	w := newWebServer(t)
	c := album(t, w)
	const lacks = "/base/an%5Calbum/c/100%25%3F.bin"
	delete(w.files, lacks)
	log, heard := told("web seed lacks something")
	tor := download(t, Config{Logger: log}, TorrentConfig{Meta: c.meta, Fill: true})
	await(t, tor, heard)
	for i := range []int{0, 1, 2} { // from the web seed, nobody else is there
		r := tor.NewReader(i)
		if err := readAt(t.Context(), r, make([]byte, c.meta.Info.Files[i].Length), 0); err != nil {
			t.Errorf("file %d: %v", i, err)
		}
		r.Close()
	}
	if st := tor.Status().WebSeeds[0]; !st.InUse || st.Progress >= 1 || st.Progress <= 0.5 {
		t.Errorf("web seed: %+v", st)
	}
	tor.AddPeers(c.seeders(t, 1), "test")
	await(t, tor, tor.Done())
	checkFiles(t, tor, c)
	if n := count404(w, lacks); n > 4 {
		t.Errorf("asked %d times for what is not there", n)
	}
}

func count404(w *webServer, path string) (n int) {
	for _, s := range w.requests() {
		if strings.HasPrefix(s, path) {
			n++
		}
	}
	return n
}

// A URL under which nothing is found is not tried for each of a hundred files.
func TestWebSeedWithNothing(t *testing.T) {
	w := newWebServer(t)
	f := makeFiles(t, "hybrid", 16<<10, slices.Repeat([]int{100}, 100)...)
	f.meta.URLList = []string{w.URL}
	log, heard := told("web seed given up")
	tor := download(t, Config{Logger: log}, TorrentConfig{Meta: f.meta, Fill: true})
	await(t, tor, heard)
	if n := len(w.requests()); n > maxMissing+4 {
		t.Errorf("asked for %d files", n)
	}
	if st := tor.Status(); !strings.Contains(st.WebSeeds[0].State, "given up: has nothing") || st.State != "looking for peers" {
		t.Errorf("%s, %+v", st.State, st.WebSeeds)
	}
}

// A server with wrong bytes is banned, and a peer brings what it spoilt.
func TestWebSeedWithWrongBytes(t *testing.T) {
	w := newWebServer(t)
	c := makeContent(t, 4<<20, 256<<10)
	w.has(c)
	w.files["/data.bin"] = make([]byte, len(c.data))
	log, heard := told("web seed banned")
	tor := download(t, Config{Logger: log}, TorrentConfig{Meta: c.meta, Fill: true})
	await(t, tor, heard)
	for tor.Status().WebSeeds[0].InUse { // its connection is ending
	}
	asked := len(w.requests())
	tor.AddPeers(c.seeders(t, 1), "test")
	await(t, tor, tor.Done())
	checkRead(t, tor, c)
	// One request may have been on its way to the server.
	if st := tor.Status(); len(w.requests()) > asked+1 || st.Banned != 1 || !strings.HasPrefix(st.WebSeeds[0].State, "given up: sent a bad piece") {
		t.Errorf("%d requests after the ban, %+v", len(w.requests())-asked, st)
	}
}

// A server that does not know ranges is left alone, and said to be so; none of what it
// sends is taken in.
func TestWebSeedWithoutRanges(t *testing.T) {
	w := newWebServer(t)
	c := makeContent(t, 16<<20, 256<<10)
	w.has(c)
	var sent atomic.Int64
	w.first = func(rw http.ResponseWriter, r *http.Request) bool {
		n, _ := rw.Write(c.data)
		sent.Add(int64(n))
		return true
	}
	log, heard := told("web seed given up")
	tor := download(t, Config{Logger: log}, TorrentConfig{Meta: c.meta, Fill: true})
	await(t, tor, heard)
	tor.AddPeers(c.seeders(t, 1), "test")
	await(t, tor, tor.Done())
	checkRead(t, tor, c)
	st := tor.Status()
	if st.WebSeeds[0].State != "given up: does not serve ranges: asked for a part of a file it sends all of it" || st.WebSeeds[0].Downloaded != 0 || st.HashFailures != 0 {
		t.Errorf("%+v", st)
	}
}

// Beside peers a web seed serves too and takes the place of none, and neither wastes what
// the other sends.
func TestWebSeedBesidePeers(t *testing.T) {
	w := newWebServer(t)
	c := makeContent(t, 16<<20, 256<<10)
	w.has(c)
	tor := download(t, Config{MaxPeers: 1, DownloadLimit: 32 << 20}, TorrentConfig{Meta: c.meta, Fill: true, Peers: c.seeders(t, 1)})
	await(t, tor, tor.Done())
	checkRead(t, tor, c)
	st := tor.Status()
	if st.Wasted > st.Bytes/20 {
		t.Errorf("%d bytes wasted", st.Wasted)
	}
	if st.WebSeeds[0].Downloaded == 0 || st.Downloaded < st.WebSeeds[0].Downloaded {
		t.Errorf("the web seed gave %d of %d bytes", st.WebSeeds[0].Downloaded, st.Downloaded)
	}
}

// hang answers nothing until the client goes away.
func hang(_ http.ResponseWriter, r *http.Request) bool {
	<-r.Context().Done()
	return true
}

// drip sends a byte, and then another one when the client is long gone.
func drip(c content) func(http.ResponseWriter, *http.Request) bool {
	return func(rw http.ResponseWriter, r *http.Request) bool {
		var first, last int
		fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &first, &last)
		rw.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, last, len(c.data)))
		rw.WriteHeader(http.StatusPartialContent)
		rw.Write(c.data[first : first+1])
		http.NewResponseController(rw).Flush()
		return hang(rw, r)
	}
}

// A server that hangs or drips does not keep a read from what a peer has, nor a torrent
// from being closed.
func TestWebSeedThatHangs(t *testing.T) {
	c := makeContent(t, 4<<20, 256<<10)
	for name, f := range map[string]func(http.ResponseWriter, *http.Request) bool{"hangs": hang, "drips": drip(c)} {
		t.Run(name, func(t *testing.T) {
			w := newWebServer(t)
			asked, ended := make(chan struct{}, 100), make(chan struct{}, 100)
			w.first = func(rw http.ResponseWriter, r *http.Request) bool {
				asked <- struct{}{}
				f(rw, r)
				ended <- struct{}{}
				return true
			}
			w.has(c)
			tor := download(t, Config{}, TorrentConfig{Meta: c.meta, Fill: true})
			await(t, tor, asked) // it is the only source
			tor.AddPeers(c.seeders(t, 1), "test")
			checkRead(t, tor, c)
			await(t, tor, ended) // nobody waits for it any more
		})
	}
}

// A read that leads elsewhere does not wait for a run in the background, whatever that
// takes: here it takes until the test ends.
func TestSeekInWebSeed(t *testing.T) {
	w := newWebServer(t)
	c := makeContent(t, 24<<20, 256<<10)
	w.has(c)
	const far = 16 << 20
	asked := make(chan struct{}, 100)
	var ended atomic.Bool
	w.first = func(rw http.ResponseWriter, r *http.Request) bool {
		var first int
		fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &first)
		if first >= far && first < far+4<<20 {
			return false
		}
		asked <- struct{}{}
		hang(rw, r)
		ended.Store(true)
		return true
	}
	tor := download(t, Config{}, TorrentConfig{Meta: c.meta, Fill: true})
	await(t, tor, asked)
	r := tor.NewReader(0)
	defer r.Close()
	got := make([]byte, 1<<20)
	begun := time.Now()
	if err := readAt(t.Context(), r, got, far); err != nil || !bytes.Equal(got, c.data[far:far+1<<20]) {
		t.Fatal(err)
	}
	t.Logf("1 MiB behind a run that hangs took %v", time.Since(begun))
	if ended.Load() {
		t.Error("it had to wait until the run was given up")
	}
}

// Connections that break in the midst of a run cost no bytes and no read.
func TestWebSeedThatBreaks(t *testing.T) {
	w := newWebServer(t)
	c := makeContent(t, 1<<20, 64<<10)
	w.has(c)
	var n atomic.Int64
	w.first = func(rw http.ResponseWriter, r *http.Request) bool {
		if n.Add(1) > 1 {
			return false
		}
		var first, last int
		fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &first, &last)
		conn, _, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			return false
		}
		fmt.Fprintf(conn, "HTTP/1.1 206 X\r\nContent-Range: bytes %d-%d/%d\r\n\r\n", first, last, len(c.data))
		conn.Write(c.data[first : first+50_000])
		conn.(*net.TCPConn).CloseWrite()
		io.Copy(io.Discard, conn)
		conn.Close()
		return true
	}
	tor := download(t, Config{}, TorrentConfig{Meta: c.meta})
	checkRead(t, tor, c)
	if st := tor.Status(); st.HashFailures != 0 || st.Banned != 0 {
		t.Errorf("status: %+v", st)
	}
}

// What a server sends in the place of an answer does not fill the log and the status.
func TestWebSeedThatBabbles(t *testing.T) {
	w := newWebServer(t)
	c := makeContent(t, 1<<20, 64<<10)
	w.has(c)
	w.first = func(rw http.ResponseWriter, _ *http.Request) bool {
		conn, _, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			return false
		}
		fmt.Fprintf(conn, "%s\r\n\r\n", strings.Repeat("babble", 5000))
		conn.(*net.TCPConn).CloseWrite()
		io.Copy(io.Discard, conn)
		conn.Close()
		return true
	}
	log, heard := told("web seed failed")
	tor := download(t, Config{Logger: log}, TorrentConfig{Meta: c.meta, Fill: true})
	await(t, tor, heard)
	for begun := time.Now(); ; { // its connection is ending
		s := tor.Status().WebSeeds[0].State
		if strings.HasPrefix(s, "failed: ") {
			if !strings.Contains(s, "babble") || len(s) > 500 {
				t.Errorf("%d bytes of status: %.200s", len(s), s)
			}
			return
		}
		if time.Since(begun) > 20*time.Second {
			t.Fatal(s)
		}
	}
}

// What failed on another network is tried again at once: each of these failures would else
// be waited for twice as long as the one before, the last one for half a minute.
func TestWebSeedAfterNetworkChange(t *testing.T) {
	w := newWebServer(t)
	c := makeContent(t, 1<<20, 64<<10)
	w.has(c)
	asked := make(chan struct{}, 1000)
	w.first = func(rw http.ResponseWriter, r *http.Request) bool {
		asked <- struct{}{}
		http.Error(rw, "down", http.StatusBadGateway)
		return true
	}
	tor := download(t, Config{}, TorrentConfig{Meta: c.meta, Fill: true})
	for range 7 {
		await(t, tor, asked)
		for !strings.HasPrefix(tor.Status().WebSeeds[0].State, "failed: HTTP status 502; again in") {
		}
		for len(asked) > 0 {
			<-asked
		}
		tor.networkChanged(change{came: true})
	}
}

// Of what a server lacked on another network, and of one that was given up there, nothing
// is taken for granted.
func TestWebSeedVerdictsEndWithTheNetwork(t *testing.T) {
	single := func(t *testing.T, w *webServer) content {
		c := makeContent(t, 1<<20, 64<<10)
		w.has(c)
		return c
	}
	for verdict, publish := range map[string]func(*testing.T, *webServer) content{"web seed lacks something": album, "web seed given up": single} {
		t.Run(verdict, func(t *testing.T) {
			w := newWebServer(t)
			c := publish(t, w)
			var elsewhere atomic.Bool
			w.first = func(rw http.ResponseWriter, r *http.Request) bool {
				hides := !elsewhere.Load() && !strings.HasSuffix(r.URL.Path, "/d")
				if hides {
					http.NotFound(rw, r)
				}
				return hides
			}
			log, heard := told(verdict)
			tor := download(t, Config{Logger: log}, TorrentConfig{Meta: c.meta, Fill: true})
			await(t, tor, heard)
			elsewhere.Store(true)
			looks := 0
			eventually(t, "all of it", func() bool { // an answer of before may still be on its way
				if looks++; looks&(looks-1) == 0 { // ever more rarely: each begins the seed anew
					tor.networkChanged(change{came: true})
				}
				return tor.Status().Complete
			})
		})
	}
}

// A server that has too much to do, or answers nothing, is asked for less at a time.
func TestOverloaded(t *testing.T) {
	for err, want := range map[error]bool{
		nil:                                  false,
		&webseed.BusyError{After: time.Hour}: true,
		fmt.Errorf("header: %w", os.ErrDeadlineExceeded): true,
		&webseed.UselessError{Why: "no ranges"}:          false,
		io.ErrUnexpectedEOF:                              false,
		errors.New("delivers nothing"):                   false,
	} {
		if got := overloaded(err); got != want {
			t.Errorf("%v: %t", err, got)
		}
	}
}

// A script of BEP 17 is asked for pieces, and not while it says that it is busy.
func TestWebSeedOfPieces(t *testing.T) {
	c := makeContent(t, 2<<20+7, 256<<10)
	var busy atomic.Bool
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		var piece, first, last int
		fmt.Sscan(q.Get("piece"), &piece)
		fmt.Sscanf(q.Get("ranges"), "%d-%d", &first, &last)
		hash := c.meta.HashV1()
		if q.Get("info_hash") != string(hash[:]) || r.URL.Path != "/seed" {
			http.Error(rw, "what?", http.StatusBadRequest)
			return
		}
		if !busy.Swap(true) {
			rw.WriteHeader(http.StatusServiceUnavailable)
			io.WriteString(rw, "1")
			return
		}
		rw.Write(c.data[piece<<18+first : piece<<18+last+1])
	}))
	t.Cleanup(srv.Close)
	c.meta.HTTPSeeds = []string{srv.URL + "/seed"}
	tor := download(t, Config{}, TorrentConfig{Meta: c.meta, Fill: true})
	await(t, tor, tor.Done())
	checkRead(t, tor, c)
}

// Many web seeds of a torrent of many pieces need no more memory for them than one.
func TestWebSeedsShareTheirTables(t *testing.T) {
	const seeds = maxWebSeeds
	c := makeContent(t, 16<<20, 16<<10)
	tor := &Torrent{s: newSession(t, Config{}), log: slog.New(slog.DiscardHandler), meta: c.meta, lay: Layout(c.meta)}
	for i := range seeds {
		c.meta.HTTPSeeds = append(c.meta.HTTPSeeds, fmt.Sprintf("http://127.0.0.1:1/%d", i))
	}
	webs := tor.newWebSeeds()
	for _, w := range webs {
		w.seed.Close()
		if len(w.things) != tor.lay.NumPieces() || &w.things[0] != &webs[0].things[0] {
			t.Errorf("%s has %d things of its own", w.name, len(w.things))
		}
	}
	if len(webs) != seeds {
		t.Errorf("%d web seeds", len(webs))
	}
}

// Peers are told of peers and not of web seeds, which have no address.
func TestWebSeedsAreNotGossip(t *testing.T) {
	w := newWebServer(t)
	c := makeContent(t, 1<<20, 64<<10)
	w.has(c)
	tor := download(t, Config{}, TorrentConfig{Meta: c.meta, Fill: true})
	await(t, tor, tor.Done())
	var views []swarm.PeerView
	tor.ask(func() { views = tor.swarm.Peers() })
	for p := range connectedFor(views, 0, netip.MustParseAddr("::1")) {
		t.Errorf("a peer is told of %v", p)
	}
	if len(views) != 1 {
		t.Errorf("%d in the swarm", len(views))
	}
}

// A torrent that is there already is refused, and nothing of the second one goes on.
func TestWebSeedOfATorrentThatIsThere(t *testing.T) {
	w := newWebServer(t)
	c := makeContent(t, 1<<20, 64<<10)
	w.has(c)
	s := newSession(t, Config{})
	add(t, s, TorrentConfig{Meta: c.meta, Store: c.full(t)})
	if _, err := s.Add(TorrentConfig{Meta: c.meta, Store: memstore.New(Geometry(c.meta)), Fill: true}); err == nil {
		t.Error("added twice")
	}
	if n := len(w.requests()); n > 0 {
		t.Errorf("%d requests", n)
	}
}
