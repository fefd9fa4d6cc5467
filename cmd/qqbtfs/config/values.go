package config

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"time"
)

// Size is a number of bytes that is written as a number with an optional unit:
// 500M, 2GiB, 64k, 1048576. As everywhere on Linux K, M, G, T without "B" and
// KiB, MiB, … count in 1024, kB, MB, … in 1000. It implements pflag.Value.
type Size int64

// Set parses s. Negative sizes are refused.
func (v *Size) Set(s string) error {
	n, err := parseBytes(s)
	if err != nil {
		return err
	}
	*v = Size(n)
	return nil
}

// Type names the kind of value in help texts.
func (v *Size) Type() string { return "size" }

// String returns the size in the largest unit that is exact.
func (v *Size) String() string { return exactBytes(int64(*v)) }

// Rate is a number of bytes a second: a Size with an optional "/s". Zero means
// no limit. It implements pflag.Value.
type Rate int64

// Set parses s; "none" and "unlimited" mean zero.
func (v *Rate) Set(s string) error {
	t := strings.TrimSpace(s)
	if t == "none" || t == "unlimited" {
		*v = 0
		return nil
	}
	n, err := parseBytes(strings.TrimSuffix(t, "/s"))
	if err != nil {
		return errors.New(strings.Replace(err.Error(), "a size such as 500M or 2GiB", "a rate such as 500k or 2MB/s", 1))
	}
	*v = Rate(n)
	return nil
}

// Type names the kind of value in help texts.
func (v *Rate) Type() string { return "rate" }

// String returns the rate in the largest unit that is exact.
func (v *Rate) String() string {
	if *v == 0 {
		return "unlimited"
	}
	return exactBytes(int64(*v)) + "/s"
}

var units = map[string]int64{
	"": 1, "b": 1,
	"k": 1 << 10, "kib": 1 << 10, "kb": 1e3,
	"m": 1 << 20, "mib": 1 << 20, "mb": 1e6,
	"g": 1 << 30, "gib": 1 << 30, "gb": 1e9,
	"t": 1 << 40, "tib": 1 << 40, "tb": 1e12,
}

func parseBytes(s string) (int64, error) {
	s = strings.TrimSpace(s)
	bad := fmt.Errorf("%q is not a size such as 500M or 2GiB", s)
	i := 0
	for i < len(s) && (s[i] == '.' || '0' <= s[i] && s[i] <= '9') {
		i++
	}
	unit, ok := units[strings.ToLower(strings.TrimSpace(s[i:]))]
	if !ok || i == 0 {
		return 0, bad
	}
	if n, err := strconv.ParseInt(s[:i], 10, 64); err == nil {
		if n > math.MaxInt64/unit {
			return 0, fmt.Errorf("%q is too large", s)
		}
		return n * unit, nil
	}
	f, err := strconv.ParseFloat(s[:i], 64)
	if err != nil {
		return 0, bad
	}
	if f *= float64(unit); f >= math.MaxInt64 {
		return 0, fmt.Errorf("%q is too large", s)
	}
	return int64(f), nil
}

// exactBytes is the inverse of parseBytes, for defaults in help texts.
func exactBytes(n int64) string {
	for _, u := range []struct {
		size int64
		name string
	}{{1 << 40, "TiB"}, {1e12, "TB"}, {1 << 30, "GiB"}, {1e9, "GB"}, {1 << 20, "MiB"}, {1e6, "MB"}, {1 << 10, "KiB"}, {1e3, "kB"}} {
		if n != 0 && n%u.size == 0 {
			return strconv.FormatInt(n/u.size, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}

// Duration is a time.Duration that must not be negative: 30s, 2m, 1h30m. A bare
// number counts seconds. Zero means never or off, as the flag says. It
// implements pflag.Value.
type Duration time.Duration

// Set parses s.
func (v *Duration) Set(s string) error {
	s = strings.TrimSpace(s)
	d, err := time.ParseDuration(s)
	if err != nil {
		d, err = time.ParseDuration(s + "s")
	}
	if err != nil {
		return fmt.Errorf("%q is not a duration such as 30s or 2m", s)
	}
	if d < 0 {
		return fmt.Errorf("%q is negative; a duration is 0 or more", s)
	}
	*v = Duration(d)
	return nil
}

// Type names the kind of value in help texts.
func (v *Duration) Type() string { return "duration" }

// String returns the duration without superfluous zero units.
func (v *Duration) String() string {
	s := time.Duration(*v).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Choice is one of a fixed set of words. It implements pflag.Value.
type Choice struct {
	Value   string
	Choices []string
}

// Set accepts one of the choices.
func (v *Choice) Set(s string) error {
	for _, c := range v.Choices {
		if s == c {
			v.Value = s
			return nil
		}
	}
	return fmt.Errorf("%q is not one of %s", s, strings.Join(v.Choices, ", "))
}

// Type names the choices in help texts.
func (v *Choice) Type() string { return strings.Join(v.Choices, "|") }

// String returns the chosen word.
func (v *Choice) String() string { return v.Value }

// Mode is a set of permission bits written in octal: 022. It implements
// pflag.Value.
type Mode os.FileMode

// Set parses s as octal digits.
func (v *Mode) Set(s string) error {
	n, err := strconv.ParseUint(strings.TrimPrefix(s, "0o"), 8, 32)
	if err != nil || n > 0o777 {
		return fmt.Errorf("%q is not a mode in octal such as 022", s)
	}
	*v = Mode(n)
	return nil
}

// Type names the kind of value in help texts.
func (v *Mode) Type() string { return "octal" }

// String returns the mode with a leading zero.
func (v *Mode) String() string { return fmt.Sprintf("%03o", uint32(*v)) }

// Path is a file name. A leading "~/" means the home directory, also where no
// shell expands it, as in the config file. It implements pflag.Value.
type Path string

// Set stores s with "~/" expanded.
func (v *Path) Set(s string) error {
	if rest, ok := strings.CutPrefix(s, "~/"); ok {
		home, err := os.UserHomeDir()
		if err != nil {
			return fmt.Errorf("%q: %w", s, err)
		}
		s = home + "/" + rest
	}
	if s == "" {
		return errors.New("the path is empty")
	}
	*v = Path(s)
	return nil
}

// Type names the kind of value in help texts.
func (v *Path) Type() string { return "path" }

// String returns the path.
func (v *Path) String() string { return string(*v) }
