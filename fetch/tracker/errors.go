package tracker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"
)

// FailureError is a tracker's refusal: the tracker works, but not for us.
type FailureError struct {
	// Reason is the tracker's own words, printable and short.
	Reason string
	// RetryIn is how long the tracker wants to be left alone (BEP 31). Zero
	// means that it did not say.
	RetryIn time.Duration
	// Never means that the tracker does not want to be asked again (BEP 31).
	Never bool
}

func (e *FailureError) Error() string { return fmt.Sprintf("tracker refused: %s", e.Reason) }

// RefusedError is an announce URL that this client does not ask, by policy.
type RefusedError struct{ Why string }

func (e *RefusedError) Error() string { return "not asked: " + e.Why }

func refusedf(format string, args ...any) error {
	return &RefusedError{Why: fmt.Sprintf(format, args...)}
}

// words says in a few plain words why an announce failed, for status and log.
func words(err error) string {
	var dns *net.DNSError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &dns) && dns.IsNotFound:
		return "host not found: " + Printable(dns.Name)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "no answer in time"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return "network unreachable"
	}
	return Printable(err.Error())
}

// maxText is the length in bytes that a text from a tracker is cut to.
const maxText = 200

// Printable makes a text from the network safe for a terminal and short.
func Printable(s string) string {
	if len(s) > 4*maxText {
		s = s[:4*maxText]
	}
	s = strings.Map(func(r rune) rune {
		switch {
		case r == utf8.RuneError:
			return '?'
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return -1
		}
		return r
	}, s)
	for i := range s {
		if i > maxText {
			return strings.TrimSpace(s[:i]) + "…"
		}
	}
	return strings.TrimSpace(s)
}
