package badgerstore

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/qqbtfs/qqbtfs/cache"
)

func init() {
	jobs["grows"] = func(dir string) error { return writeInSteps(dir, Options{MinFree: -1}) }
	jobs["reclaims"] = func(dir string) error { return writeInSteps(dir, smallFiles) }
	jobs["errors"] = useBadDisk
}

// smallFiles makes a store rewrite and merge its files all the time.
var smallFiles = Options{Quota: 24 << 20, MinFree: -1}

// A power loss of a disk that writes in any order leaves nothing wrong, and takes no
// piece that was there when the store was last closed, unless its value was being moved
// to reclaim space.
func TestPowerLoss(t *testing.T) {
	for name, opt := range map[string]Options{"grows": {MinFree: -1}, "reclaims": smallFiles} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := mountDisk(t)
			tor, rng := crashTorrent(), rand.New(rand.NewPCG(1, 2))
			moments := watchSteps(t, d, name)
			for n, m := range moments[1:] {
				before := moments[n]
				for _, op := range []int{m.op, m.op - rng.IntN(m.op-before.op+1)} {
					image := t.TempDir()
					d.losePower(t, rng, op, image)
					s, err := Open(filepath.Join(image, "c"), tor.Geometry(), opt)
					must(t, err)
					count, _ := s.have.size()
					right := checkHad(t, s, tor)
					if got := s.Stats().Damaged; got != int64(count-right) {
						t.Errorf("moment %d: %d pieces were had, %d are right, but Damaged = %d", n, count, right, got)
					}
					for i := range m.safe {
						if name == "grows" && !s.Has(i) && (op == m.op || before.safe[i]) {
							t.Errorf("moment %d: piece %d is lost", n, i)
						}
					}
					stopDamaged(s)
				}
			}
		})
	}
}

// moment is a time in the life of a disk.
type moment struct {
	op   int          // behind so many operations
	safe map[int]bool // the pieces of the last Close that were not deleted since
}

// watchSteps runs writeInSteps on the disk.
func watchSteps(t *testing.T, d *disk, how string) (moments []moment) {
	_, in, lines := startChild(t, how, filepath.Join(d.dir, "c"))
	for lines.Scan() {
		d.writeBack()
		m := moment{d.now(), map[int]bool{}}
		for _, field := range strings.Fields(lines.Text()) {
			i, err := strconv.Atoi(field)
			must(t, err)
			m.safe[i] = true
		}
		moments = append(moments, m)
		fmt.Fprintln(in)
	}
	if len(moments) != 3*powerSteps+3 {
		t.Fatalf("the writer ended after %d steps", len(moments))
	}
	return moments
}

// powerSteps is how many steps writeInSteps does between opening and closing.
const powerSteps = 5

// writeInSteps opens and closes the store thrice and puts and deletes pieces meanwhile.
// After each step it prints which pieces must outlive a power loss, and waits for a line.
func writeInSteps(dir string, opt Options) error {
	tor, rng := crashTorrent(), rand.New(rand.NewPCG(3, 4))
	t, in := new(testing.T), bufio.NewScanner(os.Stdin)
	var safe []int
	step := func() {
		fmt.Println(strings.Trim(fmt.Sprint(safe), "[]"))
		in.Scan()
	}
	for range 3 {
		s, err := Open(dir, tor.Geometry(), opt)
		if err != nil {
			return err
		}
		safe = slices.Collect(s.Pieces())
		for range powerSteps {
			i := rng.IntN(tor.NumPieces())
			if s.Has(i) {
				s.Delete(i)
				safe = slices.DeleteFunc(safe, func(k int) bool { return k == i })
			}
			if err := put(t, s, tor, i, rng.IntN(tor.NumPieces())); err != nil && !errors.Is(err, cache.ErrQuota) {
				return err
			}
			if rng.IntN(4) == 0 {
				if err := s.tidy(); err != nil {
					return err
				}
			}
			step()
		}
		safe = slices.Collect(s.Pieces())
		stop(s)
		step()
	}
	return nil
}
