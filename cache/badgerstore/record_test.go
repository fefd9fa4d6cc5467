package badgerstore

import (
	"bytes"
	"testing"
)

func TestSlabs(t *testing.T) {
	for _, c := range []struct{ n, slabs, last int }{
		{1, 1, 1}, {slabSize, 1, slabSize}, {slabSize + 1, 2, 1}, {3*slabSize - 1, 3, slabSize - 1},
	} {
		if got := numSlabs(c.n); got != c.slabs {
			t.Errorf("numSlabs(%d) = %d, want %d", c.n, got, c.slabs)
		}
		if got := slabLen(c.n, c.slabs-1); got != c.last {
			t.Errorf("slabLen(%d, %d) = %d, want %d", c.n, c.slabs-1, got, c.last)
		}
	}
}

func TestRecordKey(t *testing.T) {
	for _, i := range []int{0, 1, 1<<31 + 5} {
		if got, ok := parseRecordKey(recordKey(i)); !ok || got != i {
			t.Errorf("piece %d comes back as %d, %t", i, got, ok)
		}
	}
	for _, k := range []string{"", "r", "r123", "r12345", "s1234"} {
		if _, ok := parseRecordKey([]byte(k)); ok {
			t.Errorf("%q taken for a record's key", k)
		}
	}
}

// FuzzRecord: what check lets pass is what newRecord makes, and its sums can be
// read.
func FuzzRecord(f *testing.F) {
	f.Add([]byte(newRecord(300<<10)), 300<<10)
	f.Add([]byte(newRecord(1)), 1)
	f.Add([]byte{1, 0, 0}, 3)
	f.Fuzz(func(t *testing.T, b []byte, n int) {
		if n < 1 || n > 1<<29 || record(b).check(n) != nil {
			return
		}
		want := newRecord(n)
		for i := range numSlabs(n) {
			want.setSum(i, record(b).sum(i))
		}
		if !bytes.Equal(want, b) {
			t.Errorf("%x passed for %d bytes, want %x", b, n, want)
		}
	})
}
