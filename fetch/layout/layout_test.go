package layout

import (
	"iter"
	"math/rand/v2"
	"slices"
	"testing"
)

func contiguous(lengths ...int64) ([]Extent, int64) {
	var off int64
	var files []Extent
	for _, n := range lengths {
		files = append(files, Extent{off, n})
		off += n
	}
	return files, off
}

func TestPiecesAndBlocks(t *testing.T) {
	const k = 1 << 10
	tests := []struct {
		name               string
		pieceLength, total int64
		sizes              []int // of the pieces
		lastBlocks         []int // of the last piece
	}{
		{"one byte", 16 * k, 1, []int{1}, []int{1}},
		{"exact", 32 * k, 64 * k, []int{32 * k, 32 * k}, []int{BlockSize, BlockSize}},
		{"short last piece", 32 * k, 32*k + 17*k, []int{32 * k, 17 * k}, []int{BlockSize, k}},
		{"piece shorter than a block", 1000, 2500, []int{1000, 1000, 500}, []int{500}},
		{"piece not of whole blocks", 20 * k, 40 * k, []int{20 * k, 20 * k}, []int{BlockSize, 4 * k}},
		{"total below piece length", 512 << 20, 5, []int{5}, []int{5}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := New(tt.pieceLength, tt.total, nil)
			var sizes []int
			for i := range l.NumPieces() {
				sizes = append(sizes, l.PieceSize(i))
			}
			if !slices.Equal(sizes, tt.sizes) {
				t.Errorf("piece sizes %v, want %v", sizes, tt.sizes)
			}
			last := l.NumPieces() - 1
			var blocks []int
			next := 0
			for b := range l.NumBlocks(last) {
				begin, n := l.Block(last, b)
				if begin != next {
					t.Errorf("block %d begins at %d, want %d", b, begin, next)
				}
				next = begin + n
				blocks = append(blocks, n)
			}
			if !slices.Equal(blocks, tt.lastBlocks) {
				t.Errorf("blocks of the last piece %v, want %v", blocks, tt.lastBlocks)
			}
		})
	}
}

func TestSpans(t *testing.T) {
	files, total := contiguous(5, 0, 10, 3)
	l := New(4, total, files) // pieces of 4, 4, 4, 4, 2
	tests := []struct {
		name   string
		file   int
		off, n int64
		want   []Span
	}{
		{"whole file", 2, 0, 10, []Span{{1, 1, 3}, {2, 0, 4}, {3, 0, 3}}},
		{"inside", 2, 4, 2, []Span{{2, 1, 2}}},
		{"over the end", 3, 1, 100, []Span{{4, 0, 2}}},
		{"to 2^63", 0, 4, 1<<63 - 1, []Span{{1, 0, 1}}},
		{"at the end", 0, 5, 1, nil},
		{"past the end", 0, 99, 1, nil},
		{"nothing", 0, 0, 0, nil},
		{"negative", 0, -2, 3, []Span{{0, 0, 1}}},
		{"empty file", 1, 0, 1, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := slices.Collect(l.Spans(tt.file, tt.off, tt.n)); !slices.Equal(got, tt.want) {
				t.Errorf("Spans(%d, %d, %d) = %v, want %v", tt.file, tt.off, tt.n, got, tt.want)
			}
		})
	}
}

func TestFilePieces(t *testing.T) {
	files, total := contiguous(5, 0, 3, 10)
	l := New(4, total, files)
	for file, want := range [][2]int{{0, 1}, {1, 0}, {1, 1}, {2, 4}} {
		if first, last := l.FilePieces(file); first != want[0] || last != want[1] {
			t.Errorf("FilePieces(%d) = %d, %d, want %v", file, first, last, want)
		}
	}
}

// TestModel compares random layouts with an array that says for every byte of
// the stream which file and which byte of it lies there.
func TestModel(t *testing.T) {
	type place struct {
		file int
		off  int64
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		lengths := make([]int64, 1+rng.IntN(8))
		for i := range lengths {
			lengths[i] = rng.Int64N(30) * rng.Int64N(2)
		}
		lengths[rng.IntN(len(lengths))]++ // never nothing at all
		files, total := contiguous(lengths...)
		l := New(1+rng.Int64N(20), total, files)
		var model []place
		for file, n := range lengths {
			for off := range n {
				model = append(model, place{file, off})
			}
		}

		var seen []place
		for i := range l.NumPieces() {
			next := 0
			for file, c := range l.PieceFiles(i) {
				if c.Begin != next || c.Length <= 0 {
					t.Fatalf("%+v: piece %d: chunk %+v, want it at %d", l, i, c, next)
				}
				next += c.Length
				for k := range c.Length {
					seen = append(seen, place{file, c.FileOff + int64(k)})
				}
			}
			if next != l.PieceSize(i) {
				t.Fatalf("%+v: piece %d: chunks cover %d of %d bytes", l, i, next, l.PieceSize(i))
			}
		}
		if !slices.Equal(seen, model) {
			t.Fatalf("%+v: PieceFiles gives %v, want %v", l, seen, model)
		}

		file := rng.IntN(len(files))
		off := rng.Int64N(lengths[file] + 1)
		n := rng.Int64N(lengths[file] - off + 1)
		var got []place
		for s := range l.Spans(file, off, n) {
			for k := range s.Length {
				got = append(got, model[l.PieceOffset(s.Piece)+int64(s.Begin+k)])
			}
		}
		want := model[files[file].Offset+off:][:n]
		if !slices.Equal(got, want) {
			t.Fatalf("%+v: Spans(%d, %d, %d) gives %v, want %v", l, file, off, n, got, want)
		}
	}
}

func TestIteratorsStopEarly(t *testing.T) {
	files, total := contiguous(5, 5, 5)
	l := New(2, total, files)
	if s, ok := first(l.Spans(1, 0, 5)); !ok || s != (Span{2, 1, 1}) {
		t.Errorf("first span %v, %v", s, ok)
	}
	for file := range l.PieceFiles(2) {
		if file != 0 {
			t.Errorf("first file of piece 2 is %d, want 0", file)
		}
		break
	}
}

func first[T any](seq iter.Seq[T]) (v T, ok bool) {
	for v := range seq {
		return v, true
	}
	return v, false
}

func TestGapsBelongToNoFile(t *testing.T) {
	l := New(8, 24, []Extent{{0, 3}, {16, 8}}) // BEP 52: files start at a piece
	for range l.PieceFiles(1) {
		t.Error("a file has bytes in the gap")
	}
	if first, last := l.FilePieces(1); first != 2 || last != 2 {
		t.Errorf("FilePieces(1) = %d, %d", first, last)
	}
}

// In an aligned layout pieces end with their files, whatever lies behind.
func TestAligned(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		pieceLength := 1 + rng.Int64N(9)
		var files []Extent
		var sizes []int
		var owners []int
		var bytes, pos int64
		for range 1 + rng.IntN(6) {
			n := rng.Int64N(30) * rng.Int64N(2)
			for left := n; left > 0; left -= pieceLength {
				sizes = append(sizes, int(min(left, pieceLength)))
				owners = append(owners, len(files))
			}
			files = append(files, Extent{pos, n})
			bytes += n
			pos = int64(len(sizes)) * pieceLength
			files = append(files, Extent{min(pos, files[len(files)-1].End()), 0}) // padding
		}
		if len(sizes) == 0 {
			continue
		}
		l := NewAligned(pieceLength, pos, files)
		if l.NumPieces() != len(sizes) || l.Bytes() != bytes || !l.Aligned() {
			t.Fatalf("%+v: %d pieces with %d bytes, want %d with %d", l, l.NumPieces(), l.Bytes(), len(sizes), bytes)
		}
		for i, size := range sizes {
			if l.PieceSize(i) != size || l.FileOf(i) != owners[i] {
				t.Fatalf("%+v: piece %d: %d bytes of file %d, want %d of %d", l, i, l.PieceSize(i), l.FileOf(i), size, owners[i])
			}
			for file, c := range l.PieceFiles(i) {
				if file != owners[i] || c.Begin != 0 || c.Length != size {
					t.Fatalf("%+v: piece %d has %+v of file %d", l, i, c, file)
				}
			}
		}
		for k, f := range files {
			n := int64(0)
			for s := range l.Spans(k, 0, f.Length) {
				if owners[s.Piece] != k || s.Begin+s.Length > sizes[s.Piece] {
					t.Fatalf("%+v: file %d: span %+v", l, k, s)
				}
				n += int64(s.Length)
			}
			if n != f.Length {
				t.Fatalf("%+v: spans of file %d have %d bytes", l, k, n)
			}
		}
	}
}

func TestNewRefusesBrokenInvariants(t *testing.T) {
	tests := map[string]func(){
		"no piece length": func() { New(0, 1, nil) },
		"no total":        func() { New(1, 0, nil) },
		"overlap":         func() { New(1, 9, []Extent{{0, 5}, {4, 5}}) },
		"past the end":    func() { New(1, 9, []Extent{{0, 10}}) },
		"negative":        func() { New(1, 9, []Extent{{0, -1}}) },
		"not aligned":     func() { NewAligned(4, 9, []Extent{{0, 3}, {3, 5}}) },
		"a piece of gap":  func() { NewAligned(4, 12, []Extent{{0, 3}, {8, 4}}) },
	}
	for name, f := range tests {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			f()
		})
	}
}

func BenchmarkPieceFiles(b *testing.B) {
	lengths := make([]int64, 61_000)
	for i := range lengths {
		lengths[i] = 20_000
	}
	files, total := contiguous(lengths...)
	l := New(256<<10, total, files)
	n := 0
	for i := 0; b.Loop(); i++ {
		for range l.PieceFiles(i % l.NumPieces()) {
			n++
		}
	}
}
