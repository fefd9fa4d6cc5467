package metainfo

import (
	"bytes"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/cache/merkle"
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
		Info: Info{Name: "dir", RawName: "dir", Dir: true, PieceLength: 16384, Pieces: []byte(hashes(2)), Private: true, Total: 20006, HasV1: true},
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

// layered gives files of a piece length the piece layers of content that is nothing
// but their numbers.
func layered(files []SourceFile, pieceLength int64) []SourceFile {
	for i := range files {
		for k := int64(0); k < files[i].Length; k += pieceLength {
			files[i].Layer = append(files[i].Layer, merkle.Leaf([]byte{byte(i), byte(k / pieceLength)}))
		}
	}
	return files
}

func TestBuildV2(t *testing.T) {
	for version, b := range map[string]Builder{
		"v2":     {V2: true, Name: "dir", PieceLength: 16384},
		"hybrid": {V1: true, V2: true, Name: "dir", PieceLength: 16384},
	} {
		files := layered(sources(), 16384)
		var pieces []byte
		if b.V1 {
			pieces = []byte(hashes(4)) // one for each small file, two for b
		}
		out, err := b.Build(files, false, pieces)
		if err != nil {
			t.Fatalf("%s: %v", version, err)
		}
		if err := bencode.Check(out, bencode.Limits{Sorted: true}); err != nil {
			t.Error(err)
		}
		m, err := Parse(out)
		if err != nil {
			t.Fatal(err)
		}
		checkInvariants(t, m)
		if m.Version() != version || m.NumPieces() != 4 || len(m.MissingLayers()) > 0 {
			t.Errorf("%s with %d pieces, missing %v", m.Version(), m.NumPieces(), m.MissingLayers())
		}
		shown := slices.DeleteFunc(slices.Clone(m.Info.Files), func(f File) bool { return f.Pad })
		piece := 0
		for i, f := range shown {
			if !slices.Equal(f.Path, files[i].Path) || f.Length != files[i].Length || f.Exec != files[i].Exec {
				t.Errorf("%s: file %+v, want %+v", version, f, files[i])
			}
			for _, want := range files[i].Layer {
				if got, _ := m.PieceRoot(piece); got != want {
					t.Errorf("%s: piece %d of %q: %x, want %x", version, piece, f.Path, got, want)
				}
				piece++
			}
		}
	}
}

func TestBuildSingleV2(t *testing.T) {
	files := layered([]SourceFile{{Length: 40000}}, 32768)
	out, err := Builder{V1: true, V2: true, Name: "f.bin", PieceLength: 32768}.Build(files, true, []byte(hashes(2)))
	if err != nil {
		t.Fatal(err)
	}
	root := merkle.Root(files[0].Layer, 1, 1)
	tree := "d5:f.bind0:d6:lengthi40000e11:pieces root32:" + string(root[:]) + "eee"
	layer := string(files[0].Layer[0][:]) + string(files[0].Layer[1][:])
	want := "d4:infod9:file tree" + tree + "6:lengthi40000e12:meta versioni2e4:name5:f.bin12:piece lengthi32768e6:pieces40:" + hashes(2) +
		"e12:piece layersd32:" + string(root[:]) + "64:" + layer + "ee"
	if string(out) != want {
		t.Errorf("got  %q\nwant %q", out, want)
	}
	if out, err = (Builder{V2: true, Name: "s", PieceLength: 32768}).Build(layered([]SourceFile{{Length: 5}}, 32768), true, nil); err != nil || !bytes.HasSuffix(out, []byte("e12:piece layersdee")) {
		t.Errorf("a file of one piece: %q, %v", out, err)
	}
	_, err = Builder{V2: true, Name: "s", PieceLength: 32768}.Build([]SourceFile{{Length: 40000, Layer: make([]merkle.Hash, 3)}}, true, nil)
	wantError(t, err, "3 hashes for the 2 pieces")
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
