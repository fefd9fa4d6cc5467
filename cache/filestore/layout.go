package filestore

import (
	"fmt"
	"iter"
	"path/filepath"
	"slices"
	"strings"

	"github.com/qqbtfs/qqbtfs/cache"
)

// layout maps pieces to files. Both divide the same stream of bytes.
type layout struct {
	begin  []int64 // of every piece in the stream, and the stream's end
	offset []int64 // of every file in the stream
	files  []File
}

// segment is the part of a range of a piece that lies in one file.
type segment struct {
	at   int   // begin within the range
	n    int   // bytes
	file int   // number of the file
	off  int64 // begin within the file
	pad  bool
}

// newLayout checks the files against each other and against the pieces.
func newLayout(files []File, g cache.Geometry) (layout, error) {
	l := layout{begin: make([]int64, g.NumPieces+1), offset: make([]int64, len(files)), files: files}
	for i := range g.NumPieces {
		l.begin[i+1] = l.begin[i] + int64(g.PieceSize(i))
	}
	left := l.begin[g.NumPieces]
	seen := make(map[string]bool, len(files))
	for i, f := range files {
		l.offset[i] = l.begin[g.NumPieces] - left
		if f.Length < 0 || f.Length > left {
			return layout{}, fmt.Errorf("filestore: file %d of %d bytes is not within the pieces", i, f.Length)
		}
		left -= f.Length
		if f.Pad {
			continue
		}
		if err := checkPath(f.Path); err != nil {
			return layout{}, err
		}
		if seen[f.name()] {
			return layout{}, fmt.Errorf("filestore: two files are named %q", f.name())
		}
		seen[f.name()] = true
		if err := checkLink(f); err != nil {
			return layout{}, err
		}
	}
	if left != 0 {
		return layout{}, fmt.Errorf("filestore: the pieces have %d bytes more than the files", left)
	}
	return l, nil
}

// checkPath refuses what is not one name per component. The os.Root would not
// let it out either, but "a/../b" would be another file than it says.
func checkPath(path []string) error {
	for _, name := range path {
		if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00"+string(filepath.Separator)) {
			return fmt.Errorf("filestore: unsafe path %q", path)
		}
	}
	if len(path) == 0 {
		return fmt.Errorf("filestore: empty path")
	}
	return nil
}

func checkLink(f File) error {
	if f.Symlink == nil {
		return nil
	}
	if f.Length != 0 {
		return fmt.Errorf("filestore: symbolic link %q has a length", f.name())
	}
	return checkPath(f.Symlink)
}

// segments yields the parts of n bytes at off of piece i, in order, without
// empty ones.
func (l layout) segments(i, off, n int) iter.Seq[segment] {
	return func(yield func(segment) bool) {
		pos := l.begin[i] + int64(off)
		// The last file that begins at or before pos; empty files share offsets.
		f, found := slices.BinarySearch(l.offset, pos)
		if !found {
			f--
		}
		for at := 0; at < n; f++ {
			in := pos + int64(at) - l.offset[f]
			k := int(min(int64(n-at), l.files[f].Length-in))
			if k <= 0 {
				continue
			}
			if !yield(segment{at: at, n: k, file: f, off: in, pad: l.files[f].Pad}) {
				return
			}
			at += k
		}
	}
}

// piecesPerFile returns how many pieces touch each file.
func (l layout) piecesPerFile() []int {
	counts := make([]int, len(l.files))
	for i := range len(l.begin) - 1 {
		for seg := range l.segments(i, 0, int(l.begin[i+1]-l.begin[i])) {
			counts[seg.file]++
		}
	}
	return counts
}

// present returns the pieces whose files reach far enough on disk to have them,
// and their bytes.
func (l layout) present(sizes []int64) (pieces []int, total int64) {
	for i := range len(l.begin) - 1 {
		n := int(l.begin[i+1] - l.begin[i])
		if l.reaches(i, n, sizes) {
			pieces = append(pieces, i)
			total += int64(n)
		}
	}
	return pieces, total
}

func (l layout) reaches(i, n int, sizes []int64) bool {
	for seg := range l.segments(i, 0, n) {
		if !seg.pad && seg.off+int64(seg.n) > sizes[seg.file] {
			return false
		}
	}
	return true
}
