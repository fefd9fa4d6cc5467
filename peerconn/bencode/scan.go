package bencode

import (
	"bytes"
	"fmt"
	"slices"
)

// Defaults and bounds of Limits.
const (
	DefaultSize   = 32 << 20
	DefaultDepth  = 100
	DefaultTokens = 3_000_000

	maxSize       = 1<<31 - 1 // positions are kept as int32
	maxIntegerLen = 20        // digits and sign of any 64-bit integer
)

// Limits bounds what an input may cost. Zero means the default.
type Limits struct {
	Size   int64 // bytes
	Depth  int   // dictionaries and lists inside each other
	Tokens int   // strings, integers, list and dictionary starts; keys count

	// Sorted demands dictionary keys in order (BEP 3; BEP 52 refuses anything
	// else). False tolerates them in any order, but never twice.
	Sorted bool
}

func (l Limits) orDefault() Limits {
	if l.Size == 0 {
		l.Size = DefaultSize
	}
	if l.Depth == 0 {
		l.Depth = DefaultDepth
	}
	if l.Tokens == 0 {
		l.Tokens = DefaultTokens
	}
	l.Size = min(l.Size, maxSize)
	return l
}

// SyntaxError says why an input is not acceptable and where, in bytes from its
// beginning.
type SyntaxError struct {
	Offset int
	What   string
	Short  bool // as if the end of the input were missing
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("bencode: at byte %d: %s", e.Offset, e.What)
}

// Check reports whether b is exactly one value within the limits. The error is a
// *SyntaxError.
func Check(b []byte, l Limits) error {
	n, err := CheckPrefix(b, l)
	if err == nil && n != len(b) {
		err = &SyntaxError{Offset: n, What: fmt.Sprintf("%d bytes behind the value", len(b)-n)}
	}
	return err
}

// CheckPrefix is Check for input that goes on behind the value, like the piece
// behind a ut_metadata header (BEP 9). It returns the length of the value. All of
// b counts for Limits.Size.
func CheckPrefix(b []byte, l Limits) (n int, err error) {
	l = l.orDefault()
	if int64(len(b)) > l.Size {
		return 0, &SyntaxError{What: fmt.Sprintf("%d bytes, at most %d are allowed", len(b), l.Size)}
	}
	s := scanner{b: b, limits: l}
	if err := s.value(); err != nil {
		return 0, err
	}
	return s.pos, nil
}

// scanner walks over one value with a stack of its own: a recursive one lets the
// input overflow ours.
type scanner struct {
	b      []byte
	limits Limits
	pos    int
	tokens int
	open   []container
	keys   []span // of all open dictionaries, outermost first
}

// container is a list or dictionary whose end has not been seen.
type container struct {
	dict     bool
	value    bool // dict: a key has been read, its value comes next
	unsorted bool // dict: a key was not greater than the one before it
	keys     int  // dict: where its keys begin in scanner.keys
}

type span struct{ from, to int32 }

func (s *scanner) key(k span) []byte { return s.b[k.from:k.to] }

func (s *scanner) errorf(at int, format string, args ...any) error {
	return &SyntaxError{Offset: at, What: fmt.Sprintf(format, args...)}
}

// short is errorf for an input that ends too early.
func (s *scanner) short(at int, format string, args ...any) error {
	return &SyntaxError{Offset: at, What: fmt.Sprintf(format, args...), Short: true}
}

func (s *scanner) value() error {
	for {
		if err := s.token(); err != nil {
			return err
		}
		if len(s.open) == 0 {
			return nil
		}
	}
}

// token reads one string, integer, beginning or end.
func (s *scanner) token() error {
	if s.pos >= len(s.b) {
		return s.short(s.pos, "the input ends inside of a value")
	}
	c := s.b[s.pos]
	if c == 'e' {
		return s.end()
	}
	if s.tokens++; s.tokens > s.limits.Tokens {
		return s.errorf(s.pos, "more than %d values", s.limits.Tokens)
	}
	isKey := false
	if n := len(s.open); n > 0 && s.open[n-1].dict {
		top := &s.open[n-1]
		isKey = !top.value
		top.value = isKey
	}
	switch {
	case '0' <= c && c <= '9':
		return s.string(isKey)
	case isKey:
		return s.errorf(s.pos, "dictionary key is not a string")
	case c == 'd' || c == 'l':
		return s.begin(c == 'd')
	case c == 'i':
		return s.integer()
	}
	return s.errorf(s.pos, "no value begins with %q", c)
}

func (s *scanner) begin(dict bool) error {
	if len(s.open) >= s.limits.Depth {
		return s.errorf(s.pos, "more than %d levels deep", s.limits.Depth)
	}
	s.open = append(s.open, container{dict: dict, keys: len(s.keys)})
	s.pos++
	return nil
}

func (s *scanner) end() error {
	n := len(s.open)
	if n == 0 {
		return s.errorf(s.pos, "end of nothing")
	}
	top := s.open[n-1]
	if top.value {
		return s.errorf(s.pos, "dictionary key without a value")
	}
	if top.unsorted {
		if err := s.duplicates(s.keys[top.keys:]); err != nil {
			return err
		}
	}
	s.keys = s.keys[:top.keys]
	s.open = s.open[:n-1]
	s.pos++
	return nil
}

// duplicates reports a key that occurs twice. It reorders keys.
func (s *scanner) duplicates(keys []span) error {
	slices.SortFunc(keys, func(a, b span) int { return bytes.Compare(s.key(a), s.key(b)) })
	for i := 1; i < len(keys); i++ {
		if k := s.key(keys[i]); bytes.Equal(k, s.key(keys[i-1])) {
			return s.duplicate(keys[i])
		}
	}
	return nil
}

func (s *scanner) duplicate(k span) error {
	const shown = 32
	return s.errorf(int(k.from), "key %.*q occurs twice", shown, s.key(k))
}

func (s *scanner) string(isKey bool) error {
	start := s.pos
	n := 0
	for ; s.pos < len(s.b) && '0' <= s.b[s.pos] && s.b[s.pos] <= '9'; s.pos++ {
		// Bounded by the input size: n cannot overflow.
		if n = n*10 + int(s.b[s.pos]-'0'); n > len(s.b) {
			return s.short(start, "string longer than the input")
		}
	}
	switch digits := s.pos - start; {
	case s.pos == len(s.b):
		return s.short(s.pos, "the input ends inside of a string")
	case s.b[s.pos] != ':':
		return s.errorf(s.pos, "string length does not end with a colon")
	case digits > 1 && s.b[start] == '0':
		return s.errorf(start, "string length has a leading zero")
	}
	s.pos++
	if left := len(s.b) - s.pos; n > left {
		return s.short(start, "string of %d bytes, %d are left", n, left)
	}
	body := span{int32(s.pos), int32(s.pos + n)}
	s.pos += n
	if isKey {
		return s.addKey(body)
	}
	return nil
}

func (s *scanner) addKey(k span) error {
	top := &s.open[len(s.open)-1]
	if len(s.keys) > top.keys {
		switch bytes.Compare(s.key(s.keys[len(s.keys)-1]), s.key(k)) {
		case 0:
			return s.duplicate(k)
		case 1:
			if s.limits.Sorted {
				return s.errorf(int(k.from), "dictionary keys are not sorted")
			}
			top.unsorted = true
		}
	}
	s.keys = append(s.keys, k)
	return nil
}

func (s *scanner) integer() error {
	start := s.pos
	s.pos++
	head := s.b[s.pos:min(len(s.b), s.pos+maxIntegerLen+1)]
	n := bytes.IndexByte(head, 'e')
	switch {
	case n < 0 && len(head) <= maxIntegerLen:
		return s.short(start, "the input ends inside of an integer")
	case n < 0:
		return s.errorf(start, "integer of more than %d digits", maxIntegerLen)
	case !validInteger(head[:n]):
		return s.errorf(start, "malformed integer %q", head[:n])
	}
	s.pos += n + 1
	return nil
}

// validInteger reports whether d is the one way to write an integer: no leading
// zero, no minus zero, no plus (BEP 3, bencoding).
func validInteger(d []byte) bool {
	if string(d) == "0" {
		return true
	}
	if len(d) > 0 && d[0] == '-' {
		d = d[1:]
	}
	if len(d) == 0 || d[0] == '0' {
		return false
	}
	return !slices.ContainsFunc(d, func(c byte) bool { return c < '0' || c > '9' })
}
