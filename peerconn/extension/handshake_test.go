package extension

import (
	"bytes"
	"maps"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

var full = Handshake{
	M:            map[string]uint8{"ut_metadata": 3, "ut_pex": 1, "lt_donthave": 0},
	V:            "qqbtfs 1.0 ü",
	ReqQ:         500,
	Port:         6881,
	YourIP:       netip.MustParseAddr("192.0.2.7"),
	MetadataSize: 31235,
	UploadOnly:   new(true),
	IPv4:         netip.MustParseAddr("198.51.100.1"),
	IPv6:         netip.MustParseAddr("2001:db8::1"),
}

func TestAppendThenParse(t *testing.T) {
	for _, h := range []Handshake{full, {M: map[string]uint8{}}, {M: map[string]uint8{}, UploadOnly: new(false)}} {
		got, err := ParseHandshake(h.Append(nil))
		if err != nil || !reflect.DeepEqual(got, h) {
			t.Errorf("got %+v, %v\nwant %+v", got, err, h)
		}
	}
}

// BEP 10: "An example of what the payload of a handshake message could look
// like", in UTF-8.
func TestExampleOfBEP10(t *testing.T) {
	const payload = "d1:md11:LT_metadatai1e7:µT_PEXi2ee1:pi6881e1:v13:µTorrent 1.2e"
	h, err := ParseHandshake([]byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	if h.V != "µTorrent 1.2" || h.Port != 6881 || !maps.Equal(h.M, map[string]uint8{"LT_metadata": 1, "µT_PEX": 2}) {
		t.Errorf("got %+v", h)
	}
}

func TestAppendKeepsWhatIsThere(t *testing.T) {
	if got := string(Handshake{ReqQ: 1}.Append([]byte("x"))); got != "xd1:mde4:reqqi1ee" {
		t.Errorf("got %q", got)
	}
}

func TestValuesOutOfRangeAreNotSent(t *testing.T) {
	for _, payload := range []string{
		"d13:metadata_sizei-1ee",
		"d13:metadata_sizei0ee",
		"d13:metadata_sizei9223372036854775808ee",
		"d13:metadata_size3:100e",
		"d1:pi65536ee", "d1:pi-1ee", "d1:pi0ee",
		"d4:reqqi-5ee", "d4:reqqlee",
		"d6:yourip3:abce", "d6:youripi5ee",
		"d4:ipv416:0123456789abcdefe", "d4:ipv64:0123e",
		"d11:upload_only1:xe",
		"d1:vi1ee", "d7:unknownd1:ali1eeee", "de",
	} {
		h, err := ParseHandshake([]byte(payload))
		if err != nil || !reflect.DeepEqual(h, Handshake{}) {
			t.Errorf("%s: got %+v, %v", payload, h, err)
		}
	}
}

// What is too large is told from what is not said, and from what fits in fewer bits.
func TestTooLargeMetadataSize(t *testing.T) {
	for _, size := range []string{"31457281", "2147483648", "4294967297", "9223372036854775807"} {
		h, err := ParseHandshake([]byte("d13:metadata_sizei" + size + "ee"))
		if err != nil || h.MetadataSize != MaxMetadataSize+1 {
			t.Errorf("%s: %d, %v", size, h.MetadataSize, err)
		}
	}
}

func TestLimitsOfValues(t *testing.T) {
	h, err := ParseHandshake([]byte("d1:md1:ai255e1:bi256e1:ci-1e1:d1:xe13:metadata_sizei31457280e4:reqqi99999999ee"))
	if err != nil {
		t.Fatal(err)
	}
	want := Handshake{M: map[string]uint8{"a": 255}, MetadataSize: MaxMetadataSize, ReqQ: maxReqQ}
	if !reflect.DeepEqual(h, want) {
		t.Errorf("got %+v, want %+v", h, want)
	}
}

func TestMalformedIsAnError(t *testing.T) {
	for _, payload := range []string{
		"", "d", "i1e", "le", "1:a", "d1:v", "d1:v999999999:xe", "dex", "d1:v1:a1:v1:be",
		"d1:x" + strings.Repeat("l", 50) + strings.Repeat("e", 50) + "e",
		"d1:xl" + strings.Repeat("0:", 5000) + "ee",
		"d1:x70000:" + strings.Repeat("x", 70000) + "e",
	} {
		if h, err := ParseHandshake([]byte(payload)); err == nil {
			t.Errorf("%.40q: parsed as %+v", payload, h)
		}
	}
}

func TestClientNameIsCutAndPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                       "plain",
		"a\x1b[31m\n\x00\u202eb":      "a?[31m???b",
		"\xff\xfe":                    "??",
		strings.Repeat("x", 100):      strings.Repeat("x", 64),
		strings.Repeat("x", 63) + "ü": strings.Repeat("x", 63) + "?",
	} {
		if got := clientName([]byte(in)); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestManyExtensionsAreCut(t *testing.T) {
	h := Handshake{M: map[string]uint8{}}
	for i := range 200 {
		h.M[strings.Repeat("x", i)] = 1
	}
	got, err := ParseHandshake(h.Append(nil))
	if err != nil || len(got.M) != MaxExtensions {
		t.Errorf("%d extensions, %v", len(got.M), err)
	}
}

func FuzzParseHandshake(f *testing.F) {
	f.Add(full.Append(nil))
	f.Add([]byte("d1:md6:ut_pexi1ee1:v3:\xff\x00ae"))
	f.Add([]byte("d13:metadata_sizei-1e1:mle6:yourip4:abcde"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ParseHandshake(b)
		if err != nil {
			return
		}
		if len(h.V) > MaxClientName || !utf8.ValidString(h.V) || len(h.M) > MaxExtensions {
			t.Errorf("out of bounds: %+v", h)
		}
		if h.MetadataSize < 0 || h.MetadataSize > MaxMetadataSize+1 || h.ReqQ < 0 || h.ReqQ > maxReqQ {
			t.Errorf("out of range: %+v", h)
		}
		again, err := ParseHandshake(h.Append(nil))
		if err != nil || !bytes.Equal(again.Append(nil), h.Append(nil)) {
			t.Errorf("%+v became %+v, %v", h, again, err)
		}
	})
}
