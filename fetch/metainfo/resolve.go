package metainfo

import (
	"slices"
	"strconv"
	"strings"
)

// maxCollisions is the largest number of files that have to be renamed.
const maxCollisions = 500

// tree knows which paths, joined by slashes, are taken.
type tree struct {
	sorted []string // all paths as they were; what they are in is a directory
	files  map[string]struct{}
}

// resolve makes the paths of files unique and symlinks safe. Directories keep
// their names, then the first file of every path; the others are renamed in the
// order of the torrent. Padding files are left alone. Upper and lower case are
// different names.
func resolve(files []File) error {
	paths := joinAll(files)
	t := newTree(paths)
	links := takeSymlinks(files)
	var collided []int
	for i, path := range paths {
		switch {
		case path == "":
		case t.has(path):
			collided = append(collided, i)
		default:
			t.files[path] = struct{}{}
		}
	}
	if len(collided) > maxCollisions {
		return errorf("info.files", "%d files have the path of another, at most %d are allowed", len(collided), maxCollisions)
	}
	t.rename(files, collided)
	t.resolveSymlinks(files, links)
	return nil
}

// joinAll returns the path of every file, "" for padding.
func joinAll(files []File) []string {
	paths := make([]string, len(files))
	for i, f := range files {
		if !f.Pad {
			paths[i] = join(f.Path)
		}
	}
	return paths
}

func newTree(paths []string) *tree {
	return &tree{
		sorted: slices.Sorted(slices.Values(paths)),
		files:  make(map[string]struct{}, len(paths)),
	}
}

// isDir searches for a path below path. A set of all directories would be as
// large as all paths together are deep.
func (t *tree) isDir(path string) bool {
	path += "/"
	i, _ := slices.BinarySearch(t.sorted, path)
	return i < len(t.sorted) && strings.HasPrefix(t.sorted[i], path)
}

func (t *tree) has(path string) bool {
	_, isFile := t.files[path]
	return isFile || t.isDir(path)
}

func join(path []string) string { return strings.Join(path, "/") }

// rename gives the files with the given indices names that are free: "a.txt"
// becomes "a.1.txt", or "a.2.txt" and so on.
func (t *tree) rename(files []File, indices []int) {
	last := map[string]int{} // number used last, by path
	for _, i := range indices {
		old := files[i].Path
		key := join(old)
		path := slices.Clone(old)
		for {
			last[key]++
			path[len(path)-1] = shorten(old[len(old)-1], "."+strconv.Itoa(last[key]))
			name := join(path)
			if !t.has(name) {
				t.files[name] = struct{}{}
				break
			}
		}
		files[i].Path = path
	}
}
