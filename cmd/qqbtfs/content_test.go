package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/qqbtfs/qqbtfs/fetch/metainfo"
)

func TestFindContent(t *testing.T) {
	dir := t.TempDir()
	writeTestFile(t, dir+"/down/album/a", []byte("x"))
	writeTestFile(t, dir+"/down/song", []byte("x"))
	writeTestFile(t, dir+"/renamed/a", []byte("x"))
	writeTestFile(t, dir+"/other", []byte("x"))
	multi := &metainfo.MetaInfo{Info: metainfo.Info{Name: "album", Dir: true, Files: []metainfo.File{{Path: []string{"pad"}, Pad: true}, {Path: []string{"a"}, Length: 1}}}}
	single := &metainfo.MetaInfo{Info: metainfo.Info{Name: "song", Files: []metainfo.File{{Path: []string{"song"}, Length: 1}}}}
	for _, c := range []struct {
		data string
		m    *metainfo.MetaInfo
		want string // of the last file, or a part of the error
		ok   bool
	}{
		{"down", multi, "down/album/a", true},
		{"down/album", multi, "down/album/a", true},
		{"renamed", multi, "renamed/a", true},
		{"down", single, "down/song", true},
		{"down/song", single, "down/song", true},
		{"other", single, "other", true},
		{"other", multi, "is a file", false},
		{"renamed", single, "neither song", false},
		{"none", multi, "no such file", false},
	} {
		got, err := findContent(filepath.Join(dir, c.data), c.m)
		if !c.ok {
			if exitCode(err) != codeDisk || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s of %s: %v, want %q", c.data, c.m.Info.Name, err, c.want)
			}
			continue
		}
		files := got.files(c.m)
		path := filepath.Join(append([]string{got.root}, files[len(files)-1].Path...)...)
		if err != nil || path != filepath.Join(dir, c.want) {
			t.Errorf("%s of %s: %s, %v; want %s", c.data, c.m.Info.Name, path, err, c.want)
		}
	}
}
