package e2e

import (
	"strings"
	"testing"
)

// film makes a film of 25 seconds and about 8 MB with ffmpeg; its container follows
// from its name. That of an mp4 has its index at the end.
func (s *sandbox) film(name string) string {
	s.t.Helper()
	path := s.path(name)
	must(s.t, s.command(need(s.t, "ffmpeg"), "-v", "error", "-f", "lavfi", "-i", "testsrc=size=640x360:rate=25:duration=25",
		"-f", "lavfi", "-i", "sine=duration=25", "-vf", "noise=alls=12:allf=t", "-c:v", "mpeg4", "-b:v", "2500k", "-c:a", "aac", path))
	return path
}

// A film can be played and examined while the rest of it is still on its way.
func TestFilm(t *testing.T) {
	t.Parallel()
	need(t, "ffmpeg")
	for _, name := range []string{"film.mp4", "film.mkv"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mpv, ffprobe := need(t, "mpv"), need(t, "ffprobe")
			s := newSandbox(t)
			film := s.film(name)
			torrent := s.create(film, "--piece-length", "64KiB")
			seed := s.seed(torrent, film, "--upload-limit", "500kB/s")
			m := s.mount("--peer", seed.addr, torrent)
			incomplete := func(when string) {
				t.Helper()
				if st := m.torrent(); st.Complete || st.BytesHave == 0 && when != "before" {
					t.Fatalf("%s: %d of %d bytes are there", when, st.BytesHave, st.Bytes)
				}
			}
			incomplete("before")
			out := must(t, s.command(ffprobe, "-v", "error", "-show_entries", "format=duration:stream=codec_name", "-of", "default=nw=1", m.dir+"/"+name))
			for _, fact := range []string{"codec_name=mpeg4", "codec_name=aac", "duration=25."} {
				if !strings.Contains(out, fact) {
					t.Errorf("ffprobe does not say %s: %s", fact, out)
				}
			}
			incomplete("after ffprobe")
			out = must(t, s.command(mpv, "--no-config", "--vo=null", "--ao=null", "--end=3", m.dir+"/"+name))
			if !strings.Contains(out, "End of file") && !strings.Contains(out, "AV: 00:00:0") {
				t.Errorf("mpv says %q", out)
			}
			incomplete("after mpv")
		})
	}
}
