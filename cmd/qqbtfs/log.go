package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"

	"github.com/qqbtfs/qqbtfs/cmd/qqbtfs/daemon"
)

// levelTrace is the level of single wire messages, shown with -vv.
const levelTrace = slog.LevelDebug - 4

// logging is the program's log: a Logger over an output that can be moved while
// a progress display owns the terminal.
type logging struct {
	*slog.Logger
	out  *switchWriter
	file *os.File
}

// newLogging returns a log on w for what happens before the flags are known.
func newLogging(w io.Writer) logging {
	out := &switchWriter{w: w}
	return logging{Logger: slog.New(newTextHandler(out, slog.LevelInfo, stampFor(w))), out: out}
}

// open sets the log up as the flags say.
func (l *logging) open(c *commonFlags) {
	level := slog.LevelInfo
	switch {
	case c.verbose >= 2:
		level = levelTrace
	case c.verbose == 1:
		level = slog.LevelDebug
	}
	if c.logFormat.Value == "json" {
		l.Logger = slog.New(slog.NewJSONHandler(l.out, &slog.HandlerOptions{Level: level, ReplaceAttr: nameTrace}))
	} else {
		stamp := dateAndTime
		if c.logFile == "" {
			stamp = stampFor(l.out.w)
		}
		l.Logger = slog.New(newTextHandler(l.out, level, stamp))
	}
}

// openLogFile sends the log of a command that runs for long to --log-file, if
// there is one. In the background standard error is that file already.
func (a *app) openLogFile() error {
	if a.common.logFile == "" || a.parent != nil || a.log.file != nil {
		return nil
	}
	f, err := daemon.OpenLog(string(a.common.logFile))
	if err != nil {
		return fail(codeDisk, err)
	}
	a.log.file = f
	a.log.out.set(f)
	return nil
}

func (l *logging) close() {
	if l.file != nil {
		l.file.Close()
	}
}

// nameTrace calls the trace level by its name.
func nameTrace(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.LevelKey && a.Value.Any() == levelTrace {
		a.Value = slog.StringValue("TRACE")
	}
	return a
}

// switchWriter is a writer whose target can change. It is safe for concurrent use.
type switchWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (s *switchWriter) set(w io.Writer) {
	s.mu.Lock()
	s.w = w
	s.mu.Unlock()
}

func (s *switchWriter) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(p)
}

// The time of a log line. Who looks on knows the date.
const (
	dateAndTime = "2006-01-02 15:04:05.000"
	timeOfDay   = "15:04:05.000"
)

func stampFor(w io.Writer) string {
	if _, live := terminal(w); live {
		return timeOfDay
	}
	return dateAndTime
}

// textHandler writes lines for people: time, level, message, then attributes as
// slog.TextHandler writes them, which does that part.
type textHandler struct {
	shared *textShared
	attrs  slog.Handler // writes to shared.buf
}

type textShared struct {
	level slog.Level
	stamp string
	out   io.Writer
	mu    sync.Mutex
	buf   bytes.Buffer
}

func newTextHandler(out io.Writer, level slog.Level, stamp string) slog.Handler {
	s := &textShared{level: level, stamp: stamp, out: out}
	return &textHandler{s, slog.NewTextHandler(&s.buf, &slog.HandlerOptions{
		Level: levelTrace,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey || a.Key == slog.MessageKey) {
				return slog.Attr{}
			}
			return a
		},
	})}
}

func (h *textHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.shared.level }

func (h *textHandler) WithAttrs(as []slog.Attr) slog.Handler {
	return &textHandler{h.shared, h.attrs.WithAttrs(as)}
}

func (h *textHandler) WithGroup(name string) slog.Handler {
	return &textHandler{h.shared, h.attrs.WithGroup(name)}
}

func (h *textHandler) Handle(ctx context.Context, r slog.Record) error {
	s := h.shared
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buf.Reset()
	if err := h.attrs.Handle(ctx, r); err != nil {
		return err
	}
	attrs := strings.TrimSpace(s.buf.String())
	s.buf.Reset()
	fmt.Fprintf(&s.buf, "%s %-5s %s", r.Time.Format(s.stamp), levelName(r.Level), printable(r.Message))
	if attrs != "" {
		s.buf.WriteString("  " + attrs)
	}
	s.buf.WriteByte('\n')
	_, err := s.out.Write(s.buf.Bytes())
	return err
}

// quiet returns a log for a library whose doings only warnings make interesting:
// all of it is shown with -vvv.
func (l *logging) quiet(c *commonFlags) *slog.Logger {
	if c.verbose >= 3 {
		return l.Logger
	}
	return slog.New(atLeast{l.Handler(), slog.LevelInfo})
}

// atLeast is a handler without the levels below level.
type atLeast struct {
	slog.Handler
	level slog.Level
}

func (h atLeast) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= h.level && h.Handler.Enabled(ctx, l)
}

func (h atLeast) WithAttrs(as []slog.Attr) slog.Handler {
	return atLeast{h.Handler.WithAttrs(as), h.level}
}

func (h atLeast) WithGroup(name string) slog.Handler {
	return atLeast{h.Handler.WithGroup(name), h.level}
}

func levelName(l slog.Level) string {
	if l <= levelTrace {
		return "trace"
	}
	return strings.ToLower(l.String())
}
