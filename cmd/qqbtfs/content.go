package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/qqbtfs/qqbtfs/cache/filestore"
	"github.com/qqbtfs/qqbtfs/fetch"
	"github.com/qqbtfs/qqbtfs/fetch/metainfo"
)

// content is where the plain files of a torrent lie, or will.
type content struct {
	root string   // a directory
	top  []string // of the files below root: the torrent's name, or nothing
}

// downloadContent is where any client puts a torrent: by its name into dir.
func downloadContent(dir string, m *metainfo.MetaInfo) content {
	return content{dir, []string{m.Info.Name}}
}

// findContent finds a torrent's files by data, which is the directory that a
// client would have downloaded it to, or the torrent's own directory or file
// under whatever name.
func findContent(data string, m *metainfo.MetaInfo) (content, error) {
	fi, err := os.Stat(data)
	if err != nil {
		return content{}, failf(codeDisk, "--data %s: %w", data, bare(err))
	}
	if !fi.IsDir() {
		if m.Info.Dir {
			return content{}, failf(codeDisk, "--data %s is a file, but the torrent is the directory %s", data, m.Info.Name)
		}
		return content{filepath.Dir(data), []string{filepath.Base(data)}}, nil
	}
	if fi, err := os.Stat(filepath.Join(data, m.Info.Name)); err == nil && fi.IsDir() == m.Info.Dir {
		return content{data, []string{m.Info.Name}}, nil
	}
	if m.Info.Dir && holdsAny(data, m) {
		return content{data, nil}, nil
	}
	return content{}, failf(codeDisk, "--data %s holds neither %s nor what is in it", data, m.Info.Name)
}

func isDir(name string) bool {
	fi, err := os.Stat(name)
	return err == nil && fi.IsDir()
}

// holdsAny reports whether any file of the torrent lies directly below dir.
func holdsAny(dir string, m *metainfo.MetaInfo) bool {
	for _, f := range m.Info.Files {
		if f.Pad {
			continue
		}
		if _, err := os.Lstat(filepath.Join(append([]string{dir}, f.Path...)...)); err == nil {
			return true
		}
	}
	return false
}

// files are the torrent's files for a filestore at root.
func (c content) files(m *metainfo.MetaInfo) []filestore.File {
	out := make([]filestore.File, len(m.Info.Files))
	for i, f := range m.Info.Files {
		path, link := f.Path, f.Symlink
		if !m.Info.Dir {
			path = nil // the file is called what top says
		}
		if link != nil {
			link = c.below(link)
		}
		if f.Pad && m.Info.HasV2 {
			f.Length = 0 // no piece has it
		}
		out[i] = filestore.File{Path: c.below(path), Length: f.Length, Pad: f.Pad, Exec: f.Exec, Symlink: link}
	}
	return out
}

func (c content) below(path []string) []string {
	return append(append([]string{}, c.top...), path...)
}

// path is where the torrent is found.
func (c content) path() string { return filepath.Join(append([]string{c.root}, c.top...)...) }

// open opens the files and hashes what is there.
func (c content) open(ctx context.Context, l *loaded, readOnly bool, check func(done, total int64)) (*filestore.Store, error) {
	s, err := filestore.Open(c.root, c.files(l.meta), fetch.Geometry(l.meta), filestore.Options{
		ReadOnly: readOnly, Check: check, Context: ctx, ModTime: l.meta.Created,
	})
	if errors.Is(err, context.Canceled) {
		return nil, failf(codeIncomplete, "interrupted")
	}
	if err != nil {
		return nil, fail(codeDisk, fmt.Errorf("%s: %w", c.path(), err))
	}
	return s, nil
}
