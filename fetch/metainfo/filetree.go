package metainfo

import (
	"bytes"
	"crypto/sha256"
	"slices"

	"github.com/qqbtfs/qqbtfs/peerconn/bencode"
)

const treeName = "info.file tree"

// v2 reads the file tree. A hybrid torrent must have the same files in it, in the
// same order, as in its v1 part, where each begins with a piece (BEP 52, Upgrade
// Path): else it would have two contents under one name.
func (d *dict) v2(info *Info) error {
	var r treeReader
	if err := r.dir(d.tree, nil); err != nil {
		return err
	}
	files := r.files
	if len(files) == 0 {
		return errorf(treeName, "is empty")
	}
	if info.HasV1 {
		return checkHybrid(info, files)
	}
	for _, f := range files {
		if err := addSize(&info.Total, f.Length, treeName); err != nil {
			return err
		}
	}
	info.Files = files
	name, _ := d.rawName()
	if len(files) == 1 && slices.Equal(files[0].RawPath, []string{name}) {
		files[0].Path = []string{info.Name}
		return nil
	}
	info.Dir = true
	return resolve(files)
}

// treeReader collects the files of a file tree. In a tree they share directories,
// so that all their paths can be far longer than the input: paths bounds them.
type treeReader struct {
	files []File
	paths pathBudget
}

// dir reads the directory v, which is at path. The scan has bounded how deep it
// can recurse.
func (r *treeReader) dir(v bencode.Value, path []string) error {
	for key, node := range v.Entries() {
		if len(key) == 0 {
			return errorf(treeName, "has a file without a name, or one that is a directory too")
		}
		if node.Kind() != bencode.Dict {
			return wrongKind(node, bencode.Dict, treeName)
		}
		read := r.dir
		if isLeaf(node) {
			read = r.file
		}
		if err := read(node, append(slices.Clip(path), string(key))); err != nil {
			return err
		}
	}
	return nil
}

// isLeaf reports whether a node is a file, with its properties under the empty
// key. That sorts before all others.
func isLeaf(node bencode.Value) bool { return bytes.HasPrefix(node.Raw(), []byte("d0:")) }

// file reads the node of a file, which is at path.
func (r *treeReader) file(node bencode.Value, path []string) error {
	if err := r.paths.take(path, treeName); err != nil {
		return err
	}
	var leaf bencode.Value
	for key, v := range node.Entries() {
		if len(key) > 0 {
			return errorf(treeName, "has a file that is a directory too")
		}
		leaf = v
	}
	f, err := readLeaf(leaf, path)
	r.files = append(r.files, f)
	return err
}

func readLeaf(v bencode.Value, path []string) (File, error) {
	d, err := readFileDict(v)
	if err != nil {
		return File{}, within(treeName, err)
	}
	f, err := d.file(path)
	root, _ := d.root.Bytes()
	switch {
	case err != nil:
		err = within(treeName, err)
	case attributes(d.attr).pad:
		err = errorf(treeName, "has the padding file %q, which v2 does not know", join(f.Path))
	case f.Length > 0 && (len(root) != sha256.Size || bytes.Count(root, []byte{0}) == len(root)):
		err = errorf(treeName, "has no hash in pieces root of %q", join(f.Path))
	}
	return f, err
}

func checkHybrid(info *Info, v2 []File) error {
	n := 0
	for _, f := range info.Files {
		if f.Pad {
			continue
		}
		if n == len(v2) || f.Length != v2[n].Length || !slices.Equal(f.RawPath, v2[n].RawPath) {
			return errorf(treeName, "differs from the v1 file %q", join(f.Path))
		}
		if f.Length > 0 && f.Offset%info.PieceLength != 0 {
			return errorf("info.files", "%q does not begin with a piece", join(f.Path))
		}
		n++
	}
	if n < len(v2) {
		return errorf(treeName, "has more files than the v1 part")
	}
	return nil
}
