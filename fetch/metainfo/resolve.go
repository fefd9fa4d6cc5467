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
	dirs  map[string]bool
	files map[string]int // index in the torrent
}

// resolve makes the paths of files unique and symlinks safe. Directories keep
// their names, then the first file of every path; the others are renamed in the
// order of the torrent. Padding files are left alone. Upper and lower case are
// different names.
func resolve(files []File) error {
	t := tree{dirs: map[string]bool{}, files: make(map[string]int, len(files))}
	for i := range files {
		if !files[i].Pad {
			t.addDirs(join(files[i].Path))
		}
	}
	links := takeSymlinks(files)
	var collided []int
	for i := range files {
		if files[i].Pad {
			continue
		}
		path := join(files[i].Path)
		if t.has(path) {
			collided = append(collided, i)
			continue
		}
		t.files[path] = i
	}
	if len(collided) > maxCollisions {
		return errorf("info.files", "%d files have the path of another, at most %d are allowed", len(collided), maxCollisions)
	}
	t.rename(files, collided)
	t.resolveSymlinks(files, links)
	return nil
}

func (t *tree) has(path string) bool {
	_, isFile := t.files[path]
	return isFile || t.dirs[path]
}

func join(path []string) string { return strings.Join(path, "/") }

// addDirs adds all directories above path, the innermost first: when it is known,
// so are the others.
func (t *tree) addDirs(path string) {
	for i := strings.LastIndexByte(path, '/'); i > 0; i = strings.LastIndexByte(path[:i], '/') {
		if t.dirs[path[:i]] {
			return
		}
		t.dirs[path[:i]] = true
	}
}

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
