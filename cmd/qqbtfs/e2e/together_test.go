package e2e

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// All clients and a mount of ours download from one seeder at once, whose upload is worth
// that of two of them, so most of what they get is from each other. Everybody completes,
// and ours is neither the slowest nor does it live on the others.
func TestSwarmOfClients(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	const size, rate = 16 << 20, 1_000_000
	content := noise(17, size)
	film := s.write("pub/film.bin", content)
	tracker := newOpentracker(s)
	torrent := s.create(film, "--piece-length", "64KiB", "--tracker", tracker.url("http"))
	tracker.run(torrent)

	s.upload, s.pex = rate, true
	downloads := map[string]*download{}
	for _, c := range clients {
		interop.record(t, c, together, "downloads with the others and our mount from one seeder")
		dir := s.mkdir("down " + c.name)
		c.run(s, torrent, dir)
		downloads[c.name] = &download{name: filepath.Join(dir, "film.bin"), want: content}
	}
	m := s.mount("--upload-limit", "1MB/s", torrent)
	tracker.await(torrent, "incomplete", len(clients)+1)
	s.upload = 2 * rate
	runLibtorrent(s, torrent, filepath.Dir(film))

	began := time.Now()
	var order []string
	done := func(name string) {
		order = append(order, name)
		t.Logf("%s completes after %.1f s", name, time.Since(began).Seconds())
	}
	for len(order) <= len(clients) {
		await(t, fmt.Sprintf("who completes after %v", order), func() bool {
			n := len(order)
			if !slices.Contains(order, "ours") && strings.Contains(m.log(), "download complete") {
				done("ours")
			}
			for name, d := range downloads {
				if !slices.Contains(order, name) && d.complete() {
					done(name)
				}
			}
			return len(order) > n
		})
	}
	same(t, film, m.dir+"/film.bin")
	st := m.torrent()
	ratio := float64(st.Uploaded) / float64(st.Downloaded)
	place := slices.Index(order, "ours") + 1
	t.Logf("ours is number %d of %d, with a ratio of %.2f", place, len(order), ratio)
	interop.note("In the swarm ours completed as number %d of %d (%s), with a ratio of %.2f.",
		place, len(order), strings.Join(order, ", "), ratio)
	if place == len(order) {
		t.Error("ours is the slowest")
	}
	if ratio < leastRatio {
		t.Errorf("ours lives on others: it has a ratio of %.2f, at least %v is wanted", ratio, leastRatio)
	}
}

// leastRatio is what a peer has to give that gets its share. All together give four
// copies of the six, the seeder two.
const leastRatio = 0.25

// download is a file that grows in no particular order.
type download struct {
	name string
	want []byte
	good int // bytes from the start that are right
}

// complete reports whether the file is all there. It reads what it has not seen yet.
func (d *download) complete() bool {
	f, err := os.Open(d.name)
	if os.IsNotExist(err) {
		f, err = os.Open(d.name + ".part") // transmission's, until it is complete
	}
	if err != nil {
		return false
	}
	defer f.Close()
	for buf := make([]byte, 64<<10); d.good < len(d.want); {
		n, err := f.ReadAt(buf[:min(len(buf), len(d.want)-d.good)], int64(d.good))
		if err != nil && err != io.EOF || n == 0 || !bytes.Equal(buf[:n], d.want[d.good:d.good+n]) {
			return false
		}
		d.good += n
	}
	return true
}
