package main

import (
	"context"
	"fmt"
	"time"

	"github.com/qqbtfs/qqbtfs/fetch"
	"github.com/qqbtfs/qqbtfs/fs"
)

// view shows a member as an fs.Torrent: its files without the padding.
type view struct {
	m       *member
	local   local
	files   []fs.File
	indices []int       // of files in the metainfo
	back    map[int]int // the inverse
}

func newView(m *member) *view {
	v := &view{m: m, local: local{fetch.Layout(m.meta), m.store}, back: map[int]int{}}
	for i, f := range m.meta.Info.Files {
		if f.Pad {
			continue
		}
		v.back[i] = len(v.files)
		v.indices = append(v.indices, i)
		v.files = append(v.files, fs.File{Path: f.Path, Length: f.Length, Exec: f.Exec, Symlink: f.Symlink})
	}
	return v
}

func (v *view) Name() string       { return v.m.meta.Info.Name }
func (v *view) Dir() bool          { return v.m.meta.Info.Dir }
func (v *view) Files() []fs.File   { return v.files }
func (v *view) ModTime() time.Time { return v.m.meta.Created }

func (v *view) LocalBytes(file int) int64 { return v.local.bytes(v.indices[file]) }

func (v *view) Next(file int, off int64, local bool) int64 {
	return v.local.next(v.indices[file], off, local)
}

func (v *view) Open(file int) (fs.Handle, error) {
	return handle{v.m.t.NewReader(v.indices[file])}, nil
}

// Xattrs are info-hash on all, and progress and pieces of the file or of the
// whole torrent.
func (v *view) Xattrs(file int) map[string]string {
	var all, have int
	if file < 0 {
		all, have = v.m.meta.NumPieces(), v.m.store.Stats().Pieces
	} else {
		all, have = v.local.pieces(v.indices[file])
	}
	return map[string]string{
		fs.InfoHashXattr: v.m.meta.HashString(),
		"progress":       percent(int64(have), int64(all)),
		"pieces":         fmt.Sprintf("%d/%d", have, all),
	}
}

// watch tells the file system of local bytes that get lost.
func (v *view) watch(f *fs.FS) {
	changed := func(index int) {
		for file := range v.local.lay.PieceFiles(index) {
			if i, shown := v.back[file]; shown {
				f.Changed(v, i)
			}
		}
	}
	v.m.lost.Store(&changed)
}

// handle shows a reader as an fs.Handle.
type handle struct{ *fetch.Reader }

func (h handle) Read(ctx context.Context, buf []byte, off int64) (fs.Data, error) {
	d, err := h.Reader.Read(ctx, buf, off)
	return fs.Data{Parts: d.Parts, Release: d.Release}, err
}
