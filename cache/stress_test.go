package cache_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/qqbtfs/qqbtfs/cache"
)

// TestStress does everything at once on a small RAM tier, a quota, and a disk
// that fails and has rotten pieces. Reads give right bytes or ErrMiss, the books stay right,
// and every buffer comes back.
func TestStress(t *testing.T) {
	for seed := range uint64(20) {
		r := newRig(t, 0, cache.Config{
			RAM: 4 * pieceLen, Quota: 7 * pieceLen, Pinned: func(i int) bool { return i == 4 },
		}, 0, 1, 2, 3, 4)
		r.disk.Spoil(int(seed % 5))
		var wg sync.WaitGroup
		for worker := range uint64(4) {
			wg.Go(func() {
				rnd := rand.New(rand.NewPCG(seed, worker))
				for range 100 {
					r.step(rnd)
				}
			})
		}
		wg.Wait()
		r.disk.Break("Put", nil)
		r.disk.Break("ReadAt", nil)
		if err := r.Close(); err != nil {
			t.Errorf("seed %d: Close: %v", seed, err)
		}
		if err := r.CheckInvariants(); err != nil {
			t.Errorf("seed %d: after Close: %v", seed, err)
		}
		r.mem.Close()
		if n := r.pool.InUse(); n != 0 {
			t.Errorf("seed %d: %d buffers in use", seed, n)
		}
	}
}

func (r *rig) step(rnd *rand.Rand) {
	i := rnd.IntN(r.tor.NumPieces())
	var err error
	switch rnd.IntN(20) {
	case 0:
		err = r.Delete(i)
	case 1:
		err = r.Flush(context.Background())
	case 2:
		r.disk.Break("Put", []error{nil, errFault, cache.ErrNoSpace}[rnd.IntN(3)])
	case 3:
		r.disk.Break("ReadAt", []error{nil, nil, errFault}[rnd.IntN(3)])
	case 4, 5, 6, 7, 8:
		err = r.Put(context.Background(), r.tor.Piece(r.t, r.pool, i))
	case 9:
		r.Stats()
		r.Full()
		err = r.CheckInvariants()
	default:
		err = r.read(i)
	}
	if err != nil && !errors.Is(err, cache.ErrMiss) && !errors.Is(err, errFault) && !errors.Is(err, cache.ErrNoSpace) {
		r.t.Error(err)
	}
}
