package metainfo

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/peerconn/bencode"
)

func TestSingleFile(t *testing.T) {
	m := mustParse(t, single().with(d{"attr": "x", "source": "S", "private": 1}))
	want := Info{
		Name: "a.txt", RawName: "a.txt", PieceLength: 16384, Pieces: []byte(hashes(2)), Private: true, Total: 20000, HasV1: true, Source: "S",
		Files: []File{{Path: []string{"a.txt"}, RawPath: []string{"a.txt"}, Length: 20000, Exec: true}},
	}
	if !reflect.DeepEqual(m.Info, want) {
		t.Errorf("got  %+v\nwant %+v", m.Info, want)
	}
	if m.Version() != "v1" || m.NumPieces() != 2 || m.PieceHash(1) != [20]byte([]byte(hashes(1))) {
		t.Errorf("%s, %d pieces", m.Version(), m.NumPieces())
	}
}

func TestMultiFile(t *testing.T) {
	m := mustParse(t, multiOf(
		d{"length": 16000, "path": []string{"b", "c"}, "attr": "x"},
		d{"length": 0, "path": []string{"empty"}},
		d{"length": 384, "path": []string{".pad", "384"}, "attr": "p"},
		d{"length": 1, "path": []string{"_____padding_file_0_like BitComet's"}},
		d{"length": 9, "path": []string{"a"}},
	))
	if !m.Info.Dir || m.Info.Name != "dir" || m.Info.Total != 16394 {
		t.Errorf("%+v", m.Info)
	}
	if f := m.Info.Files[0]; join(f.Path) != "b/c" || !f.Exec || f.Pad {
		t.Errorf("first %+v", f)
	}
	for i, pad := range []bool{false, false, true, true, false} {
		if m.Info.Files[i].Pad != pad {
			t.Errorf("%+v, padding %v", m.Info.Files[i], pad)
		}
	}
	if f := m.Info.Files[4]; f.Offset != 16385 {
		t.Errorf("last %+v", f)
	}
}

// "The 20 byte sha1 hash of the bencoded form of the info value from the metainfo
// file. This value will almost certainly have to be escaped." (BEP 3) It is over
// the bytes as they are, however they are sorted.
func TestInfoHashIsOverTheRawBytes(t *testing.T) {
	const raw = "d12:piece lengthi16384e4:name1:a6:lengthi1e6:pieces20:aaaaaaaaaaaaaaaaaaaa1:zd1:bi1e1:ai2eee"
	in := []byte("d4:info" + raw + "8:announce9:udp://a:1e\r\n")
	m, err := Parse(in)
	if err != nil {
		t.Fatal(err)
	}
	clear(in) // the MetaInfo is independent of it
	if string(m.InfoRaw) != raw || m.HashV1() != sha1.Sum([]byte(raw)) || m.HashV2() != sha256.Sum256([]byte(raw)) {
		t.Errorf("raw %q", m.InfoRaw)
	}
	info, err := ParseInfo(m.InfoRaw)
	if err != nil || !reflect.DeepEqual(info, m.Info) {
		t.Errorf("from a peer: %+v, %v\nfrom a file: %+v", info, err, m.Info)
	}
	if _, err := ParseInfo(append(slices.Clone(m.InfoRaw), '\n')); err == nil {
		t.Error("bytes behind an info dictionary from a peer")
	}
}

func TestRefused(t *testing.T) {
	file := func(changes d) d { return multiOf(d{"length": 5, "path": []string{"f"}}.with(changes)) }
	tests := []struct {
		name string
		info any
		want string
	}{
		{"no dictionary", "x", "info: want dictionary, got string"},
		{"no name", single().with(d{"name": nil}), "info.name: is missing"},
		{"name of integer", single().with(d{"name": 1}), "info.name: want string, got integer"},
		{"no piece length", single().with(d{"piece length": nil}), "info.piece length: is missing"},
		{"piece length 0", single().with(d{"piece length": 0}), "0 is not between"},
		{"piece length negative", single().with(d{"piece length": -16384}), "-16384 is not between"},
		{"piece length over 512 MiB", single().with(d{"piece length": 512<<20 + 1}), "is not between"},
		{"piece length over 64 bits", single().with(d{"piece length": uint64(math.MaxUint64)}), "does not fit"},
		{"piece length of string", single().with(d{"piece length": "16384"}), "want integer, got string"},
		{"no pieces", single().with(d{"pieces": nil}), "info.pieces: is missing"},
		{"pieces of list", single().with(d{"pieces": []int{}}), "want string, got list"},
		{"39 bytes of hashes", single().with(d{"pieces": hashes(2)[1:]}), "no whole number"},
		{"too few hashes", single().with(d{"pieces": hashes(1)}), "1 hashes for 2 pieces"},
		{"too many hashes", single().with(d{"pieces": hashes(3)}), "3 hashes for 2 pieces"},
		{"no hashes", single().with(d{"pieces": ""}), "0 hashes for 2 pieces"},
		{"hashes for 2^63", single().with(d{"length": math.MaxInt64}), "hashes for 562949953421312 pieces"},
		{"no length", single().with(d{"length": nil}), "info.length: is missing"},
		{"negative length", single().with(d{"length": -1}), "negative"},
		{"zero length", single().with(d{"length": 0, "pieces": ""}), "no content"},
		{"length of list", single().with(d{"length": []int{1}}), "want integer, got list"},
		{"files of string", single().with(d{"files": "x"}), "info.files: want list, got string"},
		{"no files", multiOf(), "info.files: is empty"},
		{"file of integer", multi().with(d{"files": []int{1}}), "info.files[0]: want dictionary, got integer"},
		{"file without path", file(d{"path": nil}), "info.files[0].path: is missing"},
		{"file of empty path", file(d{"path": []string{}}), "info.files[0].path: is empty"},
		{"path of string", file(d{"path": "f"}), "want list, got string"},
		{"path of integers", file(d{"path": []int{1}}), "want string, got integer"},
		{"path of 101", file(d{"path": slices.Repeat([]string{"a"}, 101)}), "more than 100 deep"},
		{"file without length", file(d{"length": nil}), "info.files[0].length: is missing"},
		{"file of negative length", file(d{"length": -5}), "negative"},
		{"sum of sizes overflows", multiOf(d{"length": math.MaxInt64, "path": []string{"a"}}, d{"length": 1, "path": []string{"b"}}), "sum"},
		{"only empty files", multiOf(d{"length": 0, "path": []string{"a"}}), "no content"},
		{"unknown version", single().with(d{"meta version": 3}), "3 is not known"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, err := parse(t, tt.info)
			if m != nil {
				t.Errorf("a MetaInfo beside the error: %+v", m)
			}
			wantError(t, err, tt.want)
		})
	}
}

func TestRefusedFiles(t *testing.T) {
	info := string(encode(t, single()))
	tests := map[string]struct{ in, want string }{
		"nothing":            {"", "ends inside"},
		"page of a web site": {"<!DOCTYPE html>", "no value begins"},
		"list":               {"le", "file: want dictionary, got list"},
		"no info":            {"d8:announce0:e", "info: is missing"},
		"info twice":         {"d4:info" + info + "4:info" + info + "e", "twice"},
		"key twice in info":  {"d4:info" + info[:len(info)-1] + "4:name1:bee", "twice"},
		"truncated":          {"d4:info" + info, "ends inside"},
		"depth bomb":         {"d4:info" + strings.Repeat("l", 1<<20), "100 levels"},
		"string past 2^63":   {"d4:info9223372036854775808:", "longer than the input"},
		"over 10 MB":         {"d4:info" + info + "1:z" + "10485760:" + strings.Repeat("z", MaxFileSize) + "e", "at most"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]byte(tt.in))
			wantError(t, err, tt.want)
		})
	}
}

func TestNameOfOtherEncoding(t *testing.T) {
	m := mustParse(t, multiOf(d{"length": 5, "path": []string{"\xe4"}, "path.utf-8": []string{"ä"}}).
		with(d{"name": "\xff", "name.utf-8": "ÿ"}))
	if m.Info.Name != "ÿ" || m.Info.Files[0].Path[0] != "ä" {
		t.Errorf("%+v", m.Info)
	}
}

func TestNameOfNothing(t *testing.T) {
	for _, name := range []string{"", ".", "..", "/", `\`, "\x00", "./."} {
		m := mustParse(t, single().with(d{"name": name}))
		if len(m.Info.Name) != 40 {
			t.Errorf("name %q became %q, want the info-hash", name, m.Info.Name)
		}
	}
}

func TestFilesWinOverLength(t *testing.T) {
	if m := mustParse(t, multi([]string{"a"}).with(d{"length": 7})); !m.Info.Dir || m.Info.Total != 5 {
		t.Errorf("%+v", m.Info)
	}
}

func TestPrivate(t *testing.T) {
	for _, tt := range []struct {
		v    any
		want bool
	}{{1, true}, {0, false}, {2, true}, {"1", false}, {nil, false}} {
		if m := mustParse(t, single().with(d{"private": tt.v})); m.Info.Private != tt.want {
			t.Errorf("private %v: %v", tt.v, m.Info.Private)
		}
	}
}

func TestOuter(t *testing.T) {
	long := "http://a/" + strings.Repeat("x", maxURLLen)
	tests := []struct {
		name  string
		outer d
		want  MetaInfo
	}{
		{"nothing", d{}, MetaInfo{}},
		{"announce", d{"announce": " http://a/announce\n"}, MetaInfo{Trackers: [][]string{{"http://a/announce"}}}},
		{"announce of other scheme", d{"announce": "wss://a"}, MetaInfo{}},
		{"announce of integer", d{"announce": 1}, MetaInfo{}},
		// BEP 12: "If the client is compatible with the multitracker specification,
		// and if the announce-list key is present, the client will ignore the
		// announce key and only use the URLs in announce-list."
		{
			"announce-list wins",
			d{"announce": "http://z", "announce-list": [][]string{{"http://a", "UDP://b:1"}, {"ftp://c", ""}, {"http://a", "https://d"}}},
			MetaInfo{Trackers: [][]string{{"http://a", "UDP://b:1"}, {"https://d"}}},
		},
		{"empty announce-list", d{"announce": "http://a", "announce-list": []string{}}, MetaInfo{Trackers: [][]string{{"http://a"}}}},
		{"useless announce-list", d{"announce": "http://a", "announce-list": "x"}, MetaInfo{Trackers: [][]string{{"http://a"}}}},
		{"flat announce-list", d{"announce-list": []string{"http://a", "http://b"}}, MetaInfo{Trackers: [][]string{{"http://a"}, {"http://b"}}}},
		{
			"bad URLs",
			d{"announce-list": [][]string{{long, "http://", "http:///x", "http://\x1b[2J", "http://a\nb", "http://\u202ea", "//a", "a"}}},
			MetaInfo{},
		},
		{"url-list", d{"url-list": []any{"http://a/", 1, "ftp://b", "https://c"}}, MetaInfo{URLList: []string{"http://a/", "https://c"}}},
		{"url-list of string", d{"url-list": "http://a/"}, MetaInfo{URLList: []string{"http://a/"}}},
		{"httpseeds", d{"httpseeds": []any{"http://a/seed?x=1", "ftp://b"}}, MetaInfo{HTTPSeeds: []string{"http://a/seed?x=1"}}},
		{"empty url-list", d{"url-list": ""}, MetaInfo{}},
		{
			"nodes",
			d{"nodes": []any{
				[]any{"router.example", 6881}, []any{"::1", 1}, []any{"a", 0}, []any{"a", 65536}, []any{"", 1},
				[]any{"a b", 1}, []any{"a"}, "x", []any{1, 1}, []any{"a", "1"},
			}},
			MetaInfo{Nodes: []string{"router.example:6881", "[::1]:1"}},
		},
		{
			"texts",
			d{"comment": "two\nlines\x1b[2J \u202e\xff", "created by": "\tme\r"},
			MetaInfo{Comment: "two\nlines [2J", CreatedBy: "me"},
		},
		{"creation date", d{"creation date": 1457580648}, MetaInfo{Created: time.Unix(1457580648, 0)}},
		{"creation date in milliseconds", d{"creation date": 1452468725091}, MetaInfo{Created: time.Unix(1452468725, 0)}},
		{"negative creation date", d{"creation date": -1}, MetaInfo{}},
		{"absurd creation date", d{"creation date": math.MaxInt64}, MetaInfo{}},
		{"creation date of string", d{"creation date": "today"}, MetaInfo{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, err := Parse(encode(t, tt.outer.with(d{"info": single()})))
			if err != nil {
				t.Fatal(err)
			}
			tt.want.InfoRaw, tt.want.Info = m.InfoRaw, m.Info
			if !reflect.DeepEqual(*m, tt.want) {
				t.Errorf("got  %+v\nwant %+v", *m, tt.want)
			}
		})
	}
}

func TestThousandsOfTrackers(t *testing.T) {
	var list [][]string
	for i := range 5000 {
		list = append(list, []string{"http://tracker" + strings.Repeat("x", i%100) + "/" + string(rune('a'+i/100%26))})
	}
	m, err := Parse(encode(t, d{"info": single(), "announce-list": list, "comment": strings.Repeat("c", 1<<20)}))
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Trackers) != maxURLs || len(m.Comment) != maxTextLen {
		t.Errorf("%d trackers, %d bytes of comment", len(m.Trackers), len(m.Comment))
	}
}

func TestErrorIsOneLine(t *testing.T) {
	_, err := parse(t, single().with(d{"name": nil}))
	if want := "bad torrent: info.name: is missing"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// FuzzParse holds the promises of the package comment for any input.
func FuzzParse(f *testing.F) {
	hybrid, _ := bencode.Marshal(d{"info": hybridInfo()})
	v2, _ := bencode.Marshal(d{"info": v2Info()})
	links, _ := bencode.Marshal(d{"info": multiOf(
		d{"length": 5, "path": []string{"a", "b"}},
		d{"attr": "l", "path": []string{"a"}, "symlink path": []string{"a", "b"}},
		d{"attr": "l", "path": []string{"c"}, "symlink path": []string{"a"}},
		d{"length": 5, "path": []string{"..", "a/b", "\x00"}},
	)})
	one, _ := bencode.Marshal(d{"info": single(), "announce": "http://a", "nodes": []any{[]any{"h", 1}}})
	layered, _ := bencode.Marshal(layeredTorrent())
	for _, in := range [][]byte{layered, hybrid, v2, links, one, []byte("d4:infodee"), []byte("d4:info1:xe")} {
		f.Add(in)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		start := time.Now()
		m, err := Parse(b)
		if d := time.Since(start); d > 5*time.Second {
			t.Fatalf("%d bytes took %v", len(b), d)
		}
		if err != nil {
			wantError(t, err, "")
			return
		}
		if !bytes.Contains(b, m.InfoRaw) {
			t.Fatal("InfoRaw is not what was read")
		}
		checkInvariants(t, m)
	})
}
