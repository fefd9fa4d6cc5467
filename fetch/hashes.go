package fetch

import (
	"slices"
	"sync"

	"github.com/qqbtfs/qqbtfs/cache/merkle"
	"github.com/qqbtfs/qqbtfs/fetch/metainfo"
	"github.com/qqbtfs/qqbtfs/peerconn"
	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// keptTrees is how many trees are kept for the next request: for 16 MiB pieces 4 MiB
// of them. Peers ask for several parts of one piece in a row.
const keptTrees = 64

// hashServer answers requests of peers for hashes (BEP 52): those at and above the
// piece layer from the metainfo, leaves from the pieces that are here. It is safe for
// concurrent use.
type hashServer struct {
	t      *Torrent
	byRoot map[merkle.Hash][]int // files

	mu   sync.Mutex // guards these; a leaf
	kept []keptTree // the latest last
}

// keptTree is the tree of a piece, up to its root, or of a file, from its piece layer
// up.
type keptTree struct {
	piece int // -1: of a file
	file  int
	tree  *merkle.Tree
}

func newHashServer(t *Torrent, m *metainfo.MetaInfo) *hashServer {
	h := &hashServer{t: t, byRoot: map[merkle.Hash][]int{}}
	for i, f := range m.Info.Files {
		if m.Info.HasV2 && !f.Pad && f.Length > 0 {
			h.byRoot[f.Root] = append(h.byRoot[f.Root], i)
		}
	}
	return h
}

// hashQueue has the requests of one peer that are not answered yet. How many, and how
// large, is bounded by proto, which rejects the others.
type hashQueue struct {
	mu       sync.Mutex         // a leaf
	requests []wire.HashRequest // the first is being answered
}

// push reports whether r is the only one.
func (q *hashQueue) push(r wire.HashRequest) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.requests = append(q.requests, r)
	return len(q.requests) == 1
}

func (q *hashQueue) first() wire.HashRequest {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.requests[0]
}

// pop takes the first out and reports whether there are more.
func (q *hashQueue) pop() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.requests = q.requests[1:]
	return len(q.requests) > 0
}

// drop forgets those that nobody has begun with: the peer is gone.
func (q *hashQueue) drop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.requests = q.requests[:min(1, len(q.requests))]
}

// serve answers a peer beside the loop, one request after another: a leaf may cost the
// hashing of a whole piece, and a peer is to take one worker and not all. It is called by
// the goroutine of the connection, so that the torrent cannot have closed.
func (h *hashServer) serve(q *hashQueue, c peerconn.Conn, r wire.HashRequest) {
	if q.push(r) {
		h.t.jobs.Add(1)
		h.t.s.serving.do(func() { h.answer(q, c) })
	}
}

// answer answers the first request and queues behind the others' for the next.
func (h *hashServer) answer(q *hashQueue, c peerconn.Conn) {
	r := q.first()
	if hashes := h.hashes(r); hashes != nil {
		c.Send(wire.Hashes{HashRequest: r, Hashes: hashes})
	} else {
		c.Send(wire.HashReject(r))
	}
	if q.pop() {
		h.t.s.serving.do(func() { h.answer(q, c) })
	} else {
		h.t.jobs.Done()
	}
}

// hashes returns what r asks for, nil if it is not here or no part of a tree. Files
// of the same content have the same root, and whichever is here will do.
func (h *hashServer) hashes(r wire.HashRequest) []byte {
	for _, file := range h.byRoot[merkle.Hash(r.Root)] {
		if list := h.ofFile(file, r); list != nil {
			out := make([]byte, 0, len(list)*len(merkle.Hash{}))
			for _, hash := range list {
				out = append(out, hash[:]...)
			}
			return out
		}
	}
	return nil
}

func (h *hashServer) ofFile(file int, r wire.HashRequest) []merkle.Hash {
	meta := h.t.meta
	layers, height := meta.Layers(file), meta.Height(file)
	rng := merkle.Range{Base: int(r.Base), Index: int(r.Index), Length: int(r.Length)}
	uncles := merkle.NumUncles(rng.Length, int(r.Proof))
	if !rng.Valid(layers) || r.Proof > merkle.MaxLayers || rng.Top()+uncles > layers || rng.Base > 0 && rng.Base < height {
		return nil // BEP 52: "only required to support [...] the leaf and piece layers"
	}
	list := h.base(file, rng, height)
	if list == nil {
		return nil
	}
	top, index, end := rng.Top(), rng.Index/rng.Length, rng.Top()+uncles
	if top < height && uncles > 0 {
		tree := h.pieceTree(file, index>>(height-top), height)
		if tree == nil {
			return nil
		}
		in := index & (1<<(height-top) - 1)
		list = tree.Uncles(list, top, in, min(end, height))
		index, top = index>>(height-top), height
	}
	if end > top {
		tree := h.fileTree(file, height, layers)
		if tree == nil {
			return nil
		}
		list = tree.Uncles(list, top, index, end)
	}
	return list
}

// base returns the hashes of rng themselves.
func (h *hashServer) base(file int, rng merkle.Range, height int) []merkle.Hash {
	if rng.Base >= height {
		tree := h.fileTree(file, height, h.t.meta.Layers(file))
		if tree == nil {
			return nil
		}
		return tree.Hashes(nil, rng)
	}
	_, pieces := h.pieces(file)
	var list []merkle.Hash
	for k := rng.Index; k < rng.Index+rng.Length; {
		in := k & (1<<height - 1)
		n := min(rng.Index+rng.Length-k, 1<<height-in)
		if k>>height >= pieces {
			list = append(list, make([]merkle.Hash, n)...)
		} else if tree := h.pieceTree(file, k>>height, height); tree != nil {
			list = tree.Hashes(list, merkle.Range{Index: in, Length: n})
		} else {
			return nil
		}
		k += n
	}
	return list
}

// pieces returns the first piece of a file, and how many it has.
func (h *hashServer) pieces(file int) (first, n int) {
	first, last := h.t.lay.FilePieces(file)
	return first, last - first + 1
}

// pieceTree returns the tree over the blocks of the k-th piece of a file, nil if that
// is not here.
func (h *hashServer) pieceTree(file, k, height int) *merkle.Tree {
	first, n := h.pieces(file)
	if k >= n {
		return merkle.NewTree(nil, 0, height)
	}
	piece := first + k
	return h.keep(keptTree{piece: piece}, func() *merkle.Tree {
		size := h.t.lay.PieceSize(piece)
		leaves := make([]merkle.Hash, 0, h.t.lay.NumBlocks(piece))
		b := blocks.Get().(*[wire.BlockSize]byte)
		defer blocks.Put(b)
		for off := 0; off < size; off += len(b) {
			data := b[:min(len(b), size-off)]
			if h.t.store.ReadAt(data, piece, off) != nil {
				return nil
			}
			leaves = append(leaves, merkle.Leaf(data))
		}
		return merkle.NewTree(leaves, 0, height)
	})
}

// fileTree returns the tree of a file from its piece layer up, nil if that is not
// known.
func (h *hashServer) fileTree(file, height, layers int) *merkle.Tree {
	layer := h.t.meta.Layer(file)
	if layer == nil {
		return nil
	}
	return h.keep(keptTree{piece: -1, file: file}, func() *merkle.Tree {
		return merkle.NewTree(layer, height, layers-height)
	})
}

// keep returns the tree that is kept as k, or else makes it and keeps it. Trees never
// change: a piece that is lost and fetched again has the same.
func (h *hashServer) keep(k keptTree, create func() *merkle.Tree) *merkle.Tree {
	h.mu.Lock()
	if i := slices.IndexFunc(h.kept, func(o keptTree) bool { return o.piece == k.piece && o.file == k.file }); i >= 0 {
		k = h.kept[i]
		h.mu.Unlock()
		return k.tree
	}
	h.mu.Unlock()
	if k.tree = create(); k.tree == nil {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.kept) == keptTrees {
		h.kept = slices.Delete(h.kept, 0, 1)
	}
	h.kept = append(h.kept, k)
	return k.tree
}
