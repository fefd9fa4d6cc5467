package metainfo

import (
	"fmt"
	"slices"
	"strings"

	"github.com/qqbtfs/qqbtfs/peerconn/bencode"
)

// maxPathDepth is the largest number of directories and file in a path.
const maxPathDepth = 100

// maxPathBytes is the most that all paths of a torrent may have, with
// componentCost for each component.
const (
	maxPathBytes  = 64 << 20
	componentCost = 16
)

// pathBudget is what all paths so far have cost.
type pathBudget int

func (b *pathBudget) take(path []string, what string) error {
	if len(path) > maxPathDepth {
		return errorf(what, "has a path more than %d deep", maxPathDepth)
	}
	for _, c := range path {
		*b += pathBudget(len(c) + componentCost)
	}
	if *b > maxPathBytes {
		return errorf(what, "all paths together are too long")
	}
	return nil
}

// padPrefix begins the names of padding files of programs older than BEP 47.
const padPrefix = "_____padding_file"

// attrs are the attributes of a file that matter here (BEP 47, attr).
type attrs struct{ pad, exec, symlink bool }

func attributes(v bencode.Value) attrs {
	s := text(v)
	return attrs{
		pad:     strings.Contains(s, "p"),
		exec:    strings.Contains(s, "x"),
		symlink: strings.Contains(s, "l"),
	}
}

// readFileList reads the "files" of a multi-file torrent.
func readFileList(info *Info, list bencode.Value) error {
	if list.Kind() != bencode.List {
		return wrongKind(list, bencode.List, "info.files")
	}
	i := 0
	var paths pathBudget
	for v := range list.Items() {
		f, err := readFile(v)
		if err != nil {
			return within(fmt.Sprintf("info.files[%d]", i), err)
		}
		if err := paths.take(f.RawPath, "info.files"); err != nil {
			return err
		}
		f.Offset = info.Total
		if err := addSize(&info.Total, f.Length, "info.files"); err != nil {
			return err
		}
		info.Files = append(info.Files, f)
		i++
	}
	if i == 0 {
		return errorf("info.files", "is empty")
	}
	return resolve(info.Files)
}

// readFile reads one item of "files".
func readFile(v bencode.Value) (File, error) {
	d, err := readFileDict(v)
	if err != nil {
		return File{}, err
	}
	path := d.path
	if d.pathUTF8.Kind() == bencode.List {
		path = d.pathUTF8
	}
	raw, err := readPath(path)
	if err != nil && !attributes(d.attr).pad {
		return File{}, within(".path", err)
	}
	return d.file(raw)
}

// fileDict holds the entries of one file that are used.
type fileDict struct {
	length, path, pathUTF8 bencode.Value
	attr, target, root     bencode.Value
}

func readFileDict(v bencode.Value) (fileDict, error) {
	if v.Kind() != bencode.Dict {
		return fileDict{}, wrongKind(v, bencode.Dict, "")
	}
	var d fileDict
	for key, v := range v.Entries() {
		switch string(key) {
		case "length":
			d.length = v
		case "path":
			d.path = v
		case "path.utf-8":
			d.pathUTF8 = v
		case "attr":
			d.attr = v
		case "symlink path":
			d.target = v
		case "pieces root":
			d.root = v
		}
	}
	return d, nil
}

// file returns d as the file raw. Its Symlink is as it stands in the torrent.
func (d fileDict) file(raw []string) (File, error) {
	a := attributes(d.attr)
	f := File{RawPath: raw, Path: safePath(raw), Exec: a.exec}
	f.Pad = a.pad || strings.HasPrefix(f.Path[len(f.Path)-1], padPrefix)
	if a.symlink { // takes no room in the stream
		f.Symlink, _ = readPath(d.target)
		return f, nil
	}
	var err error
	f.Length, err = size(d.length, ".length")
	return f, err
}

// readPath reads a path, a list of strings that is not empty.
func readPath(v bencode.Value) ([]string, error) {
	if v.Kind() != bencode.List {
		return nil, wrongKind(v, bencode.List, "")
	}
	n := 0
	for range v.Items() {
		n++
	}
	if n == 0 {
		return nil, errorf("", "is empty")
	}
	path := make([]string, 0, n)
	for item := range v.Items() {
		b, ok := item.Bytes()
		if !ok {
			return nil, wrongKind(item, bencode.String, "")
		}
		path = append(path, string(b))
	}
	return path, nil
}

// safePath returns raw with every component made safe. It returns raw itself if
// nothing had to be changed.
func safePath(raw []string) []string {
	if len(raw) > 0 && !slices.ContainsFunc(raw, func(c string) bool { return component(c) != c }) {
		return raw
	}
	var safe []string
	for _, c := range raw {
		if c = component(c); c != "" {
			safe = append(safe, c)
		}
	}
	if len(safe) == 0 {
		return []string{"_"}
	}
	return safe
}
