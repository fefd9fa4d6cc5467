package merkle

// Range names hashes of a tree: Length of them, a power of two, from Index on,
// which is a multiple of it, at layer Base.
type Range struct{ Base, Index, Length int }

// Top returns the layer at which one hash covers the range.
func (r Range) Top() int { return r.Base + Height(int64(r.Length)) }

// Valid reports whether r is a range as above, of a tree with this many layers
// above its leaves.
func (r Range) Valid(layers int) bool {
	return r.Base >= 0 && r.Base <= layers && layers <= MaxLayers &&
		r.Length > 0 && r.Length&(r.Length-1) == 0 && r.Index >= 0 && r.Index%r.Length == 0 &&
		int64(r.Index)+int64(r.Length) <= 1<<(layers-r.Base)
}

// Tree is a tree from one layer up. It is immutable.
type Tree struct {
	base   int
	layers [][]Hash // from the base up, without padding
}

// NewTree returns the tree of height layers over hashes, which are of layer base
// and which it keeps.
func NewTree(hashes []Hash, base, height int) *Tree {
	t := &Tree{base: base, layers: [][]Hash{hashes}}
	for k := range height {
		below := t.layers[k]
		layer := make([]Hash, (len(below)+1)/2)
		for i := range layer {
			layer[i] = Parent(below[2*i], t.At(base+k, 2*i+1))
		}
		t.layers = append(t.layers, layer)
	}
	return t
}

// At returns a node by its layer, which must be in the tree, and its number there.
func (t *Tree) At(layer, index int) Hash {
	if l := t.layers[layer-t.base]; index < len(l) {
		return l[index]
	}
	return Pad(layer)
}

// Root returns the node above all.
func (t *Tree) Root() Hash { return t.At(t.base+len(t.layers)-1, 0) }

// Hashes appends the hashes of r, padding included.
func (t *Tree) Hashes(out []Hash, r Range) []Hash {
	for i := range r.Length {
		out = append(out, t.At(r.Base, r.Index+i))
	}
	return out
}

// Uncles appends what it takes to compute, from node index at layer from, the node
// above it at layer to.
func (t *Tree) Uncles(out []Hash, from, index, to int) []Hash {
	for layer := from; layer < to; layer++ {
		out = append(out, t.At(layer, index^1))
		index >>= 1
	}
	return out
}

// Climb returns the hash that lies above the hashes of r by way of their uncles,
// the lowest first.
func Climb(r Range, hashes, uncles []Hash) Hash {
	h := Root(hashes, r.Base, r.Top()-r.Base)
	index := r.Index / r.Length
	for _, u := range uncles {
		if index&1 == 0 {
			h = Parent(h, u)
		} else {
			h = Parent(u, h)
		}
		index >>= 1
	}
	return h
}

// NumUncles returns how many uncles belong to a range when proof layers are asked
// for (BEP 52, hashes: "the first log2(length)-1 proof layers are omitted").
func NumUncles(length, proof int) int { return max(0, proof-Height(int64(length))+1) }
