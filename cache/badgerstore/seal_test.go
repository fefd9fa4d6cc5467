package badgerstore

import (
	"math/rand/v2"
	"os"
	"testing"

	"github.com/qqbtfs/qqbtfs/cache/cachetest"
)

// The position is right to the byte after commits of every kind, files are sealed
// as they fill, and Badger can scan and rewrite them.
func TestSeal(t *testing.T) {
	t.Parallel()
	tor := cachetest.NewTorrent(70, 1<<20+300, 1)
	s := open(t, t.TempDir(), tor.Geometry(), Options{})
	rnd := rand.New(rand.NewPCG(1, 2))
	order := rnd.Perm(70)
	for len(order) > 0 {
		n := min(len(order), 1+rnd.IntN(12))
		mustPut(t, s, tor, order[:n]...)
		if order[0]%9 == 0 {
			must(t, s.Delete(order[0]))
		}
		order = order[n:]
		must(t, s.alone(func() error {
			if name := s.ahead.vlog.path(s.ahead.vlog.id); s.ahead.pos != vlogHeader && !endsAt(name, s.ahead.pos) {
				t.Errorf("%s does not end at %d", name, s.ahead.pos)
			}
			return nil
		}))
	}
	info, err := os.Stat(s.ahead.vlog.path(1))
	must(t, err)
	if n := info.Size(); n%4096 != 0 || n < valueLogSize || n > valueLogSize+commitSize+3*sealPad {
		t.Errorf("a full file has %d bytes: Badger did not find its end where it was expected", n)
	}
	had, _ := s.have.size()
	for i := range 50 {
		if s.Has(i) {
			must(t, s.Delete(i))
			had--
		}
	}
	must(t, s.tidy())
	if got := checkHad(t, s, tor); got != had {
		t.Errorf("%d pieces right after a reclaim, want %d", got, had)
	}
	mustPut(t, s, tor, all(10)...)
	if got := checkHad(t, s, tor); got != had+10 {
		t.Errorf("%d pieces right, want %d", got, had+10)
	}
}
