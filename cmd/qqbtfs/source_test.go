package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/fetch/metainfo"
)

// tinyTorrent returns a valid .torrent file.
func tinyTorrent(t *testing.T, name string) []byte {
	t.Helper()
	b := metainfo.Builder{Name: name, PieceLength: 16 << 10, Trackers: [][]string{{"http://127.0.0.1:1/announce?passkey=secret"}},
		Comment: "for tests", CreatedBy: "qqbtfs/test", Created: time.Unix(1e9, 0)}
	files := []metainfo.SourceFile{{Path: []string{"dir", "b.txt"}, Length: 5}, {Path: []string{"run.sh"}, Length: 20000, Exec: true}}
	raw, err := b.Build(files, false, make([]byte, 40))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestLoadFromURL(t *testing.T) {
	torrent := tinyTorrent(t, "tiny")
	mux := http.NewServeMux()
	serve := func(path string, b []byte) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { w.Write(b) })
	}
	serve("/ok", torrent)
	serve("/page", []byte("<!DOCTYPE html>"))
	serve("/empty", nil)
	serve("/text", []byte("no torrent here"))
	serve("/magnet", []byte("magnet:?xt="))
	serve("/large", make([]byte, metainfo.MaxFileSize+1))
	mux.HandleFunc("/bomb", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		z.Write(make([]byte, metainfo.MaxFileSize*2))
		z.Close()
	})
	mux.HandleFunc("/gzip", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		z.Write(torrent)
		z.Close()
	})
	mux.Handle("/to-ok", http.RedirectHandler("/ok", http.StatusFound))
	mux.Handle("/loop", http.RedirectHandler("/loop", http.StatusFound))
	mux.Handle("/file", http.RedirectHandler("file:///etc/passwd", http.StatusFound))
	srv := httptest.NewServer(mux)
	defer srv.Close()
	for path, want := range map[string]string{
		"/ok": "", "/to-ok": "", "/gzip": "", "/none": "404", "/page": "web page", "/empty": "is empty",
		"/text": "is not a torrent", "/magnet": "magnet link", "/large": "larger than 10.0 MiB", "/bomb": "larger than 10.0 MiB",
		"/loop": "more than 5 redirects", "/file": "redirected to a file URL",
	} {
		l, err := loadSource(t.Context(), nil, srv.URL+path)
		switch {
		case want == "" && (err != nil || l.meta.Info.Name != "tiny"):
			t.Errorf("%s: %v", path, err)
		case want != "" && (exitCode(err) != codeSource || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
}

// Users, passwords and queries of URLs are secrets.
func TestErrorsKeepSecrets(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	url := strings.Replace(srv.URL, "http://", "http://user:hunter2@", 1) + "/x?passkey=hunter2"
	for range 2 { // once answered, once not
		_, err := loadSource(t.Context(), nil, url)
		if err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "/x") {
			t.Errorf("error is %v", err)
		}
		srv.Close()
	}
}

func TestLoadEndsWithContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	}))
	defer srv.Close()
	if _, err := newApp(nil, nil).loadSources(ctx, nil, []string{srv.URL}); exitCode(err) != codeIncomplete {
		t.Errorf("interrupted load: %v", err)
	}
}

// A link that the shell has cut looks cut: no other does.
func TestAmpersandHint(t *testing.T) {
	for s, want := range map[string]bool{
		"magnet:?xt=urn:btih:00":       true,
		"magnet:?xt=urn:btih:00&dn=x":  false,
		"magnet:?dn=film":              false,
		"magnet:?tr=http://h/announce": false,
		"http://h/get?id=1":            true,
		"http://h/get?id=1&passkey=2":  false,
		"http://h/film.torrent":        false,
		"film?.torrent":                false,
	} {
		if got := ampersandHint(s) != ""; got != want {
			t.Errorf("hint for %s: %v", s, got)
		}
	}
}

func TestRedirectGuard(t *testing.T) {
	for _, c := range []struct {
		dials string
		ok    bool
	}{
		{"127.0.0.1:80 10.0.0.1:80", true}, // the user asked for the local one
		{"127.0.0.1:80 8.8.8.8:80", true},
		{"8.8.8.8:80 1.1.1.1:80", true},
		{"8.8.8.8:80 127.0.0.1:80", false},
		{"8.8.8.8:80 [::ffff:192.168.1.1]:80", false},
		{"[2001:4860::1]:80 [fe80::1]:80", false},
		{"8.8.8.8:80 169.254.169.254:80", false},
	} {
		var g redirectGuard
		var err error
		for _, addr := range strings.Fields(c.dials) {
			err = g.check(netip.MustParseAddrPort(addr))
		}
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", c.dials, err)
		}
	}
}

func TestSameTorrentTwiceIsOne(t *testing.T) {
	dir := t.TempDir()
	one := writeTestFile(t, dir+"/one.torrent", tinyTorrent(t, "tiny"))
	two := writeTestFile(t, dir+"/two.torrent", tinyTorrent(t, "tiny"))
	three := writeTestFile(t, dir+"/three.torrent", tinyTorrent(t, "other"))
	var log bytes.Buffer
	got, err := newApp(nil, &log).loadSources(t.Context(), nil, []string{one, two, three})
	if err != nil || len(got) != 2 || got[0].source != one || got[1].source != three {
		t.Errorf("loaded %d, %v", len(got), err)
	}
	if !strings.Contains(log.String(), "two.torrent") {
		t.Errorf("log says %q", log.String())
	}
}

// A v2 torrent that lacks its piece layers could never be checked.
func TestSourceWithoutLayers(t *testing.T) {
	dir := home(t)
	writeTestFile(t, dir+"/film.mkv", noise(3, 40_000))
	if r := run(t, "create", dir+"/film.mkv", "--v2", "--piece-length", "16k", "-o", dir+"/film.torrent"); r.code != codeOK {
		t.Fatalf("code %d, %q", r.code, r.err)
	}
	whole, err := os.ReadFile(dir + "/film.torrent")
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(whole, []byte("12:piece layers"))
	bare := writeTestFile(t, dir+"/bare.torrent", append(bytes.Clone(whole[:at]), 'e'))
	if r := run(t, "info", bare); r.code != codeSource || !strings.Contains(r.err, "without piece layers") {
		t.Errorf("code %d, %q", r.code, r.err)
	}
}
