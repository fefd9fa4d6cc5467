package main

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/qqbtfs/qqbtfs/fetch/metainfo"
)

// The metadata of magnet links is kept in the cache directory, in .torrent files that are
// named by info-hash. What the hash does not prove, the trackers, comes from the link.

// maxKept bounds all of them together, in bytes on disk. The oldest go.
const maxKept = 256 << 20

// keptFile is where the metadata of a magnet link is kept.
func (a *app) keptFile(l *loaded) string {
	return filepath.Join(string(a.common.cacheDir), "magnets", l.link.HashString()+".torrent")
}

// recall completes a torrent from the metadata that an earlier run has kept, if any.
func (a *app) recall(l *loaded) {
	name := a.keptFile(l)
	raw, err := readSource(name)
	if err != nil {
		return
	}
	m, err := l.prove(raw)
	if err != nil {
		a.log.Warn("the metadata that was kept is damaged, fetching it again", "file", name, "err", err)
		return
	}
	l.setMeta(m)
	_ = os.Chtimes(name, time.Time{}, time.Now()) // of use, so among the last to go
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
	m.Trackers, m.URLList = metainfo.Trackers(l.link.Trackers), metainfo.WebSeeds(l.link.WebSeeds)
	return m, nil
}

// keep saves metadata for the next run. Where that cannot be the swarm is asked again.
func (a *app) keep(l *loaded) {
	name := a.keptFile(l)
	err := errors.New("it is too large")
	if len(l.raw) <= metainfo.MaxFileSize {
		err = makePrivateDir(filepath.Dir(name))
	}
	if err == nil {
		err = writeFile(name, l.raw, 0o600, unsynced)
	}
	if err != nil {
		a.log.Info("the metadata is not kept, the next run will fetch it again", "torrent", l.meta.Info.Name, "err", bare(err))
		return
	}
	prune(filepath.Dir(name), maxKept)
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
