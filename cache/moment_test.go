package cache_test

import (
	"math/rand/v2"
	"testing"

	"github.com/qqbtfs/qqbtfs/cache"
)

// What is said of a range is what Has says of each piece.
func TestRanges(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 20 {
		var onDisk, put []int
		for i := range 10 {
			switch rng.IntN(3) {
			case 0:
				onDisk = append(onDisk, i)
			case 1:
				put = append(put, i)
			}
		}
		r := newRig(t, 0, cache.Config{}, onDisk...)
		r.mustPut(put...)
		r.checkRanges()
		r.Close()
		r.checkRanges() // nothing is had any more
	}
}

func (r *rig) checkRanges() {
	r.t.Helper()
	for from := range 11 {
		for end := from; end <= 10; end++ {
			n, next := 0, map[bool]int{true: end, false: end}
			for i := end - 1; i >= from; i-- {
				next[r.Has(i)] = i
				if r.Has(i) {
					n++
				}
			}
			got, first, last := r.HadIn(from, end)
			if got != n || first != (from < end && r.Has(from)) || last != (from < end && r.Has(end-1)) {
				r.t.Errorf("[%d, %d): %d are had, first %v, last %v; want %d", from, end, got, first, last, n)
			}
			for had, want := range next {
				if i := r.Next(from, end, had); i != want {
					r.t.Errorf("[%d, %d): next that is had=%v is %d, want %d", from, end, had, i, want)
				}
			}
		}
	}
}
