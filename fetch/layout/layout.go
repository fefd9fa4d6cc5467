// Package layout is the arithmetic between the byte ranges of files, pieces and
// 16 KiB blocks.
//
// A torrent's content is one stream of Total bytes, cut into pieces of
// PieceLength bytes (the last one may be shorter, BEP 3). A file is an Extent of
// that stream, a block is BlockSize bytes of a piece (the last one may be
// shorter). Files are known by their index in Files, padding files included.
//
// It checks nothing that comes from outside: package metainfo has done so.
package layout

import (
	"iter"
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
	PieceLength int64 // bytes of every piece but the last one
	Total       int64 // bytes of the stream, padding included
	Files       []Extent
}

// New returns the layout of files in a stream of total bytes. The files lie one
// behind the other in the stream; between them may be gaps. The layout keeps
// files.
func New(pieceLength, total int64, files []Extent) *Layout {
	if pieceLength <= 0 || total <= 0 {
		panic("BUG: layout: no pieces")
	}
	end := int64(0)
	for _, f := range files {
		if f.Length < 0 || f.Offset < end || f.End() > total {
			panic("BUG: layout: files overlap or pass the end")
		}
		end = f.End()
	}
	return &Layout{PieceLength: pieceLength, Total: total, Files: files}
}

// NumPieces returns the number of pieces, at least one.
func (l *Layout) NumPieces() int { return int((l.Total-1)/l.PieceLength) + 1 }

// PieceOffset returns where piece i begins in the stream.
func (l *Layout) PieceOffset(i int) int64 { return int64(i) * l.PieceLength }

// PieceSize returns the number of bytes of piece i.
func (l *Layout) PieceSize(i int) int {
	return int(min(l.PieceLength, l.Total-l.PieceOffset(i)))
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
