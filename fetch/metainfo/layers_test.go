package metainfo

import (
	"strings"
	"testing"

	"github.com/qqbtfs/qqbtfs/cache/merkle"
)

// layer is a piece layer of n pieces of two blocks, as it stands in a torrent, with
// the root above it.
func layer(n int) (hashes []merkle.Hash, raw, root string) {
	for i := range n {
		h := merkle.Leaf([]byte{byte(i)})
		hashes = append(hashes, h)
		raw += string(h[:])
	}
	r := merkle.Root(hashes, 1, merkle.Height(int64(n)))
	return hashes, raw, string(r[:])
}

// layeredTorrent has the files a of three pieces, b of one that is full, c of one
// and a bit, and e that is empty.
func layeredTorrent() d {
	const pieceLength = 32768
	_, layerA, rootA := layer(3)
	_, layerC, rootC := layer(2)
	leaf := func(length int, root string) d { return d{"": d{"length": length, "pieces root": root}} }
	return d{
		"info": d{"name": "dir", "piece length": pieceLength, "meta version": 2, "file tree": d{
			"a": leaf(3*pieceLength-5, rootA), "b": leaf(pieceLength, root), "c": leaf(pieceLength+1, rootC), "e": d{"": d{"length": 0}},
		}},
		"piece layers": d{rootA: layerA, rootC: layerC},
	}
}

func TestPieceLayers(t *testing.T) {
	m, err := Parse(encode(t, layeredTorrent()))
	if err != nil {
		t.Fatal(err)
	}
	checkInvariants(t, m)
	a, _, _ := layer(3)
	c, _, _ := layer(2)
	for i, want := range []merkle.Hash{a[0], a[1], a[2], merkle.Hash([]byte(root)), c[0], c[1]} {
		if got, ok := m.PieceRoot(i); !ok || got != want {
			t.Errorf("piece %d: %x, want %x", i, got, want)
		}
	}
	if m.NumPieces() != 6 || len(m.MissingLayers()) != 0 || len(m.Layer(0)) != 3 || m.Layer(3) != nil {
		t.Errorf("%d pieces, missing %v", m.NumPieces(), m.MissingLayers())
	}
	if h, l := m.Height(0), m.Layers(0); h != 1 || l != 3 {
		t.Errorf("a has %d layers in a piece and %d in all, want 1 and 3", h, l)
	}
}

// Torrent keeps the layers, those that came later too.
func TestTorrentHasLayers(t *testing.T) {
	m, err := Parse(encode(t, layeredTorrent()))
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse(m.Torrent())
	if err != nil || len(again.MissingLayers()) != 0 || again.HashV2() != m.HashV2() {
		t.Errorf("%v, missing %v", err, again.MissingLayers())
	}
	bare, err := FromInfo(m.InfoRaw, nil, nil)
	if err != nil || len(bare.MissingLayers()) != 2 {
		t.Fatalf("%v", err)
	}
	for _, i := range bare.MissingLayers() {
		if err := bare.SetLayer(i, m.Layer(i)); err != nil {
			t.Fatal(err)
		}
	}
	if again, err = Parse(bare.Torrent()); err != nil || len(again.MissingLayers()) != 0 {
		t.Errorf("%v, missing %v", err, again.MissingLayers())
	}
}

func TestMissingLayers(t *testing.T) {
	torrent := layeredTorrent()
	delete(torrent, "piece layers")
	m, err := Parse(encode(t, torrent))
	if err != nil {
		t.Fatal(err)
	}
	if got := m.MissingLayers(); len(got) != 2 || got[0] != 0 || got[1] != 2 {
		t.Fatalf("missing %v, want those of a and c", got)
	}
	if _, ok := m.PieceRoot(0); ok {
		t.Error("a piece without a layer has a root")
	}
	if _, ok := m.PieceRoot(3); !ok {
		t.Error("the piece of a file of one piece has no root")
	}
	a, _, _ := layer(3)
	wantError(t, m.SetLayer(0, a[:2]), "2 hashes for the 3 pieces")
	a[1][0] ^= 1
	wantError(t, m.SetLayer(0, a), "do not match")
	if _, ok := m.PieceRoot(0); ok {
		t.Error("a wrong layer was kept")
	}
	a[1][0] ^= 1
	if err := m.SetLayer(0, a); err != nil || len(m.MissingLayers()) != 1 {
		t.Errorf("%v, missing %v", err, m.MissingLayers())
	}
}

// BEP 52: "A torrent is not valid if [...] the contained hashes do not match the
// merkle roots or are not from the correct layer."
func TestPieceLayersRefused(t *testing.T) {
	_, layerA, rootA := layer(3)
	for name, tt := range map[string]struct {
		layers any
		want   string
	}{
		"list":         {[]int{}, "want dictionary, got list"},
		"short key":    {d{"k": layerA}, "no list of hashes"},
		"integer":      {d{rootA: 1}, "no list of hashes"},
		"half a hash":  {d{rootA: layerA[:40]}, "no list of hashes"},
		"too short":    {d{rootA: layerA[:64]}, "2 hashes for the 3 pieces"},
		"too long":     {d{rootA: layerA + layerA[:32]}, "4 hashes for the 3 pieces"},
		"other hashes": {d{rootA: strings.Repeat("x", 96)}, "do not match"},
	} {
		t.Run(name, func(t *testing.T) {
			torrent := layeredTorrent()
			torrent["piece layers"] = tt.layers
			_, err := Parse(encode(t, torrent))
			wantError(t, err, tt.want)
		})
	}
}
