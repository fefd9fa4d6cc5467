package bencode

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestUnmarshal(t *testing.T) {
	type message struct {
		N    int            `bencode:"n"`
		S    string         `bencode:"s"`
		L    []int          `bencode:"l"`
		M    map[string]int `bencode:"m"`
		Rest RawMessage     `bencode:"raw"`
	}
	in := "d1:lli1ei2ee1:md1:xi7ee1:ni-3e3:rawd1:zi1e1:ai2ee1:s2:hi7:unknownlee"
	var got message
	if err := Unmarshal([]byte(in), Limits{}, &got); err != nil {
		t.Fatal(err)
	}
	want := message{-3, "hi", []int{1, 2}, map[string]int{"x": 7}, RawMessage("d1:zi1e1:ai2ee")}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	out, err := Marshal(got)
	if want := "d1:lli1ei2ee1:md1:xi7ee1:ni-3e3:rawd1:zi1e1:ai2ee1:s2:hie"; err != nil || string(out) != want {
		t.Errorf("marshalled %q, %v, want %q", out, err, want)
	}
}

func TestUnmarshalIsBounded(t *testing.T) {
	for name, in := range map[string]string{
		"nesting":         strings.Repeat("l", 4<<20),
		"128 MiB string":  "d1:a134217727:e",
		"1 MB integer":    "i" + strings.Repeat("9", 1<<20) + "e",
		"key twice":       "d1:ai1e1:ai2ee",
		"bytes behind it": "i1ex",
	} {
		var v any
		if err := Unmarshal([]byte(in), Limits{}, &v); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestUnmarshalWrongType(t *testing.T) {
	var v struct {
		N int `bencode:"n"`
	}
	if err := Unmarshal([]byte("d1:n2:hie"), Limits{}, &v); err == nil {
		t.Error("a string was taken for an integer")
	}
}

func TestMarshalErrors(t *testing.T) {
	for _, v := range []any{RawMessage{}, 1.5, make(chan int)} {
		if b, err := Marshal(v); err == nil {
			t.Errorf("Marshal(%T) = %q", v, b)
		}
	}
}

func TestValue(t *testing.T) {
	in := []byte("d1:zi-7e1:ali1e3:xyzd0:leee1:k20:i1844674407370955161e")
	v, err := ParsePrefix(append(slices.Clone(in), "trailing"...), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(v.Raw(), in) || v.Kind() != Dict {
		t.Errorf("raw %q of kind %v", v.Raw(), v.Kind())
	}
	var keys []string
	entries := map[string]Value{}
	for k, e := range v.Entries() {
		keys = append(keys, string(k))
		entries[string(k)] = e
	}
	if want := []string{"z", "a", "k"}; !slices.Equal(keys, want) {
		t.Errorf("keys %q, want %q", keys, want)
	}
	if n, ok := entries["z"].Int(); !ok || n != -7 {
		t.Errorf("z = %d, %v", n, ok)
	}
	if b, ok := entries["k"].Bytes(); !ok || string(b) != "i1844674407370955161" {
		t.Errorf("k = %q, %v", b, ok)
	}
	var items []string
	for item := range entries["a"].Items() {
		items = append(items, item.Kind().String()+" "+string(item.Raw()))
	}
	if want := []string{"integer i1e", "string 3:xyz", "dictionary d0:lee"}; !slices.Equal(items, want) {
		t.Errorf("items %q, want %q", items, want)
	}
	for range v.Entries() {
		break // stops early without harm
	}
}

func TestValueOfAnotherKind(t *testing.T) {
	for _, in := range []string{"", "i1e", "1:a", "le", "de"} {
		var v Value
		if in != "" {
			var err error
			if v, err = Parse([]byte(in), Limits{}); err != nil {
				t.Fatal(err)
			}
		}
		_, isInt := v.Int()
		_, isBytes := v.Bytes()
		if isInt != (v.Kind() == Integer) || isBytes != (v.Kind() == String) {
			t.Errorf("%q: Int %v, Bytes %v", in, isInt, isBytes)
		}
		for range v.Items() {
			t.Errorf("%q has items", in)
		}
		for range v.Entries() {
			t.Errorf("%q has entries", in)
		}
	}
	v, _ := Parse([]byte("i9223372036854775808e"), Limits{})
	if n, ok := v.Int(); ok {
		t.Errorf("2^63 became %d", n)
	}
}

// FuzzCheck holds the door's promise: what passes is decoded without a panic and
// in no time, and the views see what the decoder sees.
func FuzzCheck(f *testing.F) {
	for _, in := range []string{
		"", "i1e", "i-0e", "3:abc", "le", "de", "d1:ali1e1:bde0:ee", "d1:bi1e1:ai2ee", "d1:ai1e1:ai2ee",
		"llllleeeee", "i18446744073709551615e", "d1:md11:ut_metadatai1ee13:metadata_sizei31235ee",
		"9223372036854775807:a", "d0:0:e", "lllli1eeeee", "d1:n1:1e", "d1:ai1ee trailing",
	} {
		f.Add([]byte(in))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		l := Limits{Size: 1 << 20}
		n, err := CheckPrefix(b, l)
		if err != nil {
			if Check(b, l) == nil {
				t.Fatal("Check accepts what CheckPrefix refuses")
			}
			return
		}
		b = b[:n]
		v, err := Parse(b, l)
		if err != nil {
			t.Fatalf("Parse refuses what CheckPrefix accepts: %v", err)
		}
		start := time.Now()
		walk(t, v)
		decodeAll(b)
		if d := time.Since(start); d > 5*time.Second {
			t.Fatalf("%d bytes took %v", len(b), d)
		}
	})
}

// walk visits every value below v; they lie one behind the other.
func walk(t *testing.T, v Value) {
	size := 0
	switch v.Kind() {
	case List:
		for item := range v.Items() {
			size += len(item.Raw())
			walk(t, item)
		}
	case Dict:
		for key, item := range v.Entries() {
			size += len(item.Raw()) + len(key) + 1 + len(digits(len(key)))
			walk(t, item)
		}
	default:
		return
	}
	if size+2 != len(v.Raw()) {
		t.Fatalf("%q: what is in it has %d bytes", v.Raw(), size)
	}
}

func digits(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return digits(n/10) + string(rune('0'+n%10))
}

// decodeAll decodes b into all kinds of types. Whether it fits is not the point.
func decodeAll(b []byte) {
	type message struct {
		M map[string]uint8 `bencode:"m"`
		N int              `bencode:"n"`
		S string           `bencode:"s"`
		B []byte           `bencode:"a"`
		A [4]byte          `bencode:"b"`
		R RawMessage       `bencode:"r"`
		L []message        `bencode:"l"`
		P *bool            `bencode:"p"`
		I any              `bencode:"i"`
	}
	for _, v := range []any{
		new(message), new([]message), new(any), new([]any), new(map[string]any), new(string), new(int64),
		new(uint8), new(bool), new([]byte), new([2]int), new(RawMessage), new([]RawMessage), new(map[string]RawMessage),
	} {
		_ = decode(b, v)
	}
}
