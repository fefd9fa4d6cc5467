package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A seed ends by itself when it has given, in all its runs, what it was to give, and
// gives no block more.
func TestSeedRatio(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	content := s.write("pub/film.bin", noise(4, 2<<20))
	torrent := s.create(content, "--piece-length", "64KiB")
	seed := func() *process {
		p := start(t, s.program("seed", torrent, "--data", content, "--listen", "127.0.0.1:0", "--seed-ratio", "1.5"))
		p.awaitOutput(t, "\npeer ")
		return p
	}
	keeps := func(want string) {
		t.Helper()
		files, _ := filepath.Glob(s.path("cache/qqbtfs/*/seeding"))
		if len(files) != 1 {
			t.Fatalf("%v is kept", files)
		}
		if got, err := os.ReadFile(files[0]); err != nil || !strings.HasPrefix(string(got), want) {
			t.Errorf("%q is kept, want %q", got, want)
		}
	}
	first := seed()
	s.qqbtfs("get", torrent, "-o", s.path("down"), "--listen", "127.0.0.1:0", "--peer", afterWord(t, first.out.String(), "peer"))
	same(t, content, s.path("down/film.bin"))
	if err := first.stop(t, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	keeps(`{"uploaded":2097152,`)

	second := seed()
	m := s.mount("--peer", afterWord(t, second.out.String(), "peer"), torrent)
	if err := second.wait(t); err != nil {
		t.Errorf("the seed ended with %v", err)
	}
	keeps(`{"uploaded":3145728,`)
	await(t, "the last block at the mount", func() bool { return m.torrent().Downloaded == 1<<20 })
	m.unmount()

	if err := seed().wait(t); err != nil {
		t.Errorf("the seed ended with %v", err)
	}
	keeps(`{"uploaded":3145728,`)
}

// A mount that has seeded long enough serves no peer any more and goes on serving reads;
// one with --no-upload never serves a peer, and says so.
func TestMountsThatServeNobody(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	pub := s.publish("film.bin", 2<<20)
	for _, tc := range []struct{ flags, says string }{
		{"--seed-time=1ms", "seeded for 1ms"},
		{"--no-upload", "uploading is off"},
	} {
		m := s.mount("--peer", pub.seed.addr, tc.flags, pub.torrent)
		m.complete()
		await(t, tc.says, func() bool { return m.torrent().NotServing == tc.says })
		if text := s.qqbtfs("status", m.dir); !strings.Contains(text, "complete, "+tc.says) {
			t.Errorf("status does not say %q:\n%s", tc.says, text)
		}
		same(t, pub.file, m.dir+"/film.bin")
		get := start(t, s.program("get", pub.torrent, "-o", s.path("down"), "--listen", "127.0.0.1:0", "--peer", m.status().Listen[0]))
		await(t, "a peer that is not served", func() bool {
			st := m.torrent()
			return len(st.Peers) == 1 && st.Peers[0].Interested && !st.Peers[0].Unchoked
		})
		if st := m.torrent(); st.Uploaded != 0 {
			t.Errorf("%s: %d bytes were uploaded", tc.flags, st.Uploaded)
		}
		_ = get.stop(t, syscall.SIGINT)
		m.unmount()
	}
}
