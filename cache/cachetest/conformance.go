// Package cachetest proves that a cache.Store does what its contract says.
//
// Conformance is the suite that every Store passes, Persistence the one for
// those that keep their pieces over a restart, FaultStore makes the n-th
// operation of a Store fail, and Torrent makes content to put. Nothing in here
// is for production.
package cachetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/qqbtfs/qqbtfs/cache"
)

// Conformance runs the suite. open returns an empty store for the torrent g and
// cleans up after itself with t.Cleanup; the suite closes the store.
func Conformance(t *testing.T, open func(t *testing.T, g cache.Geometry) cache.Store) {
	shapes := map[string]*Torrent{
		"16KiB":     NewTorrent(9, 16<<10, 5000),
		"odd":       NewTorrent(5, 300<<10+17, 1),
		"one-piece": NewTorrent(1, 70_001, 70_001),
		"tiny":      NewTorrent(40, 1, 1),
	}
	cases := map[string]func(*suite){
		"Empty":      (*suite).empty,
		"PutRead":    (*suite).putRead,
		"Batch":      (*suite).batch,
		"PutTwice":   (*suite).putTwice,
		"Delete":     (*suite).delete,
		"BadRange":   (*suite).badRange,
		"BadPiece":   (*suite).badPiece,
		"Cancelled":  (*suite).cancelled,
		"Closed":     (*suite).closed,
		"Concurrent": (*suite).concurrent,
	}
	for shape, tor := range shapes {
		for name, run := range cases {
			t.Run(name+"/"+shape, func(t *testing.T) {
				s := &suite{T: t, tor: tor, pool: tor.Pool(), Store: open(t, tor.Geometry())}
				run(s)
				s.finish()
			})
		}
	}
}

// suite is one store under test.
type suite struct {
	*testing.T
	cache.Store
	tor  *Torrent
	pool *cache.Pool
}

// finish closes the store and checks that it gave every buffer back.
func (s *suite) finish() {
	s.Helper()
	for range 2 {
		if err := s.Close(); err != nil {
			s.Errorf("Close: %v", err)
		}
	}
	if n := s.pool.InUse(); n != 0 {
		s.Errorf("%d buffers were not released by the time Close returned", n)
	}
}

func (s *suite) put(indices ...int) error {
	var ps []cache.Piece
	for _, i := range indices {
		ps = append(ps, s.tor.Piece(s, s.pool, i))
	}
	return s.Put(context.Background(), ps...)
}

func (s *suite) mustPut(indices ...int) {
	s.Helper()
	if err := s.put(indices...); err != nil {
		s.Fatalf("Put %v: %v", indices, err)
	}
}

func (s *suite) flush() {
	s.Helper()
	if err := s.Flush(context.Background()); err != nil {
		s.Fatalf("Flush: %v", err)
	}
}

// wantHas checks that exactly want, ascending, is had, by every way to ask.
func (s *suite) wantHas(want ...int) {
	s.Helper()
	wantHas(s, s.Store, s.tor, want...)
}

func wantHas(t testing.TB, st cache.Store, tor *Torrent, want ...int) {
	t.Helper()
	if got := slices.Collect(st.Pieces()); !slices.Equal(got, want) {
		t.Errorf("Pieces() = %v, want %v", got, want)
	}
	var size int64
	for i := range tor.NumPieces() {
		has := slices.Contains(want, i)
		if st.Has(i) != has {
			t.Errorf("Has(%d) = %t, want %t", i, !has, has)
		}
		if has {
			size += int64(len(tor.Bytes(i)))
			wantBytes(t, st, tor, i)
		} else if err := st.ReadAt(make([]byte, 1), i, 0); !errors.Is(err, cache.ErrMiss) {
			t.Errorf("ReadAt of piece %d: %v, want ErrMiss", i, err)
		}
	}
	if g := st.Stats(); g.Pieces != len(want) || g.Bytes != size {
		t.Errorf("Stats: %d pieces, %d bytes; want %d, %d", g.Pieces, g.Bytes, len(want), size)
	}
}

// wantBytes reads piece i whole and in odd ranges.
func wantBytes(t testing.TB, st cache.Store, tor *Torrent, i int) {
	t.Helper()
	want := tor.Bytes(i)
	n := len(want)
	for _, r := range [][2]int{{0, n}, {0, 1}, {n - 1, n}, {n / 3, n/3 + (n+1)/2}, {n, n}, {0, 0}} {
		lo, hi := r[0], min(r[1], n)
		dst := make([]byte, hi-lo)
		if err := st.ReadAt(dst, i, lo); err != nil {
			t.Errorf("ReadAt piece %d [%d,%d): %v", i, lo, hi, err)
		} else if !bytes.Equal(dst, want[lo:hi]) {
			t.Errorf("ReadAt piece %d [%d,%d): wrong bytes", i, lo, hi)
		}
	}
}

func (s *suite) all() []int {
	var is []int
	for i := range s.tor.NumPieces() {
		is = append(is, i)
	}
	return is
}

func (s *suite) empty() {
	s.wantHas()
	s.flush()
	if err := s.Delete(0); err != nil {
		s.Errorf("Delete of a piece that is not had: %v", err)
	}
	if err := s.Put(context.Background()); err != nil {
		s.Errorf("Put of nothing: %v", err)
	}
	if st := s.Stats().State; st != "ok" {
		s.Errorf("State = %q, want ok", st)
	}
}

func (s *suite) putRead() {
	last := s.tor.NumPieces() - 1
	s.mustPut(last)
	s.wantHas(last)
	s.flush()
	s.wantHas(last)
	for _, i := range s.all() {
		if i != last {
			s.mustPut(i)
		}
	}
	s.wantHas(s.all()...)
	if st := s.Stats().State; st != "ok" {
		s.Errorf("State = %q, want ok", st)
	}
}

func (s *suite) batch() {
	order := s.all()
	slices.Reverse(order)
	s.mustPut(order...)
	s.wantHas(s.all()...)
	s.flush()
	s.wantHas(s.all()...)
}

func (s *suite) putTwice() {
	s.mustPut(0)
	s.mustPut(0)
	s.wantHas(0)
	s.flush()
	s.mustPut(0, 0)
	s.flush()
	s.wantHas(0)
}

func (s *suite) delete() {
	s.mustPut(s.all()...)
	last := s.tor.NumPieces() - 1
	for _, flushed := range []bool{false, true} {
		if flushed {
			s.flush()
		}
		if err := s.Delete(last); err != nil {
			s.Fatalf("Delete: %v", err)
		}
		s.wantHas(s.all()[:last]...)
		s.mustPut(last)
		s.wantHas(s.all()...)
	}
}

func (s *suite) badRange() {
	s.mustPut(s.all()...)
	n := len(s.tor.Bytes(0))
	for _, r := range [][2]int{{-1, 1}, {0, n + 1}, {n, 1}, {n + 1, 0}, {1 << 30, 1}, {-1 << 30, 1}} {
		err := s.ReadAt(make([]byte, r[1]), 0, r[0])
		if err == nil || errors.Is(err, cache.ErrMiss) {
			s.Errorf("ReadAt off %d, %d bytes: %v, want an error other than ErrMiss", r[0], r[1], err)
		}
	}
	for _, i := range []int{-1, s.tor.NumPieces(), 1 << 30} {
		if err := s.ReadAt(make([]byte, 1), i, 0); !errors.Is(err, cache.ErrMiss) {
			s.Errorf("ReadAt of piece %d: %v, want ErrMiss", i, err)
		}
		if s.Has(i) {
			s.Errorf("Has(%d)", i)
		}
		if err := s.Delete(i); err != nil {
			s.Errorf("Delete(%d): %v", i, err)
		}
	}
}

// badPiece puts verified pieces of another torrent.
func (s *suite) badPiece() {
	n := s.tor.NumPieces()
	other := NewTorrent(n+1, s.tor.PieceLength+1, s.tor.PieceLength+1)
	for _, i := range []int{0, n} {
		if err := s.Put(context.Background(), other.Piece(s, nil, i)); err == nil {
			s.Errorf("Put of piece %d of another torrent: no error", i)
		}
	}
	s.wantHas()
}

// cancelled puts with a context that is over: it may work or fail, but not
// leak, and what Has says is true.
func (s *suite) cancelled() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err := s.Put(ctx, s.tor.Piece(s, s.pool, 0))
	if s.Has(0) {
		s.wantHas(0)
	} else if !errors.Is(err, context.Canceled) {
		s.Errorf("Put: %v, but the piece is not had", err)
	}
}

func (s *suite) closed() {
	s.mustPut(0)
	if err := s.Close(); err != nil {
		s.Fatalf("Close: %v", err)
	}
	for op, err := range map[string]error{
		"Put":    s.put(0),
		"ReadAt": s.ReadAt(make([]byte, 1), 0, 0),
		"Delete": s.Delete(0),
		"Flush":  s.Flush(context.Background()),
	} {
		if !errors.Is(err, cache.ErrClosed) {
			s.Errorf("%s after Close: %v, want ErrClosed", op, err)
		}
	}
	if s.Has(0) || len(slices.Collect(s.Pieces())) != 0 {
		s.Error("a piece is had after Close")
	}
	s.Stats()
}

// concurrent does everything at once; readers must see right bytes or ErrMiss.
func (s *suite) concurrent() {
	var wg sync.WaitGroup
	errs := make(chan error, 8)
	for worker := range 8 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(worker), 7))
			for range 60 {
				if err := s.step(rnd); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		s.Error(err)
	}
	s.mustPut(s.all()...)
	s.wantHas(s.all()...)
}

func (s *suite) step(rnd *rand.Rand) error {
	i := rnd.IntN(s.tor.NumPieces())
	want := s.tor.Bytes(i)
	switch rnd.IntN(8) {
	case 0:
		return s.Delete(i)
	case 1:
		return s.Flush(context.Background())
	case 2, 3, 4:
		return s.put(i)
	case 5:
		s.Stats()
		for range s.Pieces() {
		}
		return nil
	default:
		off := rnd.IntN(len(want))
		dst := make([]byte, 1+rnd.IntN(len(want)-off))
		err := s.ReadAt(dst, i, off)
		if errors.Is(err, cache.ErrMiss) {
			return nil
		}
		if err == nil && !bytes.Equal(dst, want[off:off+len(dst)]) {
			err = fmt.Errorf("piece %d [%d,+%d): wrong bytes", i, off, len(dst))
		}
		return err
	}
}
