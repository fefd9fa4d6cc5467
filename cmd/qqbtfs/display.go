package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
)

const (
	// liveEvery and plainEvery are the intervals of progress on a terminal and
	// elsewhere.
	liveEvery  = 500 * time.Millisecond
	plainEvery = 5 * time.Second
)

// terminal returns the file of w and true if w is a terminal that can redraw a line.
func terminal(w io.Writer) (*os.File, bool) {
	f, ok := w.(*os.File)
	return f, ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb"
}

// liveLine keeps one line at the bottom of a terminal up to date, below all that
// is written through it.
type liveLine struct {
	out *os.File

	mu   sync.Mutex
	text string
}

const clearLine = "\r\x1b[K"

// Write writes whole lines above the live one.
func (l *liveLine) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.text == "" {
		return l.out.Write(p)
	}
	_, err := fmt.Fprint(l.out, clearLine, string(p), l.text)
	return len(p), err
}

// set shows text, cut to the terminal's width; "" takes the line away.
func (l *liveLine) set(text string) {
	width, _, err := term.GetSize(int(l.out.Fd()))
	if err != nil || width < 20 {
		width = 80
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if text = cut(text, width-1); text != l.text {
		l.text = text
		fmt.Fprint(l.out, clearLine, text)
	}
}

// cut returns at most n runes of s, with an ellipsis where something is missing.
func cut(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	r := []rune(s)
	return string(r[:n-1]) + "…"
}

// showProgress keeps telling text on w until ctx ends: on a terminal in a live
// line under the log, elsewhere in a line of its own now and then, if it has
// changed.
func (a *app) showProgress(ctx context.Context, w io.Writer, text func() string) {
	f, live := terminal(w)
	if !live {
		every(ctx, plainEvery, a.plainProgress(w, text))
		return
	}
	line := &liveLine{out: f}
	if a.log.file == nil {
		a.log.out.set(line)
		defer a.log.out.set(a.err)
	}
	defer line.set("")
	line.set(text())
	every(ctx, liveEvery, func() { line.set(text()) })
}

func (a *app) plainProgress(w io.Writer, text func() string) func() {
	last := ""
	return func() {
		t := text()
		if t == last {
			return
		}
		if last = t; a.common.logFormat.Value == "json" {
			a.log.Info("progress", "state", t)
		} else {
			fmt.Fprintln(w, t)
		}
	}
}

// every calls f at the interval d until ctx ends.
func every(ctx context.Context, d time.Duration, f func()) {
	t := time.NewTicker(d)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			f()
		}
	}
}
