package e2e

import (
	"testing"
	"time"
)

// Eight mounts of one torrent fill at once from a single seeder whose link is as good
// as theirs. What it sends beyond one copy, and what they need beyond the least
// possible time, is what the swarm wastes; fetchtest has the same with two hundred.
func TestFleet(t *testing.T) {
	s := newSandbox(t)
	const mounts, size, rate = 8, 32 << 20, 2e6 // bytes, bytes per second
	tracker := "127.0.0.1:" + itoa(freePort(t, "127.0.0.1"))
	content := s.write("pub/film.bin", noise(3, size))
	torrent := s.create(content, "--piece-length", "128KiB", "--tracker", "http://"+tracker+"/announce")
	seed := s.seed(torrent, content, "--upload-limit", "2MB/s", "--with-tracker", tracker)

	began := time.Now()
	var fleet [mounts]*mount
	for i := range fleet {
		fleet[i] = s.mount("--peer", seed.addr, "--upload-limit", "2MB/s", "--cache-dir", s.path("cache"+itoa(i)), torrent)
	}
	var took [mounts]time.Duration
	await(t, "a complete fleet", func() bool {
		all := true
		for i, m := range fleet {
			if took[i] == 0 && m.torrent().Complete {
				took[i] = time.Since(began)
			}
			all = all && took[i] > 0
		}
		return all
	})
	var received, sent int64
	var last time.Duration
	for i, m := range fleet {
		st := m.torrent()
		received += st.Downloaded + st.Wasted
		sent += st.Uploaded
		last = max(last, took[i])
		t.Logf("mount %d: %.1f s, ratio %.2f", i, took[i].Seconds(), float64(st.Uploaded)/float64(st.Downloaded))
	}
	copies, least := float64(received-sent)/size, size/rate
	t.Logf("the seeder sent %.2f copies; the last was done after %.1f s, %.2f times the least possible %.1f s",
		copies, last.Seconds(), last.Seconds()/least, least)
	if copies > 1.5 {
		t.Errorf("the seeder sent %.2f copies", copies)
	}
	for _, m := range fleet {
		same(t, content, m.dir+"/film.bin")
	}
}
