package main

import (
	"path/filepath"
	"testing"
)

func TestInfoOutput(t *testing.T) {
	dir := home(t)
	file := writeTestFile(t, filepath.Join(dir, "tiny.torrent"), tinyTorrent(t, "tiny"))
	for name, args := range map[string][]string{"info.golden": {"info", file}, "info.json.golden": {"info", file, "--json"}} {
		r := run(t, args...)
		if r.code != codeOK || r.err != "" {
			t.Errorf("%v: code %d, %q", args, r.code, r.err)
		}
		golden(t, name, r.out)
	}
}
