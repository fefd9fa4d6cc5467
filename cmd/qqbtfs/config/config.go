// Package config fills in what the command line leaves open.
//
// There is one scheme for every setting, named after its long flag: the command
// line wins over the environment (--cache-dir is QQBTFS_CACHE_DIR), that over
// the config file ("cache-dir = /x" on a line of its own), that over the
// default. Every source goes through the flag's own parser, so a value means
// and is refused the same wherever it stands.
//
// The package does not know which flags exist and does not interpret values.
package config

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
)

// Prefix starts the name of every environment variable of the program.
const Prefix = "QQBTFS_"

// maxFile bounds the config file, maxLine one line of it, in bytes.
const (
	maxFile = 1 << 20
	maxLine = 64 << 10
)

// Entry is one line of a config file.
type Entry struct {
	Key, Value string
	Bare       bool // the line had no "=": a switch turned on
	Line       int  // counted from 1
}

// File is a parsed config file. The zero File sets nothing.
type File struct {
	Name    string
	Entries []Entry
}

// Error says which setting, and where it stands, is wrong.
type Error struct {
	Where string // "QQBTFS_FILL" or "/home/u/.config/qqbtfs/config:3: fill"
	Err   error
}

func (e *Error) Error() string { return e.Where + ": " + e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// DefaultFile returns the config file's usual place, $XDG_CONFIG_HOME/qqbtfs/config,
// or "" where there is no home directory.
func DefaultFile() string {
	dir, err := os.UserConfigDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "qqbtfs", "config")
}

// Load reads the config file name. A file that does not exist is an empty one,
// unless must is set.
func Load(name string, must bool) (File, error) {
	f, err := os.Open(name)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !must:
		return File{}, nil
	case err != nil:
		return File{}, &Error{"config file", err}
	}
	defer f.Close()
	return Parse(name, f)
}

// Parse reads "key = value" lines from r. Blank lines and lines that start with
// "#" say nothing; a value may stand in double quotes; the key may carry the
// flag's leading "--"; a key alone turns a switch on.
func Parse(name string, r io.Reader) (File, error) {
	f := File{Name: name}
	sc := bufio.NewScanner(io.LimitReader(r, maxFile))
	sc.Buffer(nil, maxLine)
	line := 0
	for sc.Scan() {
		line++
		text := strings.TrimSpace(strings.TrimPrefix(sc.Text(), "\ufeff"))
		if text == "" || text[0] == '#' {
			continue
		}
		key, value, found := strings.Cut(text, "=")
		key = strings.TrimPrefix(strings.TrimSpace(key), "--")
		if !validKey(key) {
			return f, &Error{fmt.Sprintf("%s:%d", name, line), fmt.Errorf("%q is not a line of the form key = value", text)}
		}
		f.Entries = append(f.Entries, Entry{key, unquote(strings.TrimSpace(value)), !found, line})
	}
	if err := sc.Err(); err != nil {
		return f, &Error{fmt.Sprintf("%s:%d", name, line+1), err}
	}
	return f, nil
}

func validKey(k string) bool {
	return k != "" && strings.Trim(k, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

func unquote(s string) string {
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		return s[1 : len(s)-1]
	}
	return s
}

// CheckKeys returns an error naming file and line of the first key that known
// does not know.
func (f File) CheckKeys(known func(key string) bool) error {
	for _, e := range f.Entries {
		if !known(e.Key) {
			return &Error{f.where(e), errors.New("unknown setting; the long flags of qqbtfs are the names to use")}
		}
	}
	return nil
}

func (f File) where(e Entry) string { return fmt.Sprintf("%s:%d: %s", f.Name, e.Line, e.Key) }

// EnvName returns the environment variable of a flag.
func EnvName(flag string) string {
	return Prefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// Apply sets every flag of fs that the command line did not set from the
// environment, and else from the file. lookup is os.LookupEnv; an empty variable
// counts as not set. Flags in skip are left alone.
func Apply(fs *pflag.FlagSet, lookup func(string) (string, bool), f File, skip ...string) error {
	var errs []error
	fs.VisitAll(func(fl *pflag.Flag) {
		if fl.Changed || slices.Contains(skip, fl.Name) {
			return
		}
		if v, ok := lookup(EnvName(fl.Name)); ok && v != "" {
			errs = append(errs, wrap(EnvName(fl.Name), setEnv(fs, fl, v)))
			return
		}
		errs = append(errs, f.apply(fs, fl))
	})
	return firstOf(errs)
}

// setEnv sets fl from one variable, which holds a list's elements separated by
// commas or blanks.
func setEnv(fs *pflag.FlagSet, fl *pflag.Flag, v string) error {
	if _, list := fl.Value.(pflag.SliceValue); !list {
		return set(fs, fl, v)
	}
	for _, e := range strings.FieldsFunc(v, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' }) {
		if err := set(fs, fl, e); err != nil {
			return err
		}
	}
	return nil
}

// apply sets fl from the file: every line for a list, the last one otherwise.
func (f File) apply(fs *pflag.FlagSet, fl *pflag.Flag) error {
	_, list := fl.Value.(pflag.SliceValue)
	var last *Entry
	for i, e := range f.Entries {
		if e.Key != fl.Name {
			continue
		}
		if last = &f.Entries[i]; list {
			if err := f.set(fs, fl, *last); err != nil {
				return err
			}
		}
	}
	if last == nil || list {
		return nil
	}
	return f.set(fs, fl, *last)
}

func (f File) set(fs *pflag.FlagSet, fl *pflag.Flag, e Entry) error {
	v := e.Value
	if e.Bare {
		if fl.NoOptDefVal == "" {
			return &Error{f.where(e), fmt.Errorf("needs a value: %s = …", e.Key)}
		}
		v = fl.NoOptDefVal
	}
	return wrap(f.where(e), set(fs, fl, v))
}

// set goes through the flag set, so that Changed holds for every source. The
// flag's own error is kept, without pflag's wording around it.
func set(fs *pflag.FlagSet, fl *pflag.Flag, v string) error {
	err := fs.Set(fl.Name, v)
	var bad *pflag.InvalidValueError
	if errors.As(err, &bad) {
		return Plain(bad)
	}
	return err
}

// Plain returns what is wrong with a flag's value, without the words of pflag
// and strconv.
func Plain(bad *pflag.InvalidValueError) error {
	if num := (*strconv.NumError)(nil); !errors.As(bad, &num) {
		return bad.Unwrap()
	}
	kind := "a whole number"
	if bad.GetFlag().Value.Type() == "bool" {
		kind = "true or false"
	}
	return fmt.Errorf("%q is not %s", bad.GetValue(), kind)
}

func wrap(where string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{where, err}
}

func firstOf(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// UnknownEnv returns the variables in environ (as os.Environ gives them) that
// carry the program's prefix but belong to no flag, sorted: most likely a
// spelling mistake.
func UnknownEnv(environ []string, known func(name string) bool) []string {
	var out []string
	for _, kv := range environ {
		name, _, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(name, Prefix) && !known(name) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}
