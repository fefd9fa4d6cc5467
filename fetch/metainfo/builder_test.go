package metainfo

import (
	"bytes"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/peerconn/bencode"
)

func sources() []SourceFile {
	files := []SourceFile{
		{Path: []string{"b"}, Length: 20000, Exec: true},
		{Path: []string{"a", "z"}, Length: 5},
		{Path: []string{"a", "b", "c"}, Length: 0},
		{Path: []string{"a.txt"}, Length: 1},
	}
	SortFiles(files)
	return files
}

func TestBuild(t *testing.T) {
	b := Builder{
		Name: "dir", Private: true, Comment: "c", CreatedBy: "test", Created: time.Unix(1457580648, 0),
		Trackers: [][]string{{"http://a/announce", "udp://b:1"}, {"https://c"}}, WebSeeds: []string{"http://w/"},
	}
	out, err := b.Build(sources(), false, []byte(hashes(2)))
	if err != nil {
		t.Fatal(err)
	}
	if err := bencode.Check(out, bencode.Limits{Sorted: true}); err != nil {
		t.Error(err)
	}
	m, err := Parse(out)
	if err != nil {
		t.Fatal(err)
	}
	want := MetaInfo{
		InfoRaw: m.InfoRaw, Trackers: b.Trackers, URLList: b.WebSeeds, Comment: "c", CreatedBy: "test", Created: b.Created,
		Info: Info{Name: "dir", Dir: true, PieceLength: 16384, Pieces: []byte(hashes(2)), Private: true, Total: 20006, HasV1: true},
	}
	var offset int64
	for _, f := range []File{
		{Path: []string{"a", "b", "c"}},
		{Path: []string{"a", "z"}, Length: 5},
		{Path: []string{"a.txt"}, Length: 1},
		{Path: []string{"b"}, Length: 20000, Exec: true},
	} {
		f.RawPath, f.Offset = f.Path, offset
		offset += f.Length
		want.Info.Files = append(want.Info.Files, f)
	}
	if !reflect.DeepEqual(*m, want) {
		t.Errorf("got  %+v\nwant %+v", *m, want)
	}
	again, err := b.Build(sources(), false, []byte(hashes(2)))
	if err != nil || !bytes.Equal(again, out) {
		t.Errorf("built again: %v, same: %v", err, bytes.Equal(again, out))
	}
}

func TestBuildSingle(t *testing.T) {
	out, err := Builder{Name: "f.bin", PieceLength: 32768, Trackers: [][]string{{"http://a"}}}.Build([]SourceFile{{Length: 40000}}, true, []byte(hashes(2)))
	if err != nil {
		t.Fatal(err)
	}
	want := "d8:announce8:http://a4:infod6:lengthi40000e4:name5:f.bin12:piece lengthi32768e6:pieces40:" + hashes(2) + "ee"
	if string(out) != want {
		t.Errorf("got  %q\nwant %q", out, want)
	}
}

func TestBuildRefuses(t *testing.T) {
	one := []SourceFile{{Path: []string{"a"}, Length: 5}}
	big := make([]byte, 20*(MaxFileSize/20+1))
	tests := []struct {
		name   string
		b      Builder
		files  []SourceFile
		single bool
		pieces []byte
		want   string
	}{
		{"no name", Builder{}, one, true, []byte(hashes(1)), "name"},
		{"name that others change", Builder{Name: "a/b"}, one, true, []byte(hashes(1)), `would change "a/b" to "ab"`},
		{"no hashes", Builder{Name: "a"}, one, true, nil, "0 hashes for 1 pieces"},
		{"two files as one", Builder{Name: "a"}, append(one, one...), true, []byte(hashes(1)), "2 of them"},
		{"no files", Builder{Name: "a"}, nil, false, nil, "info"},
		{"no content", Builder{Name: "a"}, []SourceFile{{Path: []string{"a"}}}, false, nil, "no content"},
		{"tracker of other scheme", Builder{Name: "a", Trackers: [][]string{{"http://a"}, {"ftp://b"}}}, one, true, []byte(hashes(1)), "ftp://b"},
		{"too many pieces", Builder{Name: "a", PieceLength: 1}, []SourceFile{{Length: int64(len(big) / 20)}}, true, big, "too small"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out, err := tt.b.Build(tt.files, tt.single, tt.pieces)
			if out != nil {
				t.Error("a torrent beside the error")
			}
			wantError(t, err, tt.want)
		})
	}
}

func TestBuildWantsSortedFiles(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	files := sources()
	slices.Reverse(files)
	_, _ = Builder{Name: "a"}.Build(files, false, []byte(hashes(2)))
}

func TestAutoPieceLength(t *testing.T) {
	const k, m, g = 1 << 10, 1 << 20, 1 << 30
	for _, tt := range []struct{ total, want int64 }{
		{0, 16 * k}, {1, 16 * k}, {64 * m, 16 * k}, {64*m + 1, 32 * k}, {g, 256 * k}, {4 * g, m}, {64 * g, 16 * m}, {1 << 62, 16 * m},
	} {
		if got := AutoPieceLength(tt.total); got != tt.want {
			t.Errorf("AutoPieceLength(%d) = %d, want %d", tt.total, got, tt.want)
		}
	}
}
