package e2e

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// kill ends the mount's process as kill -9 does.
func (m *mount) kill() {
	m.s.t.Helper()
	pid := m.status().PID
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		m.s.t.Fatal(err)
	}
	await(m.s.t, "the end of the process", func() bool { return !alive(pid) })
}

// Killed at random moments of a fill, a mount goes on where it was: what was on disk
// is right and not downloaded again.
func TestKilledDuringFill(t *testing.T) {
	t.Parallel()
	const size, lag = 48 << 20, 8 << 20
	s := newSandbox(t)
	pub := s.publish("film.bin", size, "--upload-limit", "16MB/s")
	m := s.mount("--peer", pub.seed.addr, pub.torrent)
	for range 3 {
		until := min(size, m.torrent().BytesHave+rand.Int64N(12<<20))
		await(t, "some more of the fill", func() bool { return m.torrent().BytesHave >= until })
		before := m.torrent().BytesHave
		m.kill()
		m.again("--fill", "none", "--peer", nobody, pub.torrent)
		// What came in the last moments was still in memory.
		if have := m.torrent().BytesHave; have < before-lag {
			t.Errorf("%d bytes are here of %d that were before the kill", have, before)
		}
		m.unmount()
		m.again("--peer", pub.seed.addr, pub.torrent)
	}
	have := m.torrent().BytesHave
	m.complete()
	same(t, pub.file, m.dir+"/film.bin")
	if st := m.torrent(); st.Cache.Damaged != 0 || st.Downloaded > size-have+lag {
		t.Errorf("downloaded %d bytes, %d were here of %d; %d pieces damaged", st.Downloaded, have, size, st.Cache.Damaged)
	}
}

// cacheFiles are the files of the only torrent's database.
func (s *sandbox) cacheFiles(ext string) []string {
	s.t.Helper()
	files, err := filepath.Glob(s.path("cache/qqbtfs/*/pieces/data-*/*" + ext))
	if err != nil || len(files) == 0 {
		s.t.Fatalf("no *%s in the cache (%v)", ext, err)
	}
	return files
}

// alter changes the bytes [off, off+n) of a file.
func alter(t *testing.T, name string, off, n int64, change func([]byte)) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, n)
	if _, err := f.ReadAt(b, off); err != nil {
		t.Fatal(err)
	}
	change(b)
	if _, err := f.WriteAt(b, off); err != nil {
		t.Fatal(err)
	}
}

// After a power loss files have holes, and end early; old ones and new ones. No wrong
// byte is served, and what is gone is fetched again.
func TestPowerLoss(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	pub := s.publish("film.bin", 24<<20)
	args := []string{"--cache-size", "64MiB", "--peer", pub.seed.addr, pub.torrent} // in many files
	m := s.mount(args...)
	m.complete()
	m.unmount()
	m.again(args...)
	for round, damage := range []func(name string, size int64){
		func(name string, size int64) {
			alter(t, name, size/3, min(size/3, 100<<10), func(b []byte) { clear(b) })
		},
		func(name string, size int64) {
			if err := os.Truncate(name, size*3/4); err != nil {
				t.Fatal(err)
			}
		},
	} {
		m.kill()
		for i, name := range s.cacheFiles("") {
			if fi, err := os.Stat(name); err != nil {
				t.Fatal(err)
			} else if i%3 == round || !strings.HasSuffix(name, ".vlog") {
				damage(name, fi.Size())
			}
		}
		m.again(args...)
		same(t, pub.file, m.dir+"/film.bin")
		m.complete()
		if st := m.torrent(); st.Cache.Damaged == 0 && st.Downloaded == 0 {
			t.Errorf("round %d: no damage was noticed", round)
		}
	}
	m.unmount()
	m.again("--fill", "none", "--peer", nobody, pub.torrent)
	same(t, pub.file, m.dir+"/film.bin")
}
