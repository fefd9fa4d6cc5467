package fetchtest

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// words is a statement: its name and arguments, flags among them, key=value.
type words []string

// value returns the value of a key, "" without.
func (w words) value(key string) string {
	for _, x := range w {
		if v, ok := strings.CutPrefix(x, key+"="); ok {
			return v
		}
	}
	return ""
}

func (w words) has(flag string) bool {
	for _, x := range w {
		if x == flag {
			return true
		}
	}
	return false
}

func (w words) arg(n int) (string, error) {
	if n >= len(w) {
		return "", fmt.Errorf("%s: too few arguments", w[0])
	}
	return w[n], nil
}

func (w words) number(n int, v *uint64) (err error) {
	x, err := w.arg(n)
	if err == nil {
		*v, err = strconv.ParseUint(x, 10, 64)
	}
	return err
}

func (w words) time(n int, v *time.Duration) (err error) {
	x, err := w.arg(n)
	if err == nil {
		*v, err = time.ParseDuration(x)
	}
	return err
}

func (w words) integer(key string, def int) (int, error) {
	v := w.value(key)
	if v == "" {
		return def, nil
	}
	return strconv.Atoi(v)
}

func (w words) float(key string, v *float64) (err error) {
	if x := w.value(key); x != "" {
		*v, err = strconv.ParseFloat(x, 64)
	}
	return err
}

func (w words) duration(key string, v *time.Duration) (err error) {
	if x := w.value(key); x != "" {
		*v, err = time.ParseDuration(x)
	}
	return err
}

// bytes is a number with KiB, MiB or nothing behind it.
func (w words) bytes(key string, def int64) (int64, error) {
	v := w.value(key)
	if v == "" {
		return def, nil
	}
	unit := int64(1)
	for name, n := range map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20} {
		if x, ok := strings.CutSuffix(v, name); ok {
			v, unit = x, n
		}
	}
	n, err := strconv.ParseInt(v, 10, 64)
	return n * unit, err
}

func (w words) link() (l Link, err error) {
	for _, f := range []func() error{
		func() error { return w.float("up", &l.Up) },
		func() error { return w.float("down", &l.Down) },
		func() error { return w.duration("delay", &l.Delay) },
		func() error { return w.duration("jitter", &l.Jitter) },
	} {
		if err := f(); err != nil {
			return l, err
		}
	}
	l.Up, l.Down = l.Up*1000, l.Down*1000
	return l, nil
}

func (w words) behavior() (b Behavior, err error) {
	b = Behavior{Fast: w.value("fast") != "no", Mute: w.has("mute"), Lies: w.has("lies"), Echoes: w.has("echoes")}
	for _, f := range []func() error{
		func() error { return w.float("lacks", &b.Lacks) },
		func() error { return w.float("poison", &b.Poison) },
		func() error { return w.float("rejects", &b.Rejects) },
		func() error { return w.duration("chokes", &b.Chokes) },
		func() error { return w.duration("waits", &b.Waits) },
		func() error { return w.duration("leaves", &b.Leaves) },
		func() error { b.Stalls, err = w.integer("stalls", 0); return err },
	} {
		if err := f(); err != nil {
			return b, err
		}
	}
	return b, nil
}

// pieces reads 5 or 3-7.
func pieces(s string) (first, last int, err error) {
	a, b, ranged := strings.Cut(s, "-")
	if first, err = strconv.Atoi(a); err != nil || !ranged {
		return first, first, err
	}
	last, err = strconv.Atoi(b)
	return first, last, err
}
