package filestore

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/qqbtfs/qqbtfs/cache"
)

// TestSegments compares segments with a walk over every byte.
func TestSegments(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var files []File
		var owner []segment // of every byte of the stream: file and off
		for f := range 1 + rnd.IntN(12) {
			n := rnd.IntN(4) * rnd.IntN(20)
			files = append(files, File{Path: []string{fmt.Sprint(f)}, Length: int64(n), Pad: rnd.IntN(4) == 0})
			for off := range n {
				owner = append(owner, segment{file: f, off: int64(off), pad: files[f].Pad})
			}
		}
		size := 1 + rnd.IntN(30)
		g := cache.Geometry{
			NumPieces: (len(owner) + size - 1) / size,
			PieceSize: func(i int) int { return min(size, len(owner)-i*size) },
		}
		l, err := newLayout(files, g)
		if err != nil {
			t.Fatal(err)
		}
		for i := range g.NumPieces {
			off := rnd.IntN(g.PieceSize(i))
			n := rnd.IntN(g.PieceSize(i) - off + 1)
			checkSegments(t, l, i, off, n, owner[i*size+off:][:n])
		}
	}
}

func checkSegments(t *testing.T, l layout, i, off, n int, want []segment) {
	t.Helper()
	at := 0
	for seg := range l.segments(i, off, n) {
		if seg.at != at || seg.n <= 0 {
			t.Fatalf("segment at %d, %d bytes; want at %d", seg.at, seg.n, at)
		}
		for k := range seg.n {
			w := want[at+k]
			if seg.file != w.file || seg.off+int64(k) != w.off || seg.pad != w.pad {
				t.Fatalf("byte %d: file %d, offset %d; want %d, %d", at+k, seg.file, seg.off+int64(k), w.file, w.off)
			}
		}
		at += seg.n
	}
	if at != n {
		t.Fatalf("segments have %d bytes, want %d", at, n)
	}
}

func TestNoSpace(t *testing.T) {
	for err, want := range map[error]bool{syscall.ENOSPC: true, syscall.EDQUOT: true, syscall.EIO: false} {
		if got := noSpace(fmt.Errorf("write: %w", err)); errors.Is(got, cache.ErrNoSpace) != want || !errors.Is(got, err) {
			t.Errorf("noSpace(%v) = %v", err, got)
		}
	}
}
