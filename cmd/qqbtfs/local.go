package main

import (
	"github.com/qqbtfs/qqbtfs/cache"
	"github.com/qqbtfs/qqbtfs/fetch/layout"
)

// local says what of a torrent's files, by their index in the metainfo, is in its
// store. Every answer holds at one moment, while pieces come and go.
type local struct {
	lay   *layout.Layout
	store *cache.Cache
}

// bytes returns how many bytes of a file are here.
func (l local) bytes(file int) int64 {
	first, last := l.lay.FilePieces(file)
	n, hasFirst, hasLast := l.store.HadIn(first, last+1)
	here := int64(n) * l.lay.PieceLength
	ext := l.lay.Files[file]
	if hasFirst {
		here -= ext.Offset - l.lay.PieceOffset(first) // other files'
	}
	if hasLast {
		here -= l.lay.PieceOffset(last) + l.lay.PieceLength - ext.End()
	}
	return here
}

// pieces returns how many pieces hold bytes of a file, and how many of them are here.
func (l local) pieces(file int) (all, have int) {
	first, last := l.lay.FilePieces(file)
	have, _, _ = l.store.HadIn(first, last+1)
	return last + 1 - first, have
}

// next returns the first offset from off on, which lies in the file, whose byte is
// here, or is not; the file's length if there is none.
func (l local) next(file int, off int64, here bool) int64 {
	ext := l.lay.Files[file]
	_, last := l.lay.FilePieces(file)
	piece := l.store.Next(int((ext.Offset+off)/l.lay.PieceLength), last+1, here)
	return min(max(l.lay.PieceOffset(piece)-ext.Offset, off), ext.Length)
}
