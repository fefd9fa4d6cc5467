package metainfo

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"slices"

	"github.com/qqbtfs/qqbtfs/cache/merkle"
	"github.com/qqbtfs/qqbtfs/peerconn/bencode"
)

const treeName = "info.file tree"

// maxPieces is the largest number of pieces that is accepted. With v1 hashes in the
// largest info dictionary there are fewer.
const maxPieces = 1 << 21

// v2 reads the file tree. A hybrid torrent must have the same files in it, in the
// same places, as in its v1 part (BEP 52, Upgrade Path): else it would have two
// contents under one name.
func (d *dict) v2(info *Info) error {
	var r treeReader
	if err := r.dir(d.tree, nil); err != nil {
		return err
	}
	files := r.files
	if len(files) == 0 {
		return errorf(treeName, "is empty")
	}
	total, err := place(files, info.PieceLength)
	if err != nil {
		return err
	}
	if info.HasV1 {
		return checkHybrid(info, files)
	}
	if total == 0 {
		return errorf(treeName, "there is no content")
	}
	info.Files, info.Total = files, total
	if len(files) == 1 && slices.Equal(files[0].RawPath, []string{info.RawName}) {
		files[0].Path = []string{info.Name}
		return nil
	}
	info.Dir = true
	return resolve(files)
}

// place gives every file its offset, where a piece begins, and returns how many
// bytes they have (BEP 52, piece length: "each non-empty file is aligned to a piece
// boundary").
func place(files []File, pieceLength int64) (total int64, err error) {
	var pieces int64
	for i := range files {
		f := &files[i]
		f.Offset = pieces * pieceLength
		if f.Length > 0 {
			pieces += (f.Length-1)/pieceLength + 1
		}
		if pieces > maxPieces {
			return 0, errorf(treeName, "has more than %d pieces", maxPieces)
		}
		total += f.Length
	}
	return total, nil
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
	case f.Length == 0:
	case len(root) != sha256.Size || bytes.Count(root, []byte{0}) == len(root):
		err = errorf(treeName, "has no hash in pieces root of %q", join(f.Path))
	default:
		f.Root = merkle.Hash(root)
	}
	return f, err
}

// checkHybrid compares the v1 files with those of the tree and takes over their
// roots. Padding has to reach to the next piece and no further: then both parts
// number the same pieces.
func checkHybrid(info *Info, v2 []File) error {
	n := 0
	for i := range info.Files {
		f := &info.Files[i]
		if f.Pad {
			continue
		}
		if n == len(v2) || f.Length != v2[n].Length || !slices.Equal(f.RawPath, v2[n].RawPath) {
			return errorf(treeName, "differs from the v1 file %q", join(f.Path))
		}
		if f.Length > 0 && f.Offset != v2[n].Offset {
			return errorf("info.files", "%q does not begin with its v2 piece", join(f.Path))
		}
		f.Root = v2[n].Root
		n++
	}
	if n < len(v2) {
		return errorf(treeName, "has more files than the v1 part")
	}
	if have, want := len(info.Pieces)/sha1.Size, countPieces(v2, info.PieceLength); have != want {
		return errorf("info.pieces", "%d hashes for %d v2 pieces", have, want)
	}
	return nil
}

// countPieces returns the number of pieces of files that place has placed.
func countPieces(files []File, pieceLength int64) int {
	for i := len(files) - 1; i >= 0; i-- {
		if f := files[i]; f.Length > 0 {
			return int((f.Offset+f.Length-1)/pieceLength) + 1
		}
	}
	return 0
}
