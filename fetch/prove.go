package fetch

import (
	"errors"
	"time"

	"github.com/qqbtfs/qqbtfs/cache"
	"github.com/qqbtfs/qqbtfs/cache/merkle"
	"github.com/qqbtfs/qqbtfs/fetch/picker"
	"github.com/qqbtfs/qqbtfs/fetch/swarm"
	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

const (
	// proveAtLeast is how many blocks a piece has for which it is worth to ask for
	// their hashes: smaller ones are here as soon as the answer.
	proveAtLeast = 8
	// proveAtOnce is how many hashes are asked for at once: those of 2 MiB, which is
	// more than one read wants, in 4 KiB.
	proveAtOnce = 128
	// hashPatience is how long a peer may take before another is asked, and hashTries
	// how many are.
	hashPatience = 2 * time.Second
	hashTries    = 4
)

// prover finds the hashes of the blocks of pieces that reads wait for, so that each
// can be read as soon as it is here (BEP 52). It belongs to the torrent's goroutine.
// Whatever goes wrong in it, reads are left with waiting for the whole piece.
type prover struct {
	t      *Torrent
	pieces map[int]*proof
	asked  map[wire.HashRequest]*hashQuery
}

// proof is what is known of the blocks of a piece.
type proof struct {
	leaves  []merkle.Hash // by block; zero: not known
	tested  []bool        // blocks that are verified, or being verified
	partial *cache.Partial
	buf     *cache.Buffer // that partial views, to see that it was replaced
}

// hashQuery is the search for some hashes of a piece.
type hashQuery struct {
	piece, first int // block
	tried        map[swarm.PeerID]bool
	peer         swarm.PeerID
	until        time.Time
	done         bool // given up, or answered
}

func newProver(t *Torrent) *prover {
	return &prover{t: t, pieces: map[int]*proof{}, asked: map[wire.HashRequest]*hashQuery{}}
}

// want asks for the hashes of all blocks that reads wait for, and forgets what nobody
// waits for and no buffer is there for. It is called before blocks are requested, so
// that a peer sees the request for their hashes in front.
func (v *prover) want(now time.Time) {
	wanted := v.t.waits.wanted()
	for i, ranges := range wanted {
		if !v.provable(i) {
			continue
		}
		p := v.pieces[i]
		if p == nil {
			n := v.t.lay.NumBlocks(i)
			p = &proof{leaves: make([]merkle.Hash, n), tested: make([]bool, n)}
			v.pieces[i] = p
		}
		for _, r := range ranges {
			for k := r.First - r.First%proveAtOnce; k <= r.Last; k += proveAtOnce {
				v.ask(now, i, k, p)
			}
		}
	}
	for i := range v.pieces {
		if len(wanted[i]) == 0 && v.t.buffers[i] == nil {
			v.forget(i)
		}
	}
}

// provable reports whether the hashes of the blocks of piece i can be proven, and it
// is worth it.
func (v *prover) provable(i int) bool {
	_, known := v.t.meta.PieceRoot(i)
	return known && !v.t.store.Has(i) && v.t.lay.NumBlocks(i) >= proveAtLeast
}

// request returns the request for the hashes of the blocks of piece i from first on,
// proven up to the piece.
func (v *prover) request(i, first int) wire.HashRequest {
	t := v.t
	file := t.lay.FileOf(i)
	height := t.meta.Height(file)
	before := i - int(t.lay.Files[file].Offset/t.lay.PieceLength)
	return wire.HashRequest{
		Root:   t.meta.Info.Files[file].Root,
		Index:  uint32(before<<height + first),
		Length: uint32(min(proveAtOnce, 1<<height)),
		Proof:  uint32(height - 1),
	}
}

// ask asks a peer for hashes, if they are neither known nor asked for.
func (v *prover) ask(now time.Time, i, first int, p *proof) {
	if p.leaves[first] != (merkle.Hash{}) {
		return
	}
	r := v.request(i, first)
	q := v.asked[r]
	if q == nil {
		q = &hashQuery{piece: i, first: first, tried: map[swarm.PeerID]bool{}}
		v.asked[r] = q
	}
	if q.piece != i { // of another file with the same content
		return
	}
	if q.done || now.Before(q.until) && v.t.conns[q.peer] != nil {
		return
	}
	for _, id := range v.t.swarm.Holders(i) {
		c := v.t.conns[id]
		if c == nil || !c.v2 || q.tried[id] {
			continue
		}
		q.peer, q.tried[id], q.until = id, true, now.Add(hashPatience)
		q.done = len(q.tried) == hashTries
		c.conn.Send(r)
		return
	}
}

// received takes an answer: the hashes asked for, and their uncles up to the piece.
func (v *prover) received(id swarm.PeerID, r wire.HashRequest, raw []byte) {
	q := v.asked[r]
	if q == nil {
		return // nobody cares any more
	}
	p := v.pieces[q.piece]
	hashes := hashesOf(raw)
	rng := merkle.Range{Index: int(r.Index), Length: int(r.Length)}
	root, _ := v.t.meta.PieceRoot(q.piece)
	if merkle.Climb(rng, hashes[:r.Length], hashes[r.Length:]) != root {
		v.lied(id, q.piece)
		v.rejected(id, r)
		return
	}
	delete(v.asked, r)
	copy(p.leaves[q.first:], hashes[:r.Length])
	for k := q.first; k < min(q.first+int(r.Length), len(p.leaves)); k++ {
		v.check(q.piece, k, p)
	}
}

// lied ends the connection of a peer whose hashes are wrong: it cannot be a mistake.
func (v *prover) lied(id swarm.PeerID, piece int) {
	if c := v.t.conns[id]; c != nil {
		v.t.log.Warn("peer sent wrong hashes", "peer", c.addr, "piece", piece)
		c.conn.Close(errors.New("sent wrong hashes"))
	}
}

// rejected lets another peer be asked.
func (v *prover) rejected(id swarm.PeerID, r wire.HashRequest) {
	if q := v.asked[r]; q != nil && q.peer == id {
		q.until = time.Time{}
		v.want(time.Now())
	}
}

// block is told of a block that came in.
func (v *prover) block(r wire.Request) {
	if p := v.pieces[int(r.Index)]; p != nil {
		v.check(int(r.Index), int(r.Begin)/picker.BlockSize, p)
	}
}

// check verifies a block beside the loop, if it is here and its hash is known.
func (v *prover) check(i, k int, p *proof) {
	t := v.t
	buf := t.buffers[i]
	if buf == nil || p.leaves[k] == (merkle.Hash{}) || !t.swarm.Here(picker.Block{Piece: i, Index: k}) {
		return
	}
	if p.buf != buf {
		v.release(i, p)
		p.buf, p.partial = buf, cache.NewPartial(buf)
		t.waits.setPartial(i, p.partial)
	}
	if p.tested[k] {
		return
	}
	p.tested[k] = true
	view, leaf := p.partial, p.leaves[k]
	t.jobs.Add(1)
	t.s.hashing.do(func() {
		defer t.jobs.Done()
		if err := view.Verify(k, leaf); err == nil {
			t.waits.progressed(i)
		}
	})
}

// release ends the view of a piece, whose bytes are not what it views any more.
func (v *prover) release(i int, p *proof) {
	if p.partial == nil {
		return
	}
	v.t.waits.setPartial(i, nil)
	p.partial.Release()
	p.partial, p.buf = nil, nil
	clear(p.tested)
}

// failed is told that the bytes of a piece were bad: it begins again. The hashes
// that are known stay.
func (v *prover) failed(i int) {
	if p := v.pieces[i]; p != nil {
		v.release(i, p)
	}
}

// forget ends all about a piece: it is verified, or nobody waits for it.
func (v *prover) forget(i int) {
	p := v.pieces[i]
	if p == nil {
		return
	}
	v.release(i, p)
	delete(v.pieces, i)
	for r, q := range v.asked {
		if q.piece == i {
			delete(v.asked, r)
		}
	}
}

// close gives all buffers back.
func (v *prover) close() {
	for i := range v.pieces {
		v.forget(i)
	}
}

// hashesOf cuts what came off the wire into hashes.
func hashesOf(raw []byte) []merkle.Hash {
	out := make([]merkle.Hash, len(raw)/len(merkle.Hash{}))
	for i := range out {
		out[i] = merkle.Hash(raw[i*len(merkle.Hash{}):])
	}
	return out
}
