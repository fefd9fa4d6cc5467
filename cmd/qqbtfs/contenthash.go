package main

import (
	"context"
	"crypto/sha1"
	"errors"
	"io"
	"os"
	"runtime"

	"golang.org/x/sync/errgroup"

	"github.com/qqbtfs/qqbtfs/cache/merkle"
	"github.com/qqbtfs/qqbtfs/fetch/layout"
	"github.com/qqbtfs/qqbtfs/fetch/metainfo"
)

// contentHash hashes the content of a torrent that is made.
type contentHash struct {
	t      *sourceTree
	lay    *layout.Layout
	v1, v2 bool
	sums   []byte        // SHA-1 of every piece, for v1
	roots  []merkle.Hash // of every piece, for v2
}

// newContentHash lays out the pieces. With v2 every file begins with one.
func newContentHash(t *sourceTree, b metainfo.Builder) *contentHash {
	h := &contentHash{t: t, v1: b.V1, v2: b.V2}
	files := make([]layout.Extent, len(t.files))
	var end int64
	for i, f := range t.files {
		if h.v2 && f.Length > 0 {
			end = (end + b.PieceLength - 1) / b.PieceLength * b.PieceLength
		}
		files[i] = layout.Extent{Offset: end, Length: f.Length}
		end += f.Length
	}
	if h.v2 {
		h.lay = layout.NewAligned(b.PieceLength, end, files)
	} else {
		h.lay = layout.New(b.PieceLength, end, files)
	}
	return h
}

// perPiece is how many bytes a piece takes in the torrent.
func (h *contentHash) perPiece() (n int) {
	if h.v1 {
		n += sha1.Size
	}
	if h.v2 {
		n += len(merkle.Hash{})
	}
	return n
}

// run hashes all pieces. One goroutine reads, all cores hash.
func (h *contentHash) run(ctx context.Context, progress *counter) error {
	n := h.lay.NumPieces()
	if h.v1 {
		h.sums = make([]byte, n*sha1.Size)
	}
	if h.v2 {
		h.roots = make([]merkle.Hash, n)
	}
	workers := runtime.GOMAXPROCS(0)
	type job struct {
		index int
		data  []byte
	}
	jobs, free := make(chan job), make(chan []byte, workers+1)
	for range cap(free) {
		free <- make([]byte, h.lay.MaxPiece())
	}
	var g errgroup.Group
	for range workers {
		g.Go(func() error {
			for j := range jobs {
				h.piece(j.index, j.data)
				free <- j.data[:cap(j.data)]
			}
			return nil
		})
	}
	r := &treeReader{t: h.t}
	defer r.close()
	err := func() error {
		defer close(jobs)
		for i := range n {
			if ctx.Err() != nil {
				return failf(codeIncomplete, "interrupted, nothing is written")
			}
			buf := (<-free)[:h.lay.PieceSize(i)]
			if _, err := io.ReadFull(r, buf); err != nil {
				return fail(codeDisk, err)
			}
			jobs <- job{i, buf}
			progress.done.Add(int64(len(buf)))
		}
		return r.finish()
	}()
	if err = errors.Join(err, g.Wait()); err == nil && h.v2 {
		h.setLayers()
	}
	return err
}

// piece hashes one piece, in v1 of a hybrid with the padding behind it.
func (h *contentHash) piece(i int, data []byte) {
	if h.v1 {
		s := sha1.New()
		s.Write(data)
		whole := min(h.lay.PieceLength, h.lay.Total-h.lay.PieceOffset(i))
		s.Write(make([]byte, int(whole)-len(data)))
		s.Sum(h.sums[i*sha1.Size : i*sha1.Size])
	}
	if h.v2 {
		length := h.lay.Files[h.lay.FileOf(i)].Length
		var tree merkle.Stack
		tree.Write(data)
		h.roots[i] = tree.Root(0, merkle.Height(merkle.Blocks(min(length, h.lay.PieceLength))))
	}
}

// setLayers gives every file its piece layer.
func (h *contentHash) setLayers() {
	for f := range h.t.files {
		first, last := h.lay.FilePieces(f)
		h.t.files[f].Layer = h.roots[first : last+1]
	}
}

// treeReader reads the files of a tree as one stream. A file that is not as long
// as it was is an error.
type treeReader struct {
	t    *sourceTree
	next int // file to open
	f    *os.File
	left int64 // bytes of f
}

func (r *treeReader) Read(p []byte) (int, error) {
	for r.left == 0 {
		if err := r.advance(); err != nil {
			return 0, err
		}
	}
	n, err := r.f.Read(p[:min(int64(len(p)), r.left)])
	r.left -= int64(n)
	if errors.Is(err, io.EOF) {
		err = r.changed()
	}
	return n, err
}

// advance checks that the present file ends here and opens the next one.
func (r *treeReader) advance() error {
	if err := r.finish(); err != nil {
		return err
	}
	if r.next == len(r.t.files) {
		return io.EOF
	}
	f, err := os.Open(r.t.path(r.next))
	if err != nil {
		return err
	}
	r.f, r.left = f, r.t.files[r.next].Length
	r.next++
	return nil
}

// finish closes the present file, which must be at its end.
func (r *treeReader) finish() error {
	if r.f == nil {
		return nil
	}
	if n, _ := r.f.Read(make([]byte, 1)); n > 0 {
		return r.changed()
	}
	r.close()
	return nil
}

func (r *treeReader) changed() error {
	return failf(codeDisk, "%s changes while it is read: try again when nobody writes to it", r.f.Name())
}

func (r *treeReader) close() {
	if r.f != nil {
		r.f.Close()
		r.f = nil
	}
}
