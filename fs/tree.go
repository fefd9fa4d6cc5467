package fs

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

const (
	torrentRoot = -1 // node.file of a multi-file torrent's directory
	noFile      = -2 // node.file of any other directory
)

// node is one file, directory or symbolic link. It never changes once its tree is
// published.
type node struct {
	id     uint64 // FUSE node id and inode number
	parent uint64
	name   string
	mode   uint32 // type and permissions, umask applied
	nlink  uint32
	file   int    // index for src.t, torrentRoot or noFile
	target string // of a symbolic link
	size   int64
	src    *source // nil for the root
	mtime  time.Time

	children []*node // in the order of the listing
	byName   map[string]*node
}

func (n *node) isDir() bool  { return n.mode&syscall.S_IFMT == syscall.S_IFDIR }
func (n *node) isFile() bool { return n.mode&syscall.S_IFMT == syscall.S_IFREG }

// source is one mounted torrent.
type source struct {
	t     Torrent
	top   uint64  // id of its node in the root
	nodes []*node // of its files, by index
}

// tree is one immutable state of the mount. A torrent that is added makes a new one,
// which shares all nodes but the root and those that are called otherwise then.
type tree struct {
	nodes   []*node // by id-1
	sources []*source
	kept    int   // sources, from the first, that keep their names
	bytes   int64 // of all files
}

func (t *tree) root() *node { return t.nodes[0] }

// node returns the node with a FUSE node id, or nil.
func (t *tree) node(id uint64) *node {
	if id == 0 || id > uint64(len(t.nodes)) {
		return nil
	}
	return t.nodes[id-1]
}

func newTree(mtime time.Time, umask uint32) *tree {
	return &tree{nodes: []*node{{
		id: fuse.FUSE_ROOT_ID, parent: fuse.FUSE_ROOT_ID,
		mode: syscall.S_IFDIR | 0o555&^umask, nlink: 2, file: noFile, mtime: mtime,
		byName: map[string]*node{},
	}}}
}

// with returns the tree with more torrents in it; t stays as it is. An error names
// the torrent and what is wrong with it.
func (t *tree) with(ts []Torrent, umask uint32) (*tree, error) {
	b := builder{tree: t.clone(), umask: umask}
	taken, late := map[string]bool{}, []Torrent(nil)
	for i, src := range b.sources {
		if i < b.kept {
			taken[b.node(src.top).name] = true
		} else {
			late = append(late, src.t)
		}
	}
	names := rootNames(taken, append(late, ts...))
	b.rename(b.sources[b.kept:], names)
	for i, t := range ts {
		if err := b.add(t, names[len(late)+i]); err != nil {
			return nil, fmt.Errorf("fs: torrent %q: %w", t.Name(), err)
		}
	}
	return b.tree, nil
}

func (t *tree) clone() *tree {
	root := *t.root()
	root.children = slices.Clone(root.children)
	root.byName = make(map[string]*node, len(root.children))
	for _, n := range root.children {
		root.byName[n.name] = n
	}
	c := &tree{nodes: slices.Clone(t.nodes), sources: slices.Clone(t.sources), kept: t.kept, bytes: t.bytes}
	c.nodes[0] = &root
	return c
}

type builder struct {
	*tree
	umask uint32
}

// rename gives torrents that are there already other names in the root.
func (b *builder) rename(sources []*source, names []string) {
	root := b.root()
	for i, src := range sources {
		old := b.node(src.top)
		if old.name == names[i] {
			continue
		}
		n := *old
		n.name = names[i]
		b.nodes[n.id-1] = &n
		root.children[slices.Index(root.children, old)] = &n
		if root.byName[old.name] == old { // and not the one that has got its name
			delete(root.byName, old.name)
		}
		root.byName[n.name] = &n
	}
}

func (b *builder) add(t Torrent, name string) error {
	files := t.Files()
	if !t.Dir() && len(files) != 1 {
		return fmt.Errorf("a single-file torrent with %d files", len(files))
	}
	if err := checkName(name); err != nil {
		return err
	}
	mtime := t.ModTime()
	if mtime.Unix() <= 0 {
		mtime = b.root().mtime
	}
	src := &source{t: t, top: uint64(len(b.nodes)) + 1, nodes: make([]*node, 0, len(files))}
	b.sources = append(b.sources, src)
	b.nodes = slices.Grow(b.nodes, len(files)+1)
	template := node{src: src, mtime: mtime}

	if !t.Dir() {
		return b.file(b.root(), template, name, 0, File{Length: files[0].Length, Exec: files[0].Exec})
	}
	dir := b.dir(b.root(), template, name, torrentRoot)
	for i, f := range files {
		if err := b.path(dir, template, i, f); err != nil {
			return fmt.Errorf("file %d, %q: %w", i, strings.Join(f.Path, "/"), err)
		}
	}
	return nil
}

// path adds a file with the directories that lead to it.
func (b *builder) path(dir *node, template node, i int, f File) error {
	if len(f.Path) == 0 {
		return fmt.Errorf("no name")
	}
	for _, name := range f.Path {
		if err := checkName(name); err != nil {
			return err
		}
	}
	last := len(f.Path) - 1
	for _, name := range f.Path[:last] {
		next := dir.byName[name]
		if next == nil {
			next = b.dir(dir, template, name, noFile)
		}
		if !next.isDir() {
			return fmt.Errorf("%q is a file too", name)
		}
		dir = next
	}
	if dir.byName[f.Path[last]] != nil {
		return fmt.Errorf("the name is there twice")
	}
	return b.file(dir, template, f.Path[last], i, f)
}

func (b *builder) dir(parent *node, n node, name string, file int) *node {
	n.mode, n.nlink, n.file, n.byName = syscall.S_IFDIR|0o555&^b.umask, 2, file, map[string]*node{}
	parent.nlink++
	return b.link(parent, n, name)
}

func (b *builder) file(parent *node, n node, name string, i int, f File) error {
	if f.Length < 0 {
		return fmt.Errorf("its length is %d", f.Length)
	}
	target, err := linkTarget(f)
	if err != nil {
		return err
	}
	n.nlink, n.file = 1, i
	if target != "" {
		n.mode, n.target, n.size = syscall.S_IFLNK|0o777, target, int64(len(target))
	} else {
		n.mode, n.size = syscall.S_IFREG|0o444&^b.umask, f.Length
		b.bytes += f.Length
	}
	if f.Exec && target == "" {
		n.mode |= 0o111 &^ b.umask
	}
	n.src.nodes = append(n.src.nodes, b.link(parent, n, name))
	return nil
}

func (b *builder) link(parent *node, n node, name string) *node {
	n.id, n.parent, n.name = uint64(len(b.nodes))+1, parent.id, name
	b.nodes = append(b.nodes, &n)
	parent.children = append(parent.children, &n)
	parent.byName[name] = &n
	return &n
}

// linkTarget is the text of a symbolic link, relative to the directory that it is
// in; empty for a file that is none. A target outside of the torrent is refused.
func linkTarget(f File) (string, error) {
	if len(f.Symlink) == 0 {
		return "", nil
	}
	for _, name := range f.Symlink {
		if err := checkName(name); err != nil {
			return "", fmt.Errorf("symbolic link: %w", err)
		}
	}
	from, to := f.Path[:max(len(f.Path)-1, 0)], f.Symlink
	for len(from) > 0 && len(to) > 1 && from[0] == to[0] {
		from, to = from[1:], to[1:]
	}
	return strings.Repeat("../", len(from)) + path.Join(to...), nil
}
