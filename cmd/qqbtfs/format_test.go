package main

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestFormat(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{formatBytes(0), "0 B"}, {formatBytes(1023), "1023 B"}, {formatBytes(1024), "1.0 KiB"},
		{formatBytes(1<<20 - 1), "1.0 MiB"}, {formatBytes(3 << 29), "1.5 GiB"}, {formatBytes(1<<63 - 1), "8.0 EiB"},
		{formatRate(0), "0 B/s"}, {formatRate(-1), "0 B/s"}, {formatRate(999_990), "1.0 MB/s"}, {formatRate(182e6), "182.0 MB/s"},
		{formatDuration(0), "0s"}, {formatDuration(59600 * time.Millisecond), "1m"}, {formatDuration(90 * time.Second), "1m30s"},
		{formatDuration(2*time.Hour + 5*time.Minute), "2h5m"}, {formatDuration(50 * time.Hour), "2d2h"},
		{percent(74, 79), "93.6%"}, {percent(0, 9), "0.0%"}, {percent(9999, 10000), "99.9%"}, {percent(9, 9), "100.0%"}, {percent(0, 0), "100.0%"},
		{plural(1, "peer"), "1 peer"}, {plural(0, "peer"), "0 peers"},
		{cut("héllo", 5), "héllo"}, {cut("héllos", 5), "héll…"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}

func TestRemaining(t *testing.T) {
	for _, c := range []struct {
		left int64
		rate float64
		want time.Duration
	}{{100, 10, 10 * time.Second}, {100, 0, 0}, {0, 10, 0}, {1 << 60, 1, 0}} {
		if got := remaining(c.left, c.rate); got != c.want {
			t.Errorf("remaining(%d, %g) = %v, want %v", c.left, c.rate, got, c.want)
		}
	}
}

// Off a terminal progress is a line now and then, and silence while nothing
// changes.
func TestPlainProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		a := newApp(&out, &out)
		ctx, cancel := context.WithTimeout(t.Context(), 4*plainEvery+time.Second)
		defer cancel()
		texts := []string{"10%", "10%", "20%", "20%"}
		i := 0
		a.showProgress(ctx, a.err, func() string { i++; return texts[i-1] })
		if got := out.String(); got != "10%\n20%\n" {
			t.Errorf("progress was %q", got)
		}
	})
}

func TestTextLog(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(newTextHandler(&out, slog.LevelDebug, dateAndTime)).With("torrent", "a b")
	log.Log(t.Context(), levelTrace, "too much")
	log.Debug("piece complete", "piece", 7)
	log.WithGroup("g").Warn("two\nlines", "k", "v")
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	want := []string{`debug piece complete  torrent="a b" piece=7`, `warn  two; lines  torrent="a b" g.k=v`}
	if len(lines) != len(want) {
		t.Fatalf("%d lines: %q", len(lines), lines)
	}
	for i, w := range want {
		if got := lines[i][len("2006-01-02 15:04:05.000 "):]; got != w {
			t.Errorf("line %d is %q, want %q", i, got, w)
		}
	}
}

// The database's own log is for -vvv, its warnings are for everybody.
func TestQuietLog(t *testing.T) {
	for verbose, want := range map[int]int{0: 1, 2: 1, 3: 2} {
		var out bytes.Buffer
		l, c := newLogging(&out), commonFlags{verbose: verbose}
		l.open(&c)
		log := l.quiet(&c).With("torrent", "x")
		log.Debug("compacting")
		log.Warn("damaged")
		if got := strings.Count(out.String(), "torrent=x"); got != want {
			t.Errorf("-v %d times: %d lines, want %d: %s", verbose, got, want, out.String())
		}
	}
}

func TestJSONLogNamesTrace(t *testing.T) {
	var out bytes.Buffer
	l := newLogging(&out)
	var c commonFlags
	c.logFormat.Value, c.verbose = "json", 2
	l.open(&c)
	l.Log(t.Context(), levelTrace, "message")
	if !strings.Contains(out.String(), `"level":"TRACE"`) {
		t.Errorf("log line is %s", out.String())
	}
}
