package e2e

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// Passkeys as trackers use them.
const (
	pathKey  = "0123456789abcdef0123456789abcdef"
	queryKey = "s3cr3tpasskey"
)

// "Secrets in tracker URLs (passkeys) are masked in logs and status": with a tracker
// that works, one that fails, one that redirects and one that is not there, and in a
// SOURCE that is a URL, with the most talkative log.
func TestPasskeysAreMasked(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	var announced atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, ".torrent"):
			http.ServeFile(w, r, s.path("film.bin.torrent"))
		case strings.Contains(r.URL.Path, "/ok/"):
			announced.Add(1)
			_, _ = w.Write([]byte("d8:intervali1800e5:peers0:e"))
		case strings.Contains(r.URL.Path, "/moved/"):
			http.Redirect(w, r, "/"+pathKey+"/gone/announce?passkey="+queryKey, http.StatusFound)
		default:
			http.NotFound(w, r)
		}
	}))
	defer srv.Close()
	key := "/" + pathKey + "/announce?passkey=" + queryKey
	file := s.write("pub/film.bin", noise(7, 300_000))
	torrent := s.create(file,
		"--tracker", srv.URL+"/ok"+key, "--tracker", srv.URL+"/bad"+key, "--tracker", srv.URL+"/moved"+key,
		"--tracker", "http://"+nobody+key, "--tracker", "udp://"+nobody+key)
	seed := s.seed(torrent, file, "-vv")
	m := s.mount("-vv", "--peer", seed.addr, srv.URL+"/dl/"+pathKey+"/film.bin.torrent?passkey="+queryKey)
	same(t, file, m.dir+"/film.bin")
	await(t, "announces of both", func() bool { return announced.Load() >= 2 })
	s.noSecret("status", s.qqbtfs("status", m.dir))
	s.noSecret("status --json", s.qqbtfs("status", m.dir, "--json"))
	s.noSecret("the list of mounts", s.qqbtfs("status"))
	m.unmount()
	log := m.log()
	if !strings.Contains(log, "announced") {
		t.Error("the log does not tell of announces")
	}
	s.noSecret("the mount's log", log)
	s.noSecret("the seed's output", seed.out.String())
	missing := run(t, s.program("mount", srv.URL+"/dl/"+pathKey+"/none?passkey="+queryKey, m.dir))
	if missing.code != 3 {
		t.Errorf("a SOURCE that is not there: exit code %d", missing.code)
	}
	s.noSecret("an error about a SOURCE", missing.out+missing.err)
	s.noSecret("info", s.qqbtfs("info", torrent))
	s.private()
}

// The same for magnet links, which name trackers: while they wait and when they fail.
func TestPasskeysOfMagnetsAreMasked(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	key := "/" + pathKey + "/announce?passkey=" + queryKey
	link := s.magnet(s.lonely("film.bin", 100_000).torrent, trackerParam("http://"+nobody+key), trackerParam("udp://"+nobody+key))
	m := s.mount("-vv", link, link)
	await(t, "an announce that fails", func() bool { return m.torrent().Trackers[0].LastError != "" })
	for _, args := range [][]string{{m.dir}, {m.dir, "--json"}, nil} {
		s.noSecret("status", s.qqbtfs(append([]string{"status"}, args...)...))
	}
	s.noSecret("the root's state", m.state())
	m.unmount()
	if log := m.log(); !strings.Contains(log, "the same torrent twice") || !strings.Contains(log, "announce failed") {
		t.Errorf("the log tells of neither:\n%s", log)
	}
	s.noSecret("the mount's log", m.log())
	for _, args := range [][]string{
		{"mount", link},
		{"mount", strings.Replace(link, "btih", "other", 1), m.dir},
		{"mount", "magnet:?tr=" + pathKey + "&xt=urn:btih:x", m.dir},
		{"info", link, "-vv", "--metadata-timeout", "1s", "--listen", "127.0.0.1:0"},
		{link},
	} {
		r := run(t, s.program(args...))
		if r.code == 0 {
			t.Errorf("%s succeeded", args[0])
		}
		s.noSecret("an error", r.out+r.err)
	}
}

func (s *sandbox) noSecret(what, text string) {
	s.t.Helper()
	for _, secret := range []string{pathKey, queryKey} {
		if i := strings.Index(text, secret); i >= 0 {
			s.t.Errorf("%s holds a passkey: %.300q", what, text[max(0, i-150):])
		}
	}
}

// private fails the test unless nobody else may look into what the program keeps.
// "The cache is 0700; control sockets 0600."
func (s *sandbox) private() {
	s.t.Helper()
	seen := 0
	for _, dir := range []string{"cache/qqbtfs", "run/qqbtfs"} {
		err := filepath.WalkDir(s.path(dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			fi, err := d.Info()
			if err == nil && fi.IsDir() && fi.Mode().Perm()&0o077 != 0 {
				s.t.Errorf("%s has mode %v", path, fi.Mode())
			}
			seen++
			return err
		})
		if err != nil {
			s.t.Error(err)
		}
	}
	if seen < 3 {
		s.t.Errorf("%d files looked at", seen)
	}
	if fi, err := os.Stat(s.path("cache/qqbtfs")); err != nil || fi.Mode().Perm() != 0o700 {
		s.t.Errorf("the cache directory's mode is %v, %v", fi.Mode(), err)
	}
}
