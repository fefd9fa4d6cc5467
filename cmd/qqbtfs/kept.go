package main

import (
	"cmp"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/qqbtfs/qqbtfs/fetch/magnet"
	"github.com/qqbtfs/qqbtfs/fetch/metainfo"
)

// The metadata of magnet links, and of what is mounted, is kept in the cache directory: a
// .torrent file by each info-hash, for the next link may name another one of a hybrid.
// What the hash does not prove, trackers and web seeds, comes from the link.

// maxKept bounds all of them together, in bytes on disk. The oldest go.
const maxKept = 256 << 20

// keptFiles is where the metadata of a torrent is kept, by its hashes that the link has.
func (a *app) keptFiles(link magnet.Link) (files []string) {
	add := func(hash []byte) {
		files = append(files, filepath.Join(string(a.common.cacheDir), "magnets", hex.EncodeToString(hash)+".torrent"))
	}
	if link.HasV1 {
		add(link.HashV1[:])
	}
	if link.HasV2 {
		add(link.HashV2[:])
	}
	return files
}

// recall completes a torrent from the metadata that an earlier run has kept, if any.
func (a *app) recall(l *loaded) {
	name := a.keptFiles(*l.link)[0]
	raw, err := readSource(name)
	if err != nil {
		return
	}
	m, err := l.prove(raw)
	if err != nil {
		a.log.Warn("the metadata that was kept is of no use, fetching it again", "file", name, "err", err)
		return
	}
	l.setMeta(m)
	for _, name := range a.keptFiles(magnetOf(m)) {
		_ = os.Chtimes(name, time.Time{}, time.Now()) // of use, so among the last to go
	}
}

// prove reads metadata that must be what the link names.
func (l *loaded) prove(raw []byte) (*metainfo.MetaInfo, error) {
	m, err := metainfo.Parse(raw)
	switch {
	case err != nil:
		return nil, err
	case !l.link.Names(m.InfoRaw):
		return nil, errors.New("it has another info-hash")
	case !m.Info.HasV1 && len(m.MissingLayers()) > 0:
		return nil, errors.New("piece layers are missing")
	}
	m.Trackers, m.URLList, m.HTTPSeeds = metainfo.Trackers(l.link.Trackers), metainfo.WebSeeds(l.link.WebSeeds), nil
	return m, nil
}

// keep saves metadata for the next run. Where that cannot be the swarm is asked again.
func (a *app) keep(l *loaded) {
	raw := l.meta.Torrent()
	names := a.keptFiles(magnetOf(l.meta))
	dir := filepath.Dir(names[0])
	err := errors.New("it is too large")
	if len(raw) <= metainfo.MaxFileSize {
		err = makePrivateDir(dir)
	}
	for _, name := range names {
		if err == nil {
			err = writeFile(name, raw, 0o600, unsynced)
		}
	}
	if err != nil {
		a.log.Info("the metadata is not kept, the next run by a magnet link will fetch it", "torrent", l.meta.Info.Name, "err", bare(err))
		return
	}
	prune(dir, maxKept)
}

// isKept reports whether a torrent has its metadata kept by each hash.
func (a *app) isKept(l *loaded) bool {
	for _, name := range a.keptFiles(magnetOf(l.meta)) {
		if !isFile(name) {
			return false
		}
	}
	return true
}

// prune removes files from a directory, the oldest first, until the others take at most
// so many bytes on disk. What cannot be removed stays: it is only a cache.
func prune(dir string, most int64) {
	const block = 4096
	entries, _ := os.ReadDir(dir)
	var files []fs.FileInfo
	var sum int64
	for _, e := range entries {
		if fi, err := e.Info(); err == nil && fi.Mode().IsRegular() {
			files = append(files, fi)
			sum += max(fi.Size(), block)
		}
	}
	slices.SortFunc(files, func(a, b fs.FileInfo) int { return cmp.Compare(a.ModTime().UnixNano(), b.ModTime().UnixNano()) })
	for _, fi := range files {
		if sum <= most {
			return
		}
		_ = os.Remove(filepath.Join(dir, fi.Name()))
		sum -= max(fi.Size(), block)
	}
}
