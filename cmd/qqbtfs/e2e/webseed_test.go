package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qqbtfs/qqbtfs/fetch/metainfo"
	"github.com/qqbtfs/qqbtfs/peerconn/peertest"
)

// serveFiles is a plain web server of a directory of the sandbox.
func (s *sandbox) serveFiles(dir string) *httptest.Server {
	srv := httptest.NewServer(http.FileServer(http.Dir(s.path(dir))))
	s.t.Cleanup(srv.Close)
	return srv
}

// "A torrent with no peer and one web server mounts and plays", of every version, and
// so it is downloaded.
func TestWebSeed(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"v1", "v2", "hybrid"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t)
			album := s.album("pub/50% Öl & wasser #1?")
			web := s.serveFiles("pub")
			torrent := s.create(album, "--"+version, "--piece-length", "64KiB", "--web-seed", web.URL)
			m := s.mount(torrent)
			same(t, album, filepath.Join(m.dir, filepath.Base(album)))
			m.complete()
			st := m.torrent()
			if st.Downloaded != st.Bytes || st.Wasted != 0 || len(st.Peers) != 0 || st.Uploaded != 0 {
				t.Errorf("of %d bytes %d came and %d were wasted, %d peers", st.Bytes, st.Downloaded, st.Wasted, len(st.Peers))
			}
			if text := s.qqbtfs("status", m.dir); !strings.Contains(text, "web seeds") || !strings.Contains(text, web.URL+": idle") {
				t.Errorf("status: %s", text)
			}
			m.unmount()
			s.qqbtfs("get", "--listen", "127.0.0.1:0", torrent, "-o", s.mkdir("got"))
			same(t, album, s.path("got/"+filepath.Base(album)))
		})
	}
}

// Python's server sends all of a file whatever was asked for. It is given up with words
// that say so, and a mount goes on with a peer.
func TestWebSeedWithoutRanges(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	file := s.write("pub/film.bin", noise(1, 8<<20))
	host, port := freeAddr(t)
	python := start(t, s.command(need(t, "python3"), "-m", "http.server", "--bind", host, "--directory", s.path("pub"), itoa(port)))
	s.awaitPort(python, host, port)
	torrent := s.create(file, "--web-seed", fmt.Sprintf("http://%s:%d/", host, port))
	m := s.mount("--read-timeout", "1s", torrent)
	await(t, "the end of the web seed", func() bool { return strings.HasPrefix(m.torrent().WebSeeds[0].State, "given up") })
	if r := run(t, s.command("cat", m.dir+"/film.bin")); r.code == 0 {
		t.Error("read without a source")
	}
	if text := s.qqbtfs("status", m.dir); !strings.Contains(text, "given up: does not serve ranges") {
		t.Errorf("status: %s", text)
	}
	m.unmount()
	m.again("--peer", s.seed(torrent, file).addr, torrent)
	same(t, file, m.dir+"/film.bin")
	m.unmount()
}

// A script of BEP 17 is asked for ranges of pieces.
func TestHTTPSeed(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	content := noise(2, 3<<20+7)
	file := s.write("pub/film.bin", content)
	torrent := s.create(file, "--piece-length", "64KiB")
	b, err := os.ReadFile(torrent)
	if err != nil {
		t.Fatal(err)
	}
	meta, err := metainfo.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	hash := meta.HashV1()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var piece, first, last int
		q := r.URL.Query()
		_, err := fmt.Sscanf(q.Get("piece")+" "+q.Get("ranges"), "%d %d-%d", &piece, &first, &last)
		if err != nil || q.Get("info_hash") != string(hash[:]) || q.Get("key") != "k" {
			http.Error(w, "what?", http.StatusBadRequest)
			return
		}
		w.Write(content[piece<<16+first : piece<<16+last+1])
	}))
	t.Cleanup(srv.Close)
	meta.HTTPSeeds = []string{srv.URL + "/seed?key=k"} // with a query, so not to be asked: it is on this machine
	m := s.mount("--read-timeout", "1s", s.write("query.torrent", meta.Torrent()))
	await(t, "the end of the web seed", func() bool { return strings.Contains(m.torrent().WebSeeds[0].State, "local address") })
	m.unmount()

	proxy := &peertest.Proxy{}
	peertest.StartProxy(t, proxy)
	u, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	meta.HTTPSeeds[0] = "http://localhost:" + u.Port() + "/seed?key=k" // a name is the proxy's to judge
	m.again("--proxy", "socks5://"+proxy.Addr(), s.write("seed.torrent", meta.Torrent()))
	same(t, file, m.dir+"/film.bin")
	if proxy.Conns() == 0 {
		t.Error("not through the proxy")
	}
	m.unmount()
}
