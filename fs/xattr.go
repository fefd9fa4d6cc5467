package fs

import (
	"maps"
	"slices"
	"strings"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// xattrPrefix stands before every key of Torrent.Xattrs.
const xattrPrefix = "user." + subtype + "."

// xattrs returns a node's attributes. Those of a torrent are at its directory, and
// at the root of a mount of one torrent.
func (t *tree) xattrs(id uint64) map[string]string {
	n := t.node(id)
	switch {
	case n == nil:
		return nil
	case n == t.root() && len(t.sources) == 1:
		return t.sources[0].t.Xattrs(torrentRoot)
	case n.file == noFile:
		return nil
	}
	return n.src.t.Xattrs(n.file)
}

// xattrs returns those of the tree and, at the root, of the mount.
func (f *filesystem) xattrs(id uint64) map[string]string {
	all := map[string]string{}
	if id == fuse.FUSE_ROOT_ID && f.rootXattrs != nil {
		maps.Copy(all, f.rootXattrs())
	}
	maps.Copy(all, f.tree.Load().xattrs(id))
	return all
}

func (f *filesystem) GetXAttr(_ <-chan struct{}, in *fuse.InHeader, attr string, dest []byte) (uint32, fuse.Status) {
	key, ok := strings.CutPrefix(attr, xattrPrefix)
	if !ok {
		return 0, fuse.ENOATTR
	}
	value, ok := f.xattrs(in.NodeId)[key]
	if !ok {
		return 0, fuse.ENOATTR
	}
	return answer(value, dest)
}

func (f *filesystem) ListXAttr(_ <-chan struct{}, in *fuse.InHeader, dest []byte) (uint32, fuse.Status) {
	var list strings.Builder
	for _, key := range slices.Sorted(maps.Keys(f.xattrs(in.NodeId))) {
		list.WriteString(xattrPrefix + key + "\x00")
	}
	return answer(list.String(), dest)
}

// answer copies a value, or says with ERANGE how much room it needs. go-fuse turns
// that into the size for a caller that asks with no room at all.
func answer(value string, dest []byte) (uint32, fuse.Status) {
	if len(value) > len(dest) {
		return uint32(len(value)), fuse.ERANGE
	}
	return uint32(copy(dest, value)), fuse.OK
}
