package metainfo

import "strings"

// maxHops is the largest number of symlinks that lead to each other (what Linux
// follows).
const maxHops = 40

// symlinkTargets takes the targets of the symlinks out of files: joined, by index
// of the symlink. A target that would have to be changed to be safe is dropped.
func symlinkTargets(files []File) map[int]string {
	targets := map[int]string{}
	for i := range files {
		f := &files[i]
		if f.Symlink == nil {
			continue
		}
		if target := join(f.Symlink); join(safePath(f.Symlink)) == target {
			targets[i] = target
		}
		f.Symlink = nil
	}
	return targets
}

// resolveSymlinks sets Symlink where the target is in the torrent and does not
// hold the symlink itself, which would make an endless tree.
func (t *tree) resolveSymlinks(files []File, targets map[int]string) {
	for i := range targets {
		path := t.follow(i, targets)
		if path == "" || strings.HasPrefix(join(files[i].Path), path+"/") {
			continue
		}
		files[i].Symlink = strings.Split(path, "/")
	}
}

// follow returns the file or directory that symlink i leads to in the end. "": it
// leads nowhere or round in circles.
func (t *tree) follow(i int, targets map[int]string) string {
	for range maxHops {
		path := targets[i]
		if t.dirs[path] {
			return path
		}
		next, isFile := t.files[path]
		if !isFile {
			return ""
		}
		if _, isLink := targets[next]; !isLink {
			return path
		}
		i = next
	}
	return ""
}
