package bitfield

import (
	"math/rand/v2"
	"testing"
)

func TestScanAgainstModel(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		n := rnd.IntN(200)
		s, o := New(n), New(n)
		for i := range n {
			if rnd.IntN(8) > 0 {
				s.Add(i)
			}
			if rnd.IntN(40) > 0 {
				o.Add(i)
			}
		}
		for i := -1; i <= n; i++ {
			want := -1
			for k := max(i, 0); k < n; k++ {
				if !s.Has(k) {
					want = k
					break
				}
			}
			if got := s.NextClear(i); got != want {
				t.Fatalf("n %d: NextClear(%d) = %d, want %d", n, i, got, want)
			}
		}
		want := false
		for i := range n {
			want = want || s.Has(i) && !o.Has(i)
		}
		if got := s.HasOutside(o); got != want {
			t.Fatalf("n %d: HasOutside = %v, want %v", n, got, want)
		}
	}
}
