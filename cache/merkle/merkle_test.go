package merkle

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"testing"
)

// content is what the vectors are of.
func content(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte((i*i + n) % 251)
	}
	return b
}

func leaves(data []byte) []Hash {
	var out []Hash
	for block := range slices.Chunk(data, BlockSize) {
		out = append(out, Leaf(block))
	}
	return out
}

// vectors are of torrents that libtorrent 2.0.8 made: the pieces root of a file,
// and the SHA-256 of its piece layer where it has one.
var vectors = []struct {
	size, pieceLength int
	root, layer       string
}{
	{1, 16384, "4bf5122f344554c53bde2ebb8cd2b7e3d1600ad631c385a5d7cce23c7785459a", ""},
	{16384, 65536, "92a3bbb88717ff942ff8f8b868b5f2c8ea1cd70f7eddecf7aeb3cfc506783818", ""},
	{16385, 16384, "be10a3e3292f57a105c89f1a826aacea46c48429d1996f0ffa80aaa93cae6bd4", "be10a3e3292f57a105c89f1a826aacea46c48429d1996f0ffa80aaa93cae6bd4"},
	{16385, 65536, "be10a3e3292f57a105c89f1a826aacea46c48429d1996f0ffa80aaa93cae6bd4", ""},
	{81927, 16384, "09a3c19ca82e70e11524fb4c5cfaadd4109bd5afbea77b60625ee4a56c0b04ab", "f1b949bfcfaf3e7d9ad89e76da5c126d0f8e031e7e36fe8de1149031ca05cc53"},
	{81927, 65536, "09a3c19ca82e70e11524fb4c5cfaadd4109bd5afbea77b60625ee4a56c0b04ab", "09a3c19ca82e70e11524fb4c5cfaadd4109bd5afbea77b60625ee4a56c0b04ab"},
	{200000, 16384, "e08a334f232b8582e6063bd2034edacca6caa7f78470939a6ffa1890f6b1687c", "f726ce8f6c44e2c00f53d8e6b86be53634156b109a5b9c2d53ea7c9672ec1ba7"},
	{200000, 65536, "e08a334f232b8582e6063bd2034edacca6caa7f78470939a6ffa1890f6b1687c", "182605cd3b23529b81de4adfffa238c1864d7999dbbcc62d2bf2b071c2e96a7e"},
	{1000000, 16384, "446764fb7bad6a357cd8bb614af9c91cf8b5b3e209999962c303967c426b05fe", "43d68e272c555ef4a0f21733941c1d6426c5dbff15efd0dc512d36f9dc412857"},
	{1000000, 65536, "446764fb7bad6a357cd8bb614af9c91cf8b5b3e209999962c303967c426b05fe", "18d38b624ee51347d4cce25fccb693395150f596efee1dd66f2d19beb7ec4a65"},
}

func TestVectors(t *testing.T) {
	for _, v := range vectors {
		data := content(v.size)
		height := Height(Blocks(int64(v.size)))
		var s Stack
		s.Write(data)
		if root := s.Root(0, height); hex.EncodeToString(root[:]) != v.root {
			t.Errorf("%d bytes have root %x, want %s", v.size, root, v.root)
		}
		if v.layer == "" {
			continue
		}
		piece := Height(int64(v.pieceLength / BlockSize))
		var layer []Hash
		sum := sha256.New()
		for data := range slices.Chunk(data, v.pieceLength) {
			h := Root(leaves(data), 0, piece)
			layer = append(layer, h)
			sum.Write(h[:])
		}
		if got := hex.EncodeToString(sum.Sum(nil)); got != v.layer {
			t.Errorf("%d bytes in pieces of %d have the layer %s, want %s", v.size, v.pieceLength, got, v.layer)
		}
		if root := Root(layer, piece, height-piece); hex.EncodeToString(root[:]) != v.root {
			t.Errorf("the layer of %d bytes in pieces of %d has root %x", v.size, v.pieceLength, root)
		}
	}
}

// naive computes a root over all its leaves, padding included.
func naive(leaves []Hash, height int) Hash {
	row := make([]Hash, 1<<height)
	copy(row, leaves)
	for len(row) > 1 {
		for i := range len(row) / 2 {
			row[i] = Parent(row[2*i], row[2*i+1])
		}
		row = row[:len(row)/2]
	}
	return row[0]
}

func TestRootIsThatOfTheWholeTree(t *testing.T) {
	all := leaves(content(40 * BlockSize))
	for n := 0; n <= len(all); n++ {
		for height := Height(int64(max(n, 1))); height < 8; height++ {
			want := naive(all[:n], height)
			if got := Root(all[:n], 0, height); got != want {
				t.Fatalf("%d leaves, %d layers: %x, want %x", n, height, got, want)
			}
			if got := NewTree(all[:n], 0, height).Root(); n > 0 && got != want {
				t.Fatalf("tree of %d leaves, %d layers: %x, want %x", n, height, got, want)
			}
		}
	}
}

// Every range of every tree is proven by its uncles, and nothing else is.
func TestProofs(t *testing.T) {
	all := leaves(content(21 * BlockSize))
	for n := 1; n <= len(all); n++ {
		height := Height(int64(n))
		tree := NewTree(all[:n], 0, height)
		for base := range height + 1 {
			for length := 1; length <= 1<<(height-base); length *= 2 {
				for index := 0; index < 1<<(height-base); index += length {
					checkProof(t, tree, Range{base, index, length}, height)
				}
			}
		}
	}
}

func checkProof(t *testing.T, tree *Tree, r Range, height int) {
	t.Helper()
	if !r.Valid(height) {
		t.Fatalf("%+v is not valid in %d layers", r, height)
	}
	hashes := tree.Hashes(nil, r)
	uncles := tree.Uncles(nil, r.Top(), r.Index/r.Length, height)
	if Climb(r, hashes, uncles) != tree.Root() {
		t.Fatalf("%+v of %d layers is not proven", r, height)
	}
	// BEP 52: proof layers are counted from the layer above the base on.
	if proof := height - r.Base - 1; r.Length > 1 && len(uncles) != NumUncles(r.Length, proof) {
		t.Fatalf("%+v of %d layers has %d uncles, %d proof layers want %d", r, height, len(uncles), proof, NumUncles(r.Length, proof))
	}
	for _, list := range [][]Hash{hashes, uncles} {
		for i := range list {
			list[i][5] ^= 1
			if Climb(r, hashes, uncles) == tree.Root() {
				t.Fatalf("%+v of %d layers is proven with a wrong hash", r, height)
			}
			list[i][5] ^= 1
		}
	}
}

func TestInvalidRanges(t *testing.T) {
	for _, r := range []Range{
		{-1, 0, 2}, {5, 0, 1}, {0, 0, 0}, {0, 0, -2}, {0, 0, 3}, {0, 1, 2}, {0, -2, 2}, {0, 16, 2}, {0, 0, 32}, {3, 2, 2}, {0, 1 << 30, 1 << 30},
	} {
		if r.Valid(4) {
			t.Errorf("%+v is valid in 4 layers", r)
		}
	}
}

func BenchmarkRootOfPiece(b *testing.B) {
	data := content(1 << 20)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		var s Stack
		s.Write(data)
		s.Root(0, 6)
	}
}
