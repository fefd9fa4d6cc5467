package magnet

import (
	"encoding/base32"
	"encoding/hex"
	"reflect"
	"strings"
	"testing"
)

const (
	hexV1 = "c9e15763f722f23e98a29decdfae341b98d53056"
	hexV2 = "caf1e1c30e81cb361b9ee167c4aa64228a7fa4fa9f6105232b28ad099f3a302e"
)

func hashes() (v1 [20]byte, v2 [32]byte) {
	b, _ := hex.DecodeString(hexV1)
	c, _ := hex.DecodeString(hexV2)
	return [20]byte(b), [32]byte(c)
}

func TestParse(t *testing.T) {
	v1, v2 := hashes()
	base := "magnet:?xt=urn:btih:" + hexV1
	for _, tt := range []struct {
		name, in string
		want     Link
	}{
		{"hash alone", base, Link{HashV1: v1, HasV1: true}},
		{"any case", "MAGNET:?XT=URN:BTIH:" + strings.ToUpper(hexV1), Link{HashV1: v1, HasV1: true}},
		{"base32", "magnet:?xt=urn:btih:" + base32.StdEncoding.EncodeToString(v1[:]), Link{HashV1: v1, HasV1: true}},
		{"base32 in small letters", "magnet:?xt=urn:btih:" + strings.ToLower(base32.StdEncoding.EncodeToString(v1[:])), Link{HashV1: v1, HasV1: true}},
		{"v2", "magnet:?xt=urn:btmh:1220" + hexV2, Link{HashV2: v2, HasV2: true}},
		{"hybrid", base + "&xt=urn:btmh:1220" + hexV2, Link{HashV1: v1, HasV1: true, HashV2: v2, HasV2: true}},
		{"numbered", "magnet:?xt.1=urn:sha1:ABC&xt.2=urn:btih:" + hexV1 + "&tr.1=http://a/&tr.2=http://b/",
			Link{HashV1: v1, HasV1: true, Trackers: []string{"http://a/", "http://b/"}}},
		{"all", base + "&dn=A+film%21&tr=udp%3A%2F%2Ft.example%3A80%2Fannounce&ws=http://w/f&x.pe=10.0.0.1:6881&x.pe=[::1]:80&x.pe=host.example:1&so=0,2,4,6-8&xl=5&foo",
			Link{HashV1: v1, HasV1: true, Name: "A film!", Trackers: []string{"udp://t.example:80/announce"}, WebSeeds: []string{"http://w/f"},
				Peers: []string{"10.0.0.1:6881", "[::1]:80", "host.example:1"}, Files: []Range{{0, 0}, {2, 2}, {4, 4}, {6, 8}}}},
		{"terminal controls in the name", base + "&dn=%1b%5B31ma%00b%E2%80%AEc%0A", Link{HashV1: v1, HasV1: true, Name: "[31mabc"}},
		{"no UTF-8", base + "&dn=a%FFb", Link{HashV1: v1, HasV1: true, Name: "ab"}},
		{"malformed peers", base + "&x.pe=&x.pe=:1&x.pe=a&x.pe=a:0&x.pe=a:65536&x.pe=::1:5&x.pe=[a]:1&x.pe=a/b:1", Link{HashV1: v1, HasV1: true,
			Unusable: []string{"x.pe=:1", "x.pe=a", "x.pe=a:0", "x.pe=a:65536", "x.pe=::1:5", "x.pe=[a]:1", "x.pe=a/b:1"}}},
		{"malformed escapes", base + "&dn=%zz&tr=%&so=%", Link{HashV1: v1, HasV1: true, Unusable: []string{"tr", "so=%"}}},
		{"ranges that touch, overlap, and are none", base + "&so=5-9,3,4,x,7-20,9-1,-4,99999999999", Link{HashV1: v1, HasV1: true, Files: []Range{{3, 20}},
			Unusable: []string{"so=x", "so=9-1", "so=-4", "so=99999999999"}}},
		{"no ranges", base + "&so=", Link{HashV1: v1, HasV1: true}},
		{"empty parameters", base + "&&=&dn=&tr=", Link{HashV1: v1, HasV1: true}},
		{"the same hash twice", base + "&xt=urn:btih:" + hexV1, Link{HashV1: v1, HasV1: true}},
	} {
		got, err := Parse(tt.in)
		if err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %+v, %v\nwant %+v", tt.name, got, err, tt.want)
		}
	}
}

func TestParseErrors(t *testing.T) {
	for in, want := range map[string]string{
		"":                                       "not a magnet link",
		"magnet":                                 "not a magnet link",
		"http://a/?xt=":                          "not a magnet link",
		"magnet:xt":                              `no "?"`,
		"magnet:?":                               "names no torrent",
		"magnet:?dn=a":                           "names no torrent",
		"magnet:?xt=urn:":                        "names no torrent",
		"magnet:?xt=urn:btih:":                   "0 characters",
		"magnet:?xt=urn:btih:" + hexV1[1:]:       "39 characters",
		"magnet:?xt=urn:btih:" + hexV1[1:] + "g": "malformed",
		"magnet:?xt=urn:btih:" + strings.Repeat("1", 32):                           "malformed",
		"magnet:?xt=urn:btmh:1320" + hexV2:                                         "multihash",
		"magnet:?xt=urn:btmh:1220" + hexV2[2:]:                                     "malformed",
		"magnet:?xt=urn:btih:" + hexV1 + "&xt=urn:btih:" + hexV1[1:] + "0":         "two torrents",
		"magnet:?xt=urn:btmh:1220" + hexV2 + "&xt=urn:btmh:1220" + hexV2[1:] + "0": "two torrents",
		"magnet:?xt=urn:btih:" + hexV1 + "&dn=" + strings.Repeat("a", MaxLen):      "longer than",
	} {
		if l, err := Parse(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %+v, %v; want an error that says %q", in, l, err, want)
		}
	}
}

func TestBounds(t *testing.T) {
	l, err := Parse("magnet:?xt=urn:btih:" + hexV1 + strings.Repeat("&tr=http://a/&x.pe=a:1&ws=http://b/", 200) +
		"&tr=http://c/" + strings.Repeat("x", maxURL) + "&dn=" + strings.Repeat("ä", maxName))
	if err != nil {
		t.Fatal(err)
	}
	if len(l.Trackers) != maxURLs || len(l.Peers) != maxURLs || len(l.WebSeeds) != maxURLs || len(l.Name) > maxName {
		t.Errorf("%d trackers, %d peers, %d web seeds, a name of %d bytes", len(l.Trackers), len(l.Peers), len(l.WebSeeds), len(l.Name))
	}
}

func TestWants(t *testing.T) {
	l := Link{Files: []Range{{1, 1}, {3, 5}}}
	var got []int
	for i := range 8 {
		if l.Wants(i) {
			got = append(got, i)
		}
	}
	if !reflect.DeepEqual(got, []int{1, 3, 4, 5}) || !(Link{}).Wants(7) {
		t.Errorf("wants %v", got)
	}
}

func TestBareHasNoSecrets(t *testing.T) {
	l, err := Parse("magnet:?xt=urn:btih:" + hexV1 + "&dn=name&tr=http://t/passkey&x.pe=a:1")
	if want := "magnet:?xt=urn:btih:" + hexV1; err != nil || l.Bare() != want {
		t.Errorf("%s, %v", l.Bare(), err)
	}
}

// What was written reads the same, and is as bounded as what was read.
func FuzzParse(f *testing.F) {
	f.Add("magnet:?xt=urn:btih:" + hexV1 + "&dn=a+b%20c&tr=udp://t:1/%25&x.pe=[::1]:2&so=1-2,4")
	f.Add("magnet:?xt=urn:btmh:1220" + hexV2 + "&xt.1=urn:btih:ZHQVOY7XELZD5GFCTXWN7LRUDOMNKMCW&ws=http://x/&so=0")
	f.Add("magnet:?xt=urn:btih:&dn=%ff%00")
	f.Fuzz(func(t *testing.T, s string) {
		l, err := Parse(s)
		if err != nil {
			return
		}
		l.Unusable = nil
		again, err := Parse(l.String())
		if len(l.String()) > MaxLen {
			return // escaped it is longer
		}
		if err != nil || !reflect.DeepEqual(l, again) {
			t.Fatalf("%q\n%+v\n%q\n%+v, %v", s, l, l.String(), again, err)
		}
		if _, err := Parse(l.Bare()); err != nil {
			t.Fatal(err)
		}
	})
}
