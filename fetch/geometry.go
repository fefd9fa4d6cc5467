package fetch

import (
	"github.com/qqbtfs/qqbtfs/cache"
	"github.com/qqbtfs/qqbtfs/fetch/layout"
	"github.com/qqbtfs/qqbtfs/fetch/metainfo"
)

// Layout returns the layout of a torrent's content. That of a hybrid is the one of
// its v2 part: the same pieces, but without the padding, which is known to be zeros
// and neither kept nor asked for.
func Layout(m *metainfo.MetaInfo) *layout.Layout {
	files := make([]layout.Extent, len(m.Info.Files))
	for i, f := range m.Info.Files {
		files[i] = layout.Extent{Offset: f.Offset, Length: f.Length}
		if f.Pad && m.Info.HasV2 {
			files[i].Length = 0
		}
	}
	switch pieceLength := m.Info.PieceLength; {
	case !m.Info.HasV2:
		return layout.New(pieceLength, m.Info.Total, files)
	case m.Info.HasV1:
		return layout.NewAligned(pieceLength, m.Info.Total, files)
	default:
		return layout.NewAligned(pieceLength, int64(m.NumPieces())*pieceLength, files)
	}
}

// Geometry returns what a store must know of a torrent.
func Geometry(m *metainfo.MetaInfo) cache.Geometry {
	lay := Layout(m)
	return cache.Geometry{
		Key:       cache.KeyOf(m.InfoRaw),
		NumPieces: lay.NumPieces(),
		PieceSize: lay.PieceSize,
		Sum:       func(i int) cache.Sum { return sum(m, lay, i) },
	}
}

// sum returns what piece i must hash to: in every way that is known.
func sum(m *metainfo.MetaInfo, lay *layout.Layout, i int) cache.Sum {
	var s cache.Sum
	if root, ok := m.PieceRoot(i); ok {
		s = cache.Root(root, m.Height(lay.FileOf(i)))
	}
	if m.Info.HasV1 {
		whole := min(lay.PieceLength, lay.Total-lay.PieceOffset(i))
		s = s.And(cache.SHA1Padded(m.PieceHash(i), int(whole)-lay.PieceSize(i)))
	}
	return s
}

// NewPool returns a pool of buffers for the pieces of a torrent.
func NewPool(l *layout.Layout) *cache.Pool {
	size := l.MaxPiece()
	return cache.NewPool(size, max(2, (16<<20)/size))
}
