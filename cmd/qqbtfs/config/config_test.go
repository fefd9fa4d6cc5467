package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

func TestSize(t *testing.T) {
	for in, want := range map[string]int64{
		"0": 0, "1": 1, "500M": 500 << 20, "2GiB": 2 << 30, "64k": 64 << 10, "1.5G": 3 << 29,
		"2MB": 2e6, " 3 kB ": 3000, "1TiB": 1 << 40, "12B": 12,
	} {
		var v Size
		if err := v.Set(in); err != nil || int64(v) != want {
			t.Errorf("Size %q = %d, %v; want %d", in, v, err, want)
		}
	}
	for _, in := range []string{"", "M", "-1", "1X", "1.2.3", "99999999999999999999", "9999999T", "NaN", "1e9"} {
		var v Size
		if err := v.Set(in); err == nil {
			t.Errorf("Size %q = %d, want an error", in, v)
		}
	}
}

func TestSizeStringIsExact(t *testing.T) {
	for _, n := range []int64{0, 1, 999, 1000, 1024, 5e6, 64 << 20, 1 << 40, 123456789} {
		v, back := Size(n), Size(0)
		if err := back.Set(v.String()); err != nil || back != v {
			t.Errorf("%d prints as %q, which reads as %d (%v)", n, v.String(), back, err)
		}
	}
}

func TestRate(t *testing.T) {
	for in, want := range map[string]Rate{"2MB/s": 2e6, "500k": 500 << 10, "none": 0, "unlimited": 0, "0": 0} {
		v := Rate(7)
		if err := v.Set(in); err != nil || v != want {
			t.Errorf("Rate %q = %d, %v; want %d", in, v, err, want)
		}
	}
	var v Rate
	if err := v.Set("fast"); err == nil || !strings.Contains(err.Error(), "2MB/s") {
		t.Errorf("Rate fast: %v, want an error that shows a rate", err)
	}
}

func TestDuration(t *testing.T) {
	for in, want := range map[string]time.Duration{"2m": 2 * time.Minute, "0": 0, "90": 90 * time.Second, "1h30m": 90 * time.Minute} {
		var v Duration
		if err := v.Set(in); err != nil || time.Duration(v) != want {
			t.Errorf("Duration %q = %v, %v; want %v", in, time.Duration(v), err, want)
		}
	}
	for _, in := range []string{"", "-1s", "soon"} {
		var v Duration
		if err := v.Set(in); err == nil {
			t.Errorf("Duration %q: no error", in)
		}
	}
	two := Duration(2 * time.Minute)
	if s := two.String(); s != "2m" {
		t.Errorf("2 minutes print as %q", s)
	}
}

func TestModeAndChoice(t *testing.T) {
	var m Mode
	if err := m.Set("022"); err != nil || m != 0o22 || m.String() != "022" {
		t.Errorf("Mode 022 = %v, %v", m.String(), err)
	}
	for _, in := range []string{"9", "1777", "-1", ""} {
		if err := m.Set(in); err == nil {
			t.Errorf("Mode %q: no error", in)
		}
	}
	c := Choice{"all", []string{"all", "none"}}
	if err := c.Set("some"); err == nil || !strings.Contains(err.Error(), "all, none") {
		t.Errorf("Choice some: %v", err)
	}
}

// settings is a flag set of every kind of value.
type settings struct {
	fs    *pflag.FlagSet
	dir   Path
	limit Rate
	peers []string
	loud  bool
	depth int
}

func newSettings() *settings {
	s := &settings{fs: pflag.NewFlagSet("t", pflag.ContinueOnError), dir: "default"}
	s.fs.Var(&s.dir, "cache-dir", "")
	s.fs.Var(&s.limit, "download-limit", "")
	s.fs.StringArrayVar(&s.peers, "peer", nil, "")
	s.fs.BoolVar(&s.loud, "allow-other", false, "")
	s.fs.CountVarP(&s.depth, "verbose", "v", "")
	return s
}

func env(kv ...string) func(string) (string, bool) {
	return func(k string) (string, bool) {
		for i := 0; i < len(kv); i += 2 {
			if kv[i] == k {
				return kv[i+1], true
			}
		}
		return "", false
	}
}

func TestPrecedence(t *testing.T) {
	file, err := Parse("c", strings.NewReader("# a comment\n\ncache-dir = /file\n--download-limit = \"2MB/s\"\nallow-other\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		args []string
		env  []string
		want Path
	}{
		{"default", nil, nil, "default"},
		{"file", nil, nil, "/file"},
		{"environment over file", nil, []string{"QQBTFS_CACHE_DIR", "/env"}, "/env"},
		{"empty variable is not set", nil, []string{"QQBTFS_CACHE_DIR", ""}, "/file"},
		{"flag over all", []string{"--cache-dir", "/flag"}, []string{"QQBTFS_CACHE_DIR", "/env"}, "/flag"},
	} {
		s, f := newSettings(), file
		if c.name == "default" {
			f = File{}
		}
		if err := s.fs.Parse(c.args); err != nil {
			t.Fatal(err)
		}
		if err := Apply(s.fs, env(c.env...), f); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if s.dir != c.want {
			t.Errorf("%s: cache-dir = %q, want %q", c.name, s.dir, c.want)
		}
		if c.name == "file" && (s.limit != 2e6 || !s.loud) {
			t.Errorf("file: limit %d, allow-other %v", s.limit, s.loud)
		}
	}
}

func TestLists(t *testing.T) {
	file, err := Parse("c", strings.NewReader("peer = a:1\npeer = b:2\nverbose = 2\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args, env []string
		want      string
	}{
		{nil, nil, "a:1 b:2"},
		{nil, []string{"QQBTFS_PEER", "c:3, d:4 e:5"}, "c:3 d:4 e:5"},
		{[]string{"--peer=f:6"}, []string{"QQBTFS_PEER", "c:3"}, "f:6"},
	} {
		s := newSettings()
		if err := s.fs.Parse(c.args); err != nil {
			t.Fatal(err)
		}
		if err := Apply(s.fs, env(c.env...), file); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(s.peers, " "); got != c.want {
			t.Errorf("peers = %q, want %q", got, c.want)
		}
		if s.depth != 2 {
			t.Errorf("verbose = %d, want 2", s.depth)
		}
	}
}

func TestErrorsNameTheirPlace(t *testing.T) {
	for _, c := range []struct{ name, file, envValue, want string }{
		{"bad value in file", "\ndownload-limit = fast\n", "", "c:2: download-limit: "},
		{"bad value in environment", "", "fast", "QQBTFS_DOWNLOAD_LIMIT: "},
		{"no value", "cache-dir\n", "", "c:1: cache-dir: needs a value"},
		{"unknown key", "cach-dir = x\n", "", "c:1: cach-dir: unknown setting"},
		{"no key", "= x\n", "", "c:1: "},
		{"prose", "please be quick\n", "", "c:1: "},
	} {
		s := newSettings()
		f, err := Parse("c", strings.NewReader(c.file))
		if err == nil {
			err = f.CheckKeys(func(k string) bool { return s.fs.Lookup(k) != nil })
		}
		if err == nil {
			err = Apply(s.fs, env("QQBTFS_DOWNLOAD_LIMIT", c.envValue), f)
		}
		var typed *Error
		if !errors.As(err, &typed) || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q…", c.name, err, c.want)
		}
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	missing := filepath.Join(dir, "none")
	if f, err := Load(missing, false); err != nil || len(f.Entries) != 0 {
		t.Errorf("missing default file: %v, %v", f, err)
	}
	if _, err := Load(missing, true); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing named file: %v", err)
	}
}

func TestUnknownEnv(t *testing.T) {
	got := UnknownEnv([]string{"HOME=/", "QQBTFS_FILL=all", "QQBTFS_FIL=all"}, func(n string) bool { return n == EnvName("fill") })
	if len(got) != 1 || got[0] != "QQBTFS_FIL" {
		t.Errorf("UnknownEnv = %v", got)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "a = b", "--a=\"b\"\n#c\n d", "\ufeffa=1\r\nb", "=", "\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		file, err := Parse("c", strings.NewReader(s))
		if err != nil {
			return
		}
		for _, e := range file.Entries {
			if !validKey(e.Key) || e.Line < 1 {
				t.Errorf("entry %+v", e)
			}
		}
		_ = Apply(newSettings().fs, env(), file)
	})
}

func FuzzSize(f *testing.F) {
	for _, s := range []string{"1", "1.5G", "9223372036854775807", "8388608T", ".", "1e5"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var v, back Size
		if v.Set(s) != nil {
			return
		}
		if v < 0 {
			t.Errorf("%q is negative: %d", s, v)
		}
		if err := back.Set(v.String()); err != nil || back != v {
			t.Errorf("%q = %d prints as %q", s, v, v.String())
		}
	})
}
