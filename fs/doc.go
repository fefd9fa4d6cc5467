// Package fs shows the files of torrents as a read-only FUSE file system.
//
// The tree is built once, when torrents are mounted or added, from what the
// metainfo says: a single-file torrent is that file at the root of the mount, a
// multi-file torrent is its directory; several stand side by side. After that
// nothing in it moves, so nodes are never forgotten and node ids double as inode
// numbers. What changes is how much of a file is local, and only the attributes
// of incomplete files are therefore kept out of the kernel's cache.
//
// The package implements go-fuse's raw protocol interface, not its node API: a
// fixed tree needs none of the node life cycle, and a listing of 60,000 files is
// then a walk over slices.
//
// Reads go to a [Handle]; the package itself caches nothing, knows no pieces and
// sets no deadline. It ends a read early only when nobody waits for it any more.
package fs
