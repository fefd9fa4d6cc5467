package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/cache/merkle"
	"github.com/qqbtfs/qqbtfs/fetch/magnet"
	"github.com/qqbtfs/qqbtfs/fetch/metainfo"
	"github.com/qqbtfs/qqbtfs/peerconn/peertest"
	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

func parseLink(t *testing.T, s string) *magnet.Link {
	t.Helper()
	link, err := magnet.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return &link
}

// Metadata that was kept is used by the next run, if it is what the link names. The
// trackers are those of the link that is given then.
func TestKeptMetadata(t *testing.T) {
	a := newApp(&strings.Builder{}, &strings.Builder{})
	a.common.cacheDir.Set(home(t))
	m, err := metainfo.Parse(tinyTorrent(t, "tiny"))
	if err != nil {
		t.Fatal(err)
	}
	first := &loaded{link: parseLink(t, magnetOf(m).String())}
	a.recall(first)
	if first.meta != nil {
		t.Fatal("metadata that nobody has kept")
	}
	first.setMeta(m)
	a.keep(first)
	file := a.keptFiles(*first.link)[0]
	if fi, err := os.Stat(file); err != nil || fi.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", fi, err)
	}
	recalled := func() *metainfo.MetaInfo {
		l := &loaded{link: parseLink(t, fmt.Sprintf("magnet:?xt=urn:btih:%x&tr=udp://other:1", m.HashV1()))}
		a.recall(l)
		return l.meta
	}
	if got := recalled(); got == nil || string(got.InfoRaw) != string(m.InfoRaw) || got.Trackers[0][0] != "udp://other:1" {
		t.Errorf("%+v", got)
	}
	for what, content := range map[string][]byte{
		"cut short": m.Torrent()[:100], "of another torrent": tinyTorrent(t, "other"), "empty": nil,
	} {
		writeTestFile(t, file, content)
		if recalled() != nil {
			t.Errorf("metadata is used that is %s", what)
		}
	}
}

// A v2 torrent is kept with its piece layers, without which it is of no use. A hybrid does
// without, and is found by either hash, whichever it was asked for by.
func TestKeptMetadataOfV2(t *testing.T) {
	a := newApp(&strings.Builder{}, &strings.Builder{})
	a.common.cacheDir.Set(home(t))
	dir := t.TempDir()
	content := writeTestFile(t, filepath.Join(dir, "film.bin"), noise(3, 200_000))
	for _, version := range []string{"--v2", "--hybrid"} {
		file := filepath.Join(dir, version+".torrent")
		if r := run(t, "create", content, version, "--piece-length", "16KiB", "-o", file); r.code != codeOK {
			t.Fatal(r.err)
		}
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		m, err := metainfo.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		bare, err := metainfo.FromInfo(m.InfoRaw, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		v1, v2 := fmt.Sprintf("urn:btih:%x", m.HashV1()), fmt.Sprintf("urn:btmh:1220%x", m.HashV2())
		topics := map[string][]string{"--v2": {v2}, "--hybrid": {v1, v2, v1 + "&xt=" + v2}}[version]
		for _, complete := range []bool{true, false} {
			l := &loaded{link: parseLink(t, "magnet:?xt="+topics[0])}
			l.setMeta(map[bool]*metainfo.MetaInfo{true: m, false: bare}[complete])
			a.keep(l)
			for _, topic := range topics {
				again := &loaded{link: parseLink(t, "magnet:?xt="+topic)}
				a.recall(again)
				if want := complete || version == "--hybrid"; (again.meta != nil) != want {
					t.Errorf("%s with layers %v: recalled %v by %s", version, complete, again.meta != nil, topic)
				}
				if complete && again.meta != nil && (len(again.meta.MissingLayers()) > 0 || again.meta.Layer(0)[0] == (merkle.Hash{})) {
					t.Errorf("%s: layers are missing", version)
				}
			}
		}
	}
}

// What was mounted by its file is known to a link afterwards, which gets no trackers from it.
func TestMountedFileIsKept(t *testing.T) {
	a := newApp(&strings.Builder{}, &strings.Builder{})
	dir := home(t)
	a.common.cacheDir.Set(dir)
	file := &loaded{raw: tinyTorrent(t, "tiny")}
	var err error
	if file.meta, err = metainfo.Parse(file.raw); err != nil {
		t.Fatal(err)
	}
	opt, err := a.openCache(dir, t.TempDir(), file, cacheFlags{})
	if err != nil {
		t.Fatal(err)
	}
	if err := opt.close(); err != nil {
		t.Fatal(err)
	}
	link := &loaded{link: parseLink(t, fmt.Sprintf("magnet:?xt=urn:btih:%x", file.meta.HashV1()))}
	if a.recall(link); link.meta == nil || link.meta.Info.Name != "tiny" || len(link.meta.Trackers) > 0 {
		t.Errorf("%+v", link.meta)
	}
}

// The kept files are bounded, and those that were of use last stay.
func TestPrune(t *testing.T) {
	dir := t.TempDir()
	for i := range 10 {
		name := writeTestFile(t, filepath.Join(dir, fmt.Sprint(i)), make([]byte, 5000))
		if err := os.Chtimes(name, time.Time{}, time.Unix(1e9+int64(i*7%10), 0)); err != nil {
			t.Fatal(err)
		}
	}
	prune(dir, 17_000)
	var left []string
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if !slices.Equal(left, []string{"1", "4", "7"}) { // the times 7, 8 and 9
		t.Errorf("%v are left", left)
	}
	prune(filepath.Join(dir, "none"), 0)
}

// Of a torrent that is given by a link and by file nothing has to be fetched.
func TestMagnetAndFile(t *testing.T) {
	dir := home(t)
	file := writeTestFile(t, filepath.Join(dir, "tiny.torrent"), tinyTorrent(t, "tiny"))
	m, err := metainfo.Parse(tinyTorrent(t, "tiny"))
	if err != nil {
		t.Fatal(err)
	}
	link := fmt.Sprintf("magnet:?xt=urn:btih:%x", m.HashV1())
	for _, sources := range [][]string{{link, file}, {file, link}} {
		a := newApp(&strings.Builder{}, &strings.Builder{})
		all, err := a.loadSources(t.Context(), nil, sources)
		if err != nil || len(all) != 1 || all[0].meta == nil {
			t.Errorf("%q: %d torrents, %v", sources, len(all), err)
		}
	}
}

func TestSelectedFiles(t *testing.T) {
	m, err := metainfo.Parse(tinyTorrent(t, "tiny"))
	if err != nil {
		t.Fatal(err)
	}
	for so, want := range map[string][]int{"": nil, "&so=1": {1}, "&so=0-9": {0, 1}, "&so=x": nil} {
		l := &loaded{meta: m, link: parseLink(t, fmt.Sprintf("magnet:?xt=urn:btih:%x%s", m.HashV1(), so))}
		if got, err := l.selected(); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v, %v", so, got, err)
		}
	}
	none := &loaded{meta: m, link: parseLink(t, fmt.Sprintf("magnet:?xt=urn:btih:%x&so=2,5", m.HashV1()))}
	if _, err := none.selected(); exitCode(err) != codeSource || !strings.Contains(err.Error(), "so counts from 0 to 1") {
		t.Errorf("%v", err)
	}
}

// badMetadata serves metadata that is what its hash says and no torrent.
type badMetadata struct{ info []byte }

func (b badMetadata) Run(s *peertest.Session) error {
	if err := s.Handshake(); err != nil {
		return err
	}
	hello := fmt.Sprintf("d1:md11:ut_metadatai9ee13:metadata_sizei%dee", len(b.info))
	if err := s.Write(wire.Extended{Payload: []byte(hello)}); err != nil {
		return err
	}
	for {
		m, err := s.Read()
		if err != nil {
			return err
		}
		if e, ok := m.(wire.Extended); ok && e.ID == 9 {
			head := fmt.Sprintf("d8:msg_typei1e5:piecei0e10:total_sizei%dee", len(b.info))
			if err := s.Write(wire.Extended{ID: 1, Payload: append([]byte(head), b.info...)}); err != nil {
				return err
			}
		}
	}
}

// "A magnet for a torrent whose metadata has unsafe names gives an error, not a crash":
// the info-hash of it fits, and yet nothing of it is kept or shown.
func TestMagnetOfNoTorrent(t *testing.T) {
	dir := home(t)
	for name, info := range map[string]string{
		"no name":         "d6:lengthi1e12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaae",
		"negative length": "d6:lengthi-1e4:name1:a12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaae",
		"bomb":            strings.Repeat("l", 10_000),
	} {
		bad := &metainfo.MetaInfo{InfoRaw: []byte(info)}
		p := peertest.Start(t, &peertest.Torrent{InfoHash: bad.HashV1(), PieceLength: 16 << 10, Data: []byte("x")}, badMetadata{bad.InfoRaw})
		link := fmt.Sprintf("magnet:?xt=urn:btih:%x&x.pe=%s", bad.HashV1(), p.Addr())
		r := run(t, "info", link, "--listen", "127.0.0.1:0")
		if r.code != codeSource || !strings.Contains(r.err, "qqbtfs: magnet:?xt=urn:btih:") {
			t.Errorf("%s: code %d, %q", name, r.code, r.err)
		}
	}
	if kept, _ := os.ReadDir(dir + "/cache/qqbtfs/magnets"); len(kept) > 0 {
		t.Errorf("%d files are kept", len(kept))
	}
}

// info of a link ends by itself, and when it is told to.
func TestInfoGivesUp(t *testing.T) {
	home(t)
	link := "magnet:?xt=urn:btih:" + strings.Repeat("ab", 20)
	r := run(t, "info", link, "--metadata-timeout", "1ms", "--listen", "127.0.0.1:0", "--peer", "127.0.0.1:1")
	if r.code != codeIncomplete || !strings.Contains(r.err, "qqbtfs: gave up before the metadata of "+link+" was here: ") {
		t.Errorf("code %d, %q", r.code, r.err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var errs strings.Builder
	if c := newApp(&errs, &errs).run(ctx, []string{"info", link, "--listen", "127.0.0.1:0"}); c != codeIncomplete || !strings.Contains(errs.String(), "interrupted before") {
		t.Errorf("code %d, %q", c, errs.String())
	}
}

// What of a link cannot be used is said, without passkeys.
func TestUnusableParameters(t *testing.T) {
	dir := home(t)
	var log strings.Builder
	a := newApp(&log, &log)
	a.common.cacheDir.Set(dir)
	link := "magnet:?xt=urn:btih:" + strings.Repeat("ab", 20) + "&so=1,9-2&x.pe=a:0&tr=http://ok/&tr=ftp://host/0123456789abcdef0123456789abcdef/a&ws=%zz"
	if _, err := a.load(t.Context(), nil, link); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"so=9-2", "x.pe=a:0", "tr=ftp://host/", "is=ws"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("nothing of %s: %s", want, log.String())
		}
	}
	if n := strings.Count(log.String(), "\n"); n != 4 || strings.Contains(log.String(), "0123456789") {
		t.Errorf("%d lines: %s", n, log.String())
	}
}

// A shell that has cut the link off at an ampersand has left its hash alone.
func TestCutMagnet(t *testing.T) {
	home(t)
	link := "magnet:?xt=urn:btih:" + strings.Repeat("ab", 20)
	const hint = "the shell ends a command at an unquoted &"
	args := []string{"--metadata-timeout", "1ms", "--listen", "127.0.0.1:0"}
	if r := run(t, append([]string{"info", link}, args...)...); !strings.Contains(r.err, hint) {
		t.Errorf("%q", r.err)
	}
	if r := run(t, append([]string{"info", link + "&dn=x"}, args...)...); strings.Contains(r.err, hint) {
		t.Errorf("%q", r.err)
	}
}

// create prints a link to what it has made, unless nobody may find it by that.
func TestCreatePrintsMagnet(t *testing.T) {
	dir := home(t)
	content := writeTestFile(t, dir+"/a b.bin", noise(1, 100_000))
	args := []string{"create", content, "-o", dir + "/x.torrent", "--force", "--tracker", "udp://t:1"}
	for flag, topics := range map[string]int{"--v2": 1, "--hybrid": 2, "--comment=x": 1, "--private": 0} {
		r := run(t, append(args, flag)...)
		i := strings.Index(r.out, "\nmagnet:")
		if (i >= 0) != (topics > 0) {
			t.Errorf("%s: %q", flag, r.out)
			continue
		}
		if i < 0 {
			continue
		}
		link := parseLink(t, strings.TrimSpace(r.out[i:]))
		var info torrentInfo
		if err := json.Unmarshal([]byte(run(t, "info", "--json", dir+"/x.torrent").out), &info); err != nil {
			t.Fatal(err)
		}
		if link.Name != "a b.bin" || link.Trackers[0] != "udp://t:1" || strings.Count(r.out[i:], "xt=urn:") != topics ||
			link.HasV1 && fmt.Sprintf("%x", link.HashV1) != info.InfoHash || link.HasV2 && fmt.Sprintf("%x", link.HashV2) != info.InfoHashV2 {
			t.Errorf("%s: %s", flag, link)
		}
	}
}
