package metainfo

import (
	"fmt"
	"strings"

	"github.com/qqbtfs/qqbtfs/peerconn/bencode"
)

// maxPathDepth is the largest number of directories and file in a path.
const maxPathDepth = 100

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
		return errorf("info.files", "is no list, but a %v", list.Kind())
	}
	i := 0
	for v := range list.Items() {
		f, err := readFile(v, fmt.Sprintf("info.files[%d]", i))
		if err != nil {
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

// readFile reads one item of "files", called what in errors. Symlink is the path
// as it stands in the torrent.
func readFile(v bencode.Value, what string) (File, error) {
	if v.Kind() != bencode.Dict {
		return File{}, errorf(what, "is no dictionary, but a %v", v.Kind())
	}
	var length, path, pathUTF8, attr, target bencode.Value
	for key, v := range v.Entries() {
		switch string(key) {
		case "length":
			length = v
		case "path":
			path = v
		case "path.utf-8":
			pathUTF8 = v
		case "attr":
			attr = v
		case "symlink path":
			target = v
		}
	}
	a := attributes(attr)
	f := File{Pad: a.pad, Exec: a.exec}
	var err error
	if pathUTF8.Kind() == bencode.List {
		path = pathUTF8
	}
	if f.RawPath, err = readPath(path, what+".path"); err != nil && !a.pad {
		return File{}, err
	}
	f.Path = safePath(f.RawPath)
	f.Pad = f.Pad || strings.HasPrefix(f.Path[len(f.Path)-1], padPrefix)
	if a.symlink { // takes no room in the stream
		f.Symlink, _ = readPath(target, what)
		return f, nil
	}
	f.Length, err = size(length, what+".length")
	return f, err
}

// readPath reads a path, a list of strings that is not empty.
func readPath(v bencode.Value, what string) ([]string, error) {
	switch v.Kind() {
	case bencode.Absent:
		return nil, errorf(what, "is missing")
	case bencode.List:
	default:
		return nil, errorf(what, "is no list, but a %v", v.Kind())
	}
	var path []string
	for item := range v.Items() {
		b, ok := item.Bytes()
		switch {
		case !ok:
			return nil, errorf(what, "holds no string, but a %v", item.Kind())
		case len(path) == maxPathDepth:
			return nil, errorf(what, "is more than %d deep", maxPathDepth)
		}
		path = append(path, string(b))
	}
	if path == nil {
		return nil, errorf(what, "is empty")
	}
	return path, nil
}

// safePath returns raw with every component made safe. It returns raw itself if
// nothing had to be changed.
func safePath(raw []string) []string {
	safe := make([]string, 0, max(1, len(raw)))
	same := true
	for _, c := range raw {
		s := component([]byte(c))
		same = same && s == c
		if s != "" {
			safe = append(safe, s)
		}
	}
	switch {
	case same && len(raw) > 0:
		return raw
	case len(safe) == 0:
		return []string{"_"}
	}
	return safe
}
