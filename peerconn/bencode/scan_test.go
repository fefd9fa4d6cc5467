package bencode

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestCheck(t *testing.T) {
	tests := []struct {
		name, in string
		limits   Limits
		want     string // part of the error; empty: accepted
	}{
		{name: "integer", in: "i42e"},
		{name: "zero", in: "i0e"},
		{name: "negative", in: "i-9223372036854775808e"},
		{name: "20 digits", in: "i18446744073709551615e"},
		{name: "string", in: "3:a:e"},
		{name: "empty string", in: "0:"},
		{name: "empty list", in: "le"},
		{name: "empty dictionary", in: "de"},
		{name: "nested", in: "d1:ali1e1:bde0:ee"},
		{name: "unsorted keys", in: "d1:bi1e1:ai2e1:ci3ee"},
		{name: "same key in different dictionaries", in: "d1:ad1:ai1ee1:bd1:ai1eee"},

		{name: "nothing", in: "", want: "ends inside of a value"},
		{name: "no value", in: "x", want: "no value begins with 'x'"},
		{name: "two values", in: "i1ei2e", want: "3 bytes behind"},
		{name: "end of nothing", in: "e", want: "end of nothing"},
		{name: "open list", in: "li1e", want: "ends inside of a value"},
		{name: "open integer", in: "i12", want: "ends inside of an integer"},
		{name: "empty integer", in: "ie", want: "malformed integer"},
		{name: "minus", in: "i-e", want: "malformed integer"},
		{name: "minus zero", in: "i-0e", want: "malformed integer"},
		{name: "plus", in: "i+1e", want: "malformed integer"},
		{name: "leading zero", in: "i01e", want: "malformed integer"},
		{name: "fraction", in: "i1.5e", want: "malformed integer"},
		{name: "21 digits", in: "i123456789012345678901e", want: "more than 20 digits"},
		{name: "integer bomb", in: "i" + strings.Repeat("1", 1<<20) + "e", want: "more than 20 digits"},
		{name: "string past the end", in: "6:abc", want: "longer than the input"},
		{name: "string that takes the end", in: "l3:abe", want: "ends inside of a value"},
		{name: "string just past the end", in: "l4:abe", want: "string of 4 bytes, 3 are left"},
		{name: "string of 2^63", in: "9223372036854775808:a", want: "longer than the input"},
		{name: "string of 2^64+1", in: "18446744073709551617:a", want: "longer than the input"},
		{name: "string length with zeros", in: "03:abc", want: "leading zero"},
		{name: "string without colon", in: "3abc", want: "does not end with a colon"},
		{name: "string length only", in: "3", want: "longer than the input"},
		{name: "negative string", in: "-3:abc", want: "no value begins"},
		{name: "key without value", in: "d1:ae", want: "without a value"},
		{name: "key of integer", in: "di1ei2ee", want: "not a string"},
		{name: "key of list", in: "dlei2ee", want: "not a string"},
		{name: "key twice", in: "d1:ai1e1:ai2ee", want: `"a" occurs twice`},
		{name: "key twice, apart", in: "d1:ai1e1:bi2e1:ai3ee", want: `"a" occurs twice`},
		{name: "key twice around a dictionary", in: "d1:bi1e1:ad1:xi1ee1:bi3ee", want: `"b" occurs twice`},
		{name: "key twice, deep", in: "ld1:bi1e1:ai1e1:bi2eee", want: `"b" occurs twice`},

		{name: "depth 100", in: strings.Repeat("l", 100) + strings.Repeat("e", 100)},
		{name: "depth 101", in: strings.Repeat("l", 101) + strings.Repeat("e", 101), want: "more than 100 levels"},
		{name: "depth bomb", in: strings.Repeat("d1:a", 4<<20), want: "more than 100 levels"},
		{name: "own depth", in: "llee", limits: Limits{Depth: 1}, want: "more than 1 levels"},
		{name: "tokens", in: "li1ei2ee", limits: Limits{Tokens: 3}},
		{name: "too many tokens", in: "li1ei2ee", limits: Limits{Tokens: 2}, want: "more than 2 values"},
		{name: "token bomb", in: "l" + strings.Repeat("le", 3_000_000) + "e", want: "more than 3000000 values"},
		{name: "size", in: "4:abcd", limits: Limits{Size: 6}},
		{name: "too big", in: "4:abcd", limits: Limits{Size: 5}, want: "at most 5"},
		{name: "strictly sorted", in: "d1:ai1e2:aai1e1:bi2ee", limits: Limits{Sorted: true}},
		{name: "strictly unsorted", in: "d1:bi1e1:ai2ee", limits: Limits{Sorted: true}, want: "not sorted"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := Check([]byte(tt.in), tt.limits)
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var syntax *SyntaxError
			if !errors.As(err, &syntax) || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error %v, want %q", err, tt.want)
			}
			if syntax.Offset < 0 || syntax.Offset > len(tt.in) {
				t.Errorf("offset %d of %d bytes", syntax.Offset, len(tt.in))
			}
		})
	}
}

func TestErrorsSayWhere(t *testing.T) {
	err := Check([]byte("d1:ai1e1:bi-0ee"), Limits{})
	if want := `bencode: at byte 10: malformed integer "-0"`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestCheckPrefix(t *testing.T) {
	in := "d8:msg_typei1ee"
	n, err := CheckPrefix([]byte(in+"the piece"), Limits{})
	if err != nil || n != len(in) {
		t.Errorf("CheckPrefix = %d, %v, want %d", n, err, len(in))
	}
	if _, err := CheckPrefix([]byte("l"), Limits{}); err == nil {
		t.Error("half a value accepted")
	}
}

// Many dictionaries whose keys are in the worst order must not cost more than a
// few sorts of all of them.
func TestHostileKeysAreCheap(t *testing.T) {
	const size = 10 << 20
	inputs := map[string]string{}
	var s strings.Builder
	s.WriteString("d")
	for i := 0; s.Len() < size && i < 1<<20; i++ {
		k := 1<<20 - i
		s.WriteString("4:" + string([]byte{byte(k >> 20), byte(k >> 13 & 127), byte(k >> 6 & 127), byte(k & 63)}) + "0:")
	}
	s.WriteString("e")
	inputs["falling keys"] = s.String()

	inner := "i0e"
	for len(inner) < size && strings.Count(inner, "d") < 95 {
		inner = "d1:b" + inner + "1:a" + "100000:" + strings.Repeat("z", 100_000) + "e"
	}
	inputs["unsorted on every level"] = inner
	for name, in := range inputs {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			if err := Check([]byte(in), Limits{}); err != nil {
				t.Fatal(err)
			}
			if d := time.Since(start); d > 30*time.Second {
				t.Errorf("%d bytes took %v", len(in), d)
			}
		})
	}
}

func BenchmarkCheck(b *testing.B) {
	in := []byte("l" + strings.Repeat("d6:lengthi1234567e4:pathl3:dir9:file.flacee", 61_000) + "e")
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		if err := Check(in, Limits{}); err != nil {
			b.Fatal(err)
		}
	}
}

// Every beginning of a value is known to be short.
func TestShort(t *testing.T) {
	const whole = "d1:ai12e1:bl3:xyzi-4ee2:cc12:twelve bytese"
	if err := Check([]byte(whole), Limits{}); err != nil {
		t.Fatal(err)
	}
	var syntax *SyntaxError
	for n := range len(whole) {
		if err := Check([]byte(whole[:n]), Limits{}); !errors.As(err, &syntax) || !syntax.Short {
			t.Errorf("%q: %v is not short", whole[:n], err)
		}
	}
	if err := Check([]byte("d1:ae"), Limits{}); !errors.As(err, &syntax) || syntax.Short {
		t.Errorf("a key without a value: %v is short", err)
	}
}
