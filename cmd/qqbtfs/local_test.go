package main

import (
	"math/rand/v2"
	"testing"

	"github.com/qqbtfs/qqbtfs/cache"
	"github.com/qqbtfs/qqbtfs/cache/cachetest"
	"github.com/qqbtfs/qqbtfs/fetch/layout"
)

// What is said of files is what a look at each of their bytes would say.
func TestLocal(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	for range 30 {
		const piece, total = 10, 87
		tor := cachetest.NewTorrent(9, piece, total-8*piece)
		c := cache.New(cache.Config{Geometry: tor.Geometry()})
		var here [total]bool
		for i := range tor.NumPieces() {
			if rng.IntN(2) == 0 {
				continue
			}
			if err := c.Put(t.Context(), tor.Piece(t, nil, i)); err != nil {
				t.Fatal(err)
			}
			for k := i * piece; k < min((i+1)*piece, total); k++ {
				here[k] = true
			}
		}
		var files []layout.Extent // with empty ones, and gaps
		for off := rng.Int64N(5); off < total; off += files[len(files)-1].Length + rng.Int64N(3) {
			files = append(files, layout.Extent{Offset: off, Length: rng.Int64N(min(40, total-off+1))})
		}
		l := local{layout.New(piece, total, files), c}
		for i, f := range files {
			checkLocal(t, l, i, here[f.Offset:f.End()])
		}
		c.Close()
	}
}

// checkLocal compares with what is known of each byte of a file.
func checkLocal(t *testing.T, l local, file int, here []bool) {
	t.Helper()
	n, size := int64(0), int64(len(here))
	next := map[bool]int64{true: size, false: size}
	for off := size - 1; off >= 0; off-- {
		next[here[off]] = off
		if here[off] {
			n++
		}
		for want, at := range next {
			if got := l.next(file, off, want); got != at {
				t.Errorf("%+v: the next byte from %d that is here=%v is %d, want %d", l.lay.Files[file], off, want, got, at)
			}
		}
	}
	if got := l.bytes(file); got != n {
		t.Errorf("%+v: %d bytes are here, want %d", l.lay.Files[file], got, n)
	}
	first, last := l.lay.FilePieces(file)
	pieces := 0
	for i := first; i <= last; i++ {
		if l.store.Has(i) {
			pieces++
		}
	}
	if all, have := l.pieces(file); all != last-first+1 || have != pieces {
		t.Errorf("%+v: %d of %d pieces are here, want %d of %d", l.lay.Files[file], have, all, pieces, last-first+1)
	}
}

// Where three pieces fit, no answer counts four, while one makes room for the next.
func TestLocalAtOneMoment(t *testing.T) {
	const piece, fit = 10, 3
	tor := cachetest.NewTorrent(40, piece, piece)
	c := cache.New(cache.Config{Geometry: tor.Geometry(), RAM: fit * piece})
	defer c.Close()
	size := int64(len(tor.Data))
	l := local{layout.New(piece, size, []layout.Extent{{Length: size}}), c}
	if err := c.Put(t.Context(), tor.Piece(t, nil, 0)); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		for i := range 20_000 {
			if err := c.Put(t.Context(), tor.Piece(t, nil, i%tor.NumPieces())); err != nil {
				done <- err
				return
			}
		}
		close(done)
	}()
	for looks := 0; ; looks++ {
		if _, n := l.pieces(0); n > fit {
			t.Errorf("%d pieces are here, of which %d fit", n, fit)
		}
		if n := l.bytes(0); n > fit*piece {
			t.Errorf("%d bytes are here, of which %d fit", n, fit*piece)
		}
		if n := l.next(0, 0, false); n > fit*piece {
			t.Errorf("%d bytes in a row are here, of which %d fit", n, fit*piece)
		}
		if n := l.next(0, 0, true); n == size {
			t.Error("nothing is here, which was never so")
		}
		select {
		case err := <-done:
			if err != nil || looks == 0 {
				t.Errorf("%d looks, %v", looks, err)
			}
			return
		default:
		}
	}
}
