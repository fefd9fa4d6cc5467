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
	files, err := readTree(nil, d.tree, nil)
	if err != nil {
		return err
	}
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
	if len(files) == 1 && slices.Equal(files[0].RawPath, []string{string(name)}) {
		files[0].Path = []string{info.Name}
		return nil
	}
	info.Dir = true
	return resolve(files)
}

// readTree appends the files of the directory dir, which is at path, to files.
// The scan has bounded how deep it can recurse.
func readTree(files []File, dir bencode.Value, path []string) ([]File, error) {
	if len(path) == maxPathDepth {
		return nil, errorf(treeName, "is more than %d deep", maxPathDepth)
	}
	for key, node := range dir.Entries() {
		if len(key) == 0 {
			return nil, errorf(treeName, "has a file without a name")
		}
		if node.Kind() != bencode.Dict {
			return nil, wrongKind(node, bencode.Dict, treeName)
		}
		var err error
		child := append(slices.Clip(path), string(key))
		if leaf, ok := leafOf(node); ok {
			var f File
			f, err = readLeaf(leaf, child)
			files = append(files, f)
		} else {
			files, err = readTree(files, node, child)
		}
		if err != nil {
			return nil, err
		}
	}
	return files, nil
}

// leafOf returns the properties of a file, which are what a node has under the
// empty key only.
func leafOf(node bencode.Value) (leaf bencode.Value, ok bool) {
	n := 0
	for key, v := range node.Entries() {
		if n++; len(key) == 0 {
			leaf = v
		}
	}
	return leaf, n == 1 && leaf.Kind() != bencode.Absent
}

func readLeaf(v bencode.Value, path []string) (File, error) {
	what := treeName + "." + printable(join(path))
	d, err := readFileDict(v, what)
	if err != nil {
		return File{}, err
	}
	f, err := d.file(path, what)
	root, _ := d.root.Bytes()
	switch {
	case err != nil:
	case attributes(d.attr).pad:
		err = errorf(what, "is a padding file, which v2 does not have")
	case f.Length > 0 && (len(root) != sha256.Size || bytes.Count(root, []byte{0}) == len(root)):
		err = errorf(what+".pieces root", "is no hash")
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
