package metainfo

import (
	"iter"
	"slices"
	"strings"
)

// maxHops is the largest number of symlinks that lead to each other.
const maxHops = 10

// symlink is a symlink that is still to be checked.
type symlink struct {
	file   int
	target string // safe components, joined; relative to the root of the torrent
}

// takeSymlinks takes the targets of the symlinks out of files. One that goes up
// leads nowhere.
func takeSymlinks(files []File) []symlink {
	var links []symlink
	for i := range files {
		f := &files[i]
		if f.Symlink != nil && !slices.Contains(f.Symlink, "..") {
			links = append(links, symlink{i, join(safePath(f.Symlink))})
		}
		f.Symlink = nil
	}
	return links
}

// resolveSymlinks sets Symlink where the target is in the torrent. It is a path of
// the torrent (BEP 47) or, where that does not begin with a name that the torrent
// has, one of the symlink's own directory, as some programs write it.
func (t *tree) resolveSymlinks(files []File, links []symlink) {
	targets := make(map[string]string, len(links)) // by path of the symlink
	for _, l := range links {
		path := join(files[l.file].Path)
		first, _, _ := strings.Cut(l.target, "/")
		if i := strings.LastIndexByte(path, '/'); i > 0 && !t.has(first) {
			l.target = path[:i+1] + l.target
		}
		targets[path] = l.target
	}
	for _, l := range links {
		path := join(files[l.file].Path)
		// A directory that holds the symlink would make an endless tree.
		if end := t.follow(path, targets); end != "" && !strings.HasPrefix(path, end+"/") {
			files[l.file].Symlink = strings.Split(end, "/")
		}
	}
}

// prefixes yields where each component of path ends.
func prefixes(path string) iter.Seq[int] {
	return func(yield func(int) bool) {
		for i := range len(path) {
			if path[i] == '/' && !yield(i) {
				return
			}
		}
		yield(len(path))
	}
}

// follow returns the file or directory that path leads to, free of symlinks. "":
// it leads nowhere or round in circles.
func (t *tree) follow(path string, targets map[string]string) string {
	for range maxHops {
		next, ok := hop(path, targets)
		switch {
		case ok:
			path = next
		case t.has(path):
			return path
		default:
			return ""
		}
	}
	return ""
}

// hop replaces the first symlink in path by its target.
func hop(path string, targets map[string]string) (string, bool) {
	for end := range prefixes(path) {
		if target, ok := targets[path[:end]]; ok {
			return target + path[end:], true
		}
	}
	return path, false
}
