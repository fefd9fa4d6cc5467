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
	sorted []string       // all paths as they were; what they are in is a directory
	files  map[string]int // index in the torrent, by path
}

// resolve makes the paths of files unique and symlinks safe. Directories keep
// their names, then the first file of every path; the others are renamed in the
// order of the torrent. Padding files are left alone. Upper and lower case are
// different names.
func resolve(files []File) error {
	t := newTree(files)
	links := takeSymlinks(files)
	var collided []int
	for i := range files {
		path := join(files[i].Path)
		switch {
		case files[i].Pad:
		case t.has(path):
			collided = append(collided, i)
		default:
			t.files[path] = i
		}
	}
	if len(collided) > maxCollisions {
		return errorf("info.files", "%d files have the path of another, at most %d are allowed", len(collided), maxCollisions)
	}
	t.rename(files, collided)
	t.resolveSymlinks(files, links)
	return nil
}

func newTree(files []File) *tree {
	t := &tree{files: make(map[string]int, len(files))}
	for i := range files {
		if !files[i].Pad {
			t.sorted = append(t.sorted, join(files[i].Path))
		}
	}
	slices.Sort(t.sorted)
	return t
}

// isDir searches for a path below path. A set of all directories would be as
// large as all paths together are deep.
func (t *tree) isDir(path string) bool {
	i, _ := slices.BinarySearch(t.sorted, path+"/")
	return i < len(t.sorted) && strings.HasPrefix(t.sorted[i], path+"/")
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
				t.files[name] = i
				break
			}
		}
		files[i].Path = path
	}
}
