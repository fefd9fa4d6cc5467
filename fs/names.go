package fs

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxName is the longest file name in bytes (NAME_MAX).
const maxName = 255

// InfoHashXattr is the key of the extended attribute that orders torrents of the
// same name.
const InfoHashXattr = "info-hash"

// checkName refuses what cannot be one component of a path.
func checkName(name string) error {
	switch {
	case name == "" || name == "." || name == "..":
	case len(name) > maxName:
	case strings.ContainsAny(name, "/\x00"):
	default:
		return nil
	}
	return fmt.Errorf("not a file name: %.64q", name)
}

// rootNames decides what each torrent is called at the root of the mount. A name
// that only one torrent has is kept. Of several with one name the lowest info-hash
// keeps it (without an info-hash: the first given) and the others become "name (2)",
// "name (3)" in that order, so the result does not depend on the order on the command
// line. Names in taken are given to nobody.
func rootNames(taken map[string]bool, ts []Torrent) []string {
	hashes := make([]string, len(ts))
	order := make([]int, len(ts))
	for i, t := range ts {
		order[i], hashes[i] = i, t.Xattrs(torrentRoot)[InfoHashXattr]
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(ts[a].Name(), ts[b].Name()), cmp.Compare(hashes[a], hashes[b]))
	})
	names := make([]string, len(ts))
	used := make(map[string]bool, len(ts))
	maps.Copy(used, taken)
	// Names of their own first: a torrent that is called "a (2)" keeps that name
	// whatever happens to two that are called "a".
	for _, i := range order {
		if name := ts[i].Name(); !used[name] {
			names[i], used[name] = name, true
		}
	}
	next := map[string]int{} // the last number that a name was given
	for _, i := range order {
		if names[i] != "" {
			continue
		}
		name := ts[i].Name()
		n := max(next[name], 1)
		for names[i] == "" || used[names[i]] {
			n++
			names[i] = numbered(name, n, ts[i].Dir())
		}
		next[name], used[names[i]] = n, true
	}
	return names
}

// numbered puts " (n)" behind a name, before the extension of a file.
func numbered(name string, n int, dir bool) string {
	suffix := fmt.Sprintf(" (%d)", n)
	if ext := path.Ext(name); !dir && len(ext) <= 16 && len(ext) < len(name) {
		name, suffix = strings.TrimSuffix(name, ext), suffix+ext
	}
	if over := len(name) + len(suffix) - maxName; over > 0 {
		cut := len(name) - over
		for cut > 0 && !utf8.RuneStart(name[cut]) {
			cut--
		}
		name = name[:cut]
	}
	return name + suffix
}
