// Package layout is the arithmetic between the byte ranges of files, pieces and
// 16 KiB blocks.
//
// A torrent's content is one stream of Total bytes, cut into pieces of
// PieceLength bytes (the last one may be shorter, BEP 3). A file is an Extent of
// that stream, a block is BlockSize bytes of a piece (the last one may be
// shorter). Files are known by their index in Files, padding files included.
//
// In the layout of a torrent with a v2 part every file begins with a piece, and its
// last piece ends with it (BEP 52, piece length): what lies between that and the
// next piece, padding in a hybrid, belongs to no piece.
//
// It checks nothing that comes from outside: package metainfo has done so.
package layout

import (
	"iter"
	"slices"
	"sort"
)

// BlockSize is the number of bytes that one request asks for, except at the end
// of a piece (BEP 3, request: "all current implementations use 2^14").
const BlockSize = 16 << 10

// Extent is the place of a file in the torrent's stream, in bytes. Length may be
// zero.
type Extent struct{ Offset, Length int64 }

// End returns the offset of the first byte behind e.
func (e Extent) End() int64 { return e.Offset + e.Length }

// Layout is immutable and safe for concurrent use.
type Layout struct {
	PieceLength int64 // bytes from the begin of a piece to that of the next
	Total       int64 // bytes of the stream, padding included
	Files       []Extent

	sizes []int32 // of the pieces, with v2; else nil: all but the last are full
	bytes int64   // of all pieces
}

// New returns the layout of files in a stream of total bytes. The files lie one
// behind the other in the stream; between them may be gaps. The layout keeps
// files.
func New(pieceLength, total int64, files []Extent) *Layout {
	if pieceLength <= 0 || total <= 0 {
		panic("BUG: layout: no pieces")
	}
	check(total, files)
	return &Layout{PieceLength: pieceLength, Total: total, Files: files, bytes: total}
}

func check(total int64, files []Extent) {
	end := int64(0)
	for _, f := range files {
		if f.Length < 0 || f.Offset < end || f.End() > total {
			panic("BUG: layout: files overlap or pass the end")
		}
		end = f.End()
	}
}

// NewAligned is New for a torrent with a v2 part: each file that is not empty
// begins with a piece, and no piece is without one. Padding files are empty here.
func NewAligned(pieceLength, total int64, files []Extent) *Layout {
	if pieceLength <= 0 || total <= 0 {
		panic("BUG: layout: no pieces")
	}
	check(total, files)
	l := &Layout{PieceLength: pieceLength, Total: total, Files: files}
	for _, f := range files {
		if f.Length > 0 && f.Offset != int64(len(l.sizes))*pieceLength {
			panic("BUG: layout: a file does not begin with the next piece")
		}
		for left := f.Length; left > 0; left -= pieceLength {
			l.sizes = append(l.sizes, int32(min(left, pieceLength)))
		}
		l.bytes += f.Length
	}
	return l
}

// NumPieces returns the number of pieces, at least one.
func (l *Layout) NumPieces() int {
	if l.sizes != nil {
		return len(l.sizes)
	}
	return int((l.Total-1)/l.PieceLength) + 1
}

// Bytes returns the number of bytes of all pieces.
func (l *Layout) Bytes() int64 { return l.bytes }

// Aligned reports whether files begin with pieces, as in a torrent with a v2 part.
func (l *Layout) Aligned() bool { return l.sizes != nil }

// FileOf returns the file that piece i of an aligned layout belongs to.
func (l *Layout) FileOf(i int) int {
	pos := l.PieceOffset(i)
	return sort.Search(len(l.Files), func(k int) bool { return l.Files[k].End() > pos })
}

// PieceOffset returns where piece i begins in the stream.
func (l *Layout) PieceOffset(i int) int64 { return int64(i) * l.PieceLength }

// PieceSize returns the number of bytes of piece i.
func (l *Layout) PieceSize(i int) int {
	if l.sizes != nil {
		return int(l.sizes[i])
	}
	return int(min(l.PieceLength, l.Total-l.PieceOffset(i)))
}

// MaxPiece returns the number of bytes of the longest piece.
func (l *Layout) MaxPiece() int {
	if l.sizes != nil {
		return int(slices.Max(l.sizes))
	}
	return l.PieceSize(0)
}

// NumBlocks returns the number of blocks of piece i.
func (l *Layout) NumBlocks(i int) int { return (l.PieceSize(i)-1)/BlockSize + 1 }

// Block returns the place of block b in piece i, in bytes.
func (l *Layout) Block(i, b int) (begin, length int) {
	begin = b * BlockSize
	return begin, min(BlockSize, l.PieceSize(i)-begin)
}

// Span is a byte range inside of one piece. Length is positive.
type Span struct{ Piece, Begin, Length int }

// Spans yields, in order, the parts of pieces that hold n bytes of a file from
// off on. What lies outside of the file is left out.
func (l *Layout) Spans(file int, off, n int64) iter.Seq[Span] {
	f := l.Files[file]
	if off < 0 {
		n, off = n+off, 0
	}
	n = min(n, f.Length-off)
	return func(yield func(Span) bool) {
		for pos, left := f.Offset+off, n; left > 0; {
			begin := int(pos % l.PieceLength)
			s := Span{int(pos / l.PieceLength), begin, int(min(left, l.PieceLength-int64(begin)))}
			if !yield(s) {
				return
			}
			pos += int64(s.Length)
			left -= int64(s.Length)
		}
	}
}

// FilePieces returns the first and the last piece that hold bytes of a file. An
// empty file has none: last is first-1.
func (l *Layout) FilePieces(file int) (first, last int) {
	f := l.Files[file]
	first = int(f.Offset / l.PieceLength)
	if f.Length == 0 {
		return first, first - 1
	}
	return first, int((f.End() - 1) / l.PieceLength)
}

// Chunk is the part of a piece that belongs to one file: Length bytes, at Begin
// in the piece and at FileOff in the file. Length is positive.
type Chunk struct {
	FileOff       int64
	Begin, Length int
}

// PieceFiles yields, in order, the index of every file that has bytes in piece i
// and which bytes those are.
func (l *Layout) PieceFiles(i int) iter.Seq2[int, Chunk] {
	start := l.PieceOffset(i)
	end := start + int64(l.PieceSize(i))
	return func(yield func(int, Chunk) bool) {
		first := sort.Search(len(l.Files), func(k int) bool { return l.Files[k].End() > start })
		for k := first; k < len(l.Files) && l.Files[k].Offset < end; k++ {
			f := l.Files[k]
			if f.Length == 0 {
				continue
			}
			from, to := max(start, f.Offset), min(end, f.End())
			if !yield(k, Chunk{from - f.Offset, int(from - start), int(to - from)}) {
				return
			}
		}
	}
}
