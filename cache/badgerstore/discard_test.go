package badgerstore

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/cache/cachetest"
)

// Where keys are lost their values are noticed at Open, and their space is given back.
// Where none is lost nothing is said.
func TestOrphans(t *testing.T) {
	t.Parallel()
	tor, made, crashed := cachetest.NewTorrent(40, 1<<20, 1<<20), t.TempDir(), t.TempDir()
	s := open(t, made, tor.Geometry(), Options{MinFree: -1})
	mustPut(t, s, tor, all(40)...)
	copyStore(t, crashed, made)
	stop(s)
	gone := func(pattern string) func(t *testing.T, data string) {
		return func(t *testing.T, data string) {
			names, _ := filepath.Glob(filepath.Join(data, pattern))
			for _, name := range names {
				must(t, os.Remove(name))
			}
		}
	}
	cut := func(t *testing.T, data string) { must(t, os.Truncate(filepath.Join(data, "MANIFEST"), 16)) }
	for name, c := range map[string]struct {
		from   string
		damage func(t *testing.T, data string)
		quota  int64
		had    int
		data   string
	}{
		"whole":                 {from: made, damage: gone("nothing"), had: 40, data: "data-1"},
		"crashed":               {from: crashed, damage: gone("nothing"), had: 40, data: "data-1"},
		"no manifest":           {from: made, damage: gone("MANIFEST"), data: "data-2"},
		"cut manifest":          {from: made, damage: cut, data: "data-1"},
		"no tables":             {from: made, damage: gone("*.sst"), data: "data-1"},
		"no tables and a quota": {from: made, damage: gone("*.sst"), quota: 80 << 20, data: "data-1"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "c")
			copyStore(t, dir, c.from)
			c.damage(t, filepath.Join(dir, "data-1"))
			var log bytes.Buffer
			warnings := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))
			s := open(t, dir, tor.Geometry(), Options{Quota: c.quota, MinFree: -1, Logger: warnings})
			if got := checkHad(t, s, tor); got != c.had || filepath.Base(s.home.data) != c.data {
				t.Errorf("%d pieces right in %s, want %d in %s", got, s.home.data, c.had, c.data)
			}
			mustPut(t, s, tor, all(40)...)
			for deadline := time.Now().Add(time.Minute); s.garbage.Load() >= s.sizes.reclaim; runtime.Gosched() {
				if time.Now().After(deadline) {
					t.Fatal("nothing is reclaimed")
				}
			}
			must(t, s.tidy()) // waits for the janitor
			if got, disk := checkHad(t, s, tor), diskBytes(dir); got != 40 || disk > 70<<20 {
				t.Errorf("%d pieces right, %d MiB on disk for 40", got, disk>>20)
			}
			stop(s)
			if warned := log.Len() > 0; warned != (c.had == 0) {
				t.Errorf("the log says %q", &log)
			}
		})
	}
}
