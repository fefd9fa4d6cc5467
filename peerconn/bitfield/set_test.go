package bitfield

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
)

// BEP 3: "The first byte of the bitfield corresponds to indices 0 - 7 from high
// bit to low bit, respectively."
func TestWireOrder(t *testing.T) {
	s := New(12)
	for _, i := range []int{0, 2, 9, 11} {
		if !s.Add(i) {
			t.Errorf("piece %d was not new", i)
		}
	}
	if got := s.Wire(); !bytes.Equal(got, []byte{0xa0, 0x50}) {
		t.Errorf("wire %x", got)
	}
}

func TestFromWire(t *testing.T) {
	for _, test := range []struct {
		b    []byte
		n    int
		want []int // nil: refused
	}{
		{[]byte{}, 0, []int{}},
		{[]byte{0x80}, 1, []int{0}},
		{[]byte{0x81}, 8, []int{0, 7}},
		{[]byte{0x00, 0x80}, 9, []int{8}},
		{bytes.Repeat([]byte{0, 0, 0, 1}, 5), 160, []int{31, 63, 95, 127, 159}},
		{[]byte{0x40}, 1, nil},        // spare bit
		{[]byte{0xff, 0xff}, 15, nil}, // spare bit
		{[]byte{0x00, 0x00}, 8, nil},  // long
		{[]byte{}, 1, nil},            // short
		{[]byte{0x00}, 0, nil},
		{[]byte{}, -1, nil},
	} {
		s, err := FromWire(test.b, test.n)
		if test.want == nil {
			if err == nil {
				t.Errorf("%x of %d pieces: accepted as %v", test.b, test.n, s)
			}
			continue
		}
		if got := slices.Collect(s.Ones()); err != nil || !slices.Equal(got, test.want) {
			t.Errorf("%x of %d pieces: got %v, %v, want %v", test.b, test.n, got, err, test.want)
		}
	}
}

func TestOutOfRange(t *testing.T) {
	s := New(64)
	for _, i := range []int{-1, 64, 1 << 40} {
		if s.Add(i) || s.Has(i) || s.Remove(i) {
			t.Errorf("index %d is in", i)
		}
	}
	var zero Set
	if zero.Add(0) || zero.Has(0) || zero.Count() != 0 {
		t.Error("the zero Set has room")
	}
}

func TestFillAndClone(t *testing.T) {
	for _, n := range []int{0, 1, 63, 64, 65, 1000} {
		s := New(n)
		s.Fill()
		if !s.All() || s.Count() != n {
			t.Errorf("%d pieces: filled to %d", n, s.Count())
		}
		if again, err := FromWire(s.Wire(), n); err != nil || again.Count() != n {
			t.Errorf("%d pieces: %v, %v", n, again, err)
		}
		c := s.Clone()
		if c.Remove(0); n > 0 && (!s.Has(0) || c.Has(0) || c.All()) {
			t.Errorf("%d pieces: the clone shares its bits", n)
		}
	}
}

// TestModel checks random operations against a map.
func TestModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		n := rng.IntN(300)
		s, model := New(n), map[int]bool{}
		for range 500 {
			i := rng.IntN(n+4) - 2
			in := i >= 0 && i < n
			if rng.IntN(3) > 0 {
				if got, want := s.Add(i), in && !model[i]; got != want {
					t.Fatalf("Add(%d) of %d: %v", i, n, got)
				}
				if in {
					model[i] = true
				}
			} else {
				if got := s.Remove(i); got != model[i] {
					t.Fatalf("Remove(%d) of %d: %v", i, n, got)
				}
				delete(model, i)
			}
			if s.Count() != len(model) || s.Has(i) != model[i] || s.All() != (len(model) == n) {
				t.Fatalf("%v against %d", s, len(model))
			}
		}
		for i := range s.Ones() {
			if !model[i] {
				t.Fatalf("%d is in the set only", i)
			}
		}
	}
}

func TestOnesStops(t *testing.T) {
	s := New(100)
	s.Fill()
	for i := range s.Ones() {
		if i == 70 {
			return
		}
	}
	t.Error("did not stop")
}

func FuzzFromWire(f *testing.F) {
	f.Add([]byte{0xff, 0x80}, 9)
	f.Add([]byte{}, 0)
	f.Add([]byte{0x01}, 7)
	f.Fuzz(func(t *testing.T, b []byte, n int) {
		s, err := FromWire(b, n)
		if err != nil {
			return
		}
		if !bytes.Equal(s.Wire(), b) || s.Len() != n {
			t.Errorf("%x of %d became %x of %d", b, n, s.Wire(), s.Len())
		}
		if got := len(slices.Collect(s.Ones())); got != s.Count() {
			t.Errorf("%d members, counted %d", got, s.Count())
		}
	})
}

func BenchmarkHas(b *testing.B) {
	s := New(1 << 16)
	s.Fill()
	for i := range b.N {
		if !s.Has(i & (1<<16 - 1)) {
			b.Fatal("missing")
		}
	}
}

func BenchmarkOnes(b *testing.B) {
	s := New(1 << 16)
	for i := 0; i < s.Len(); i += 50 {
		s.Add(i)
	}
	b.SetBytes(int64(WireLen(s.Len())))
	for b.Loop() {
		n := 0
		for range s.Ones() {
			n++
		}
		if n != s.Count() {
			b.Fatal(n)
		}
	}
}
