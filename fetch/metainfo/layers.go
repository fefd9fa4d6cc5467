package metainfo

import (
	"crypto/sha256"

	"github.com/qqbtfs/qqbtfs/cache/merkle"
	"github.com/qqbtfs/qqbtfs/peerconn/bencode"
)

const layersName = "piece layers"

// readLayers reads the piece layers (BEP 52) of a torrent with a v2 part. A layer
// that is there must be right; one that is not can be had from peers, like the
// whole metainfo.
func (m *MetaInfo) readLayers(v bencode.Value) error {
	if !m.Info.HasV2 {
		return nil
	}
	if v.Kind() != bencode.Absent && v.Kind() != bencode.Dict {
		return wrongKind(v, bencode.Dict, layersName)
	}
	layers := map[merkle.Hash][]byte{}
	for key, v := range v.Entries() {
		layer, ok := v.Bytes()
		if len(key) != sha256.Size || !ok || len(layer)%sha256.Size != 0 {
			return errorf(layersName, "has an entry that is no list of hashes by a root")
		}
		layers[merkle.Hash(key)] = layer
	}
	m.roots = make([]merkle.Hash, m.NumPieces())
	for i, f := range m.Info.Files {
		switch layer, ok := layers[f.Root]; {
		case f.Length == 0 || f.Pad:
		case f.Length <= m.Info.PieceLength:
			m.roots[f.Offset/m.Info.PieceLength] = f.Root
		case ok:
			if err := m.SetLayer(i, hashesOf(layer)); err != nil {
				return err
			}
		}
	}
	return nil
}

// rawLayers returns the piece layers that are known, as a torrent has them.
func (m *MetaInfo) rawLayers() map[string][]byte {
	out := map[string][]byte{}
	for i, f := range m.Info.Files {
		root := string(f.Root[:])
		if f.Length <= m.Info.PieceLength || out[root] != nil {
			continue
		}
		for _, h := range m.Layer(i) {
			out[root] = append(out[root], h[:]...)
		}
	}
	return out
}

func hashesOf(b []byte) []merkle.Hash {
	out := make([]merkle.Hash, len(b)/sha256.Size)
	for i := range out {
		out[i] = merkle.Hash(b[i*sha256.Size:])
	}
	return out
}

// Height returns how many layers lie above the blocks of a piece of a file. A file
// that is not longer than a piece is its only one.
func (m *MetaInfo) Height(file int) int {
	return merkle.Height(merkle.Blocks(min(m.Info.Files[file].Length, m.Info.PieceLength)))
}

// Layers returns how many layers lie above the blocks of a file.
func (m *MetaInfo) Layers(file int) int {
	return merkle.Height(merkle.Blocks(m.Info.Files[file].Length))
}

// Layer returns the piece layer of a file, one hash for each of its pieces; nil
// while it is not known. A file of one piece has its root there.
func (m *MetaInfo) Layer(file int) []merkle.Hash {
	layer := m.layer(file)
	if len(layer) == 0 || layer[0] == (merkle.Hash{}) {
		return nil
	}
	return layer
}

// layer returns the place of a file's piece layer.
func (m *MetaInfo) layer(file int) []merkle.Hash {
	f := m.Info.Files[file]
	if m.roots == nil || f.Length == 0 || f.Pad {
		return nil
	}
	first := f.Offset / m.Info.PieceLength
	return m.roots[first : first+(f.Length-1)/m.Info.PieceLength+1]
}

// SetLayer tells the piece layer of a file of a v2 torrent. It returns a *Error if
// the layer is not what the file's root says. It must not be called while others
// use the MetaInfo.
func (m *MetaInfo) SetLayer(file int, hashes []merkle.Hash) error {
	f, layer := m.Info.Files[file], m.layer(file)
	if len(hashes) != len(layer) {
		return errorf(layersName, "%d hashes for the %d pieces of %q", len(hashes), len(layer), join(f.Path))
	}
	height := m.Height(file)
	if merkle.Root(hashes, height, m.Layers(file)-height) != f.Root {
		return errorf(layersName, "those of %q do not match its root", join(f.Path))
	}
	copy(layer, hashes)
	return nil
}

// MissingLayers returns the files whose pieces cannot be checked in the way of v2:
// their piece layers have still to be fetched from peers (BEP 52, hash request).
func (m *MetaInfo) MissingLayers() []int {
	if m.roots == nil {
		return nil
	}
	var out []int
	for i, f := range m.Info.Files {
		if f.Length > 0 && !f.Pad && m.Layer(i) == nil {
			out = append(out, i)
		}
	}
	return out
}

// PieceRoot returns the root of the tree of blocks of piece i (BEP 52). It is false
// for a v1 torrent and where the piece layer is missing.
func (m *MetaInfo) PieceRoot(i int) (merkle.Hash, bool) {
	if m.roots == nil || m.roots[i] == (merkle.Hash{}) {
		return merkle.Hash{}, false
	}
	return m.roots[i], true
}
