package cache_test

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/qqbtfs/qqbtfs/cache"
)

// With a disk that is only read, its pieces are read, and new ones are in RAM alone,
// where newer ones push out what was read least recently.
func TestReadOnlyDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 0, cache.Config{RAM: 3 * pieceLen, ReadOnly: true}, 0, 1)
		if r.Full() {
			t.Error("Full with an empty RAM tier")
		}
		if got := r.Keeps(); got != 3*pieceLen {
			t.Errorf("Keeps = %d, want the RAM tier", got)
		}
		r.mustPut(5, 6, 7)
		r.wantRead(5, 6, 7)
		if !r.Full() {
			t.Error("not Full with a full RAM tier")
		}
		r.wantRead(5)
		r.mustPut(8)
		r.wantLost(6)
		if !errors.Is(r.lost[6], cache.ErrEvicted) {
			t.Errorf("lost with %v, want ErrEvicted", r.lost[6])
		}
		// A damaged piece is fetched again, and kept in RAM.
		r.wantRead(0)
		r.disk.Spoil(1)
		if err := r.read(1); !errors.Is(err, cache.ErrMiss) {
			t.Errorf("a damaged piece: %v, want ErrMiss", err)
		}
		r.mustPut(1)
		r.wantRead(0, 1)
		if err := r.Flush(t.Context()); err != nil {
			t.Errorf("Flush: %v", err)
		}
		synctest.Wait()
		if st := r.Stats(); st.State != "ok" || st.WriteErrs != 0 || st.Damaged != 1 {
			t.Errorf("Stats: %+v", st)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if n := r.disk.Calls("Put"); n != 0 {
			t.Errorf("%d writes to a disk that is only read", n)
		}
		if got := slices.Collect(r.mem.Pieces()); !slices.Equal(got, []int{0}) {
			t.Errorf("on disk: %v", got)
		}
	})
}
