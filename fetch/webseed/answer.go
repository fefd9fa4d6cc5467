package webseed

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	minBusy   = time.Second
	maxBusy   = time.Hour
	usualBusy = time.Minute // when the server does not say
)

// check says what is wrong with an answer that is to bring n bytes of thing i.
func (s *Seed) check(resp *http.Response, i int, off, n int64) error {
	enc := resp.Header.Get("Content-Encoding")
	switch code := resp.StatusCode; {
	case code/100 == 2 && enc != "" && enc != "identity":
		return uselessf("encodes the content, which has no ranges then")
	case code == http.StatusPartialContent && !s.cfg.Pieces:
		return s.checkRange(resp, i, off, n)
	case code == http.StatusOK, code == http.StatusPartialContent:
		return s.checkWhole(resp, i, n)
	case code == http.StatusServiceUnavailable, code == http.StatusTooManyRequests:
		return &BusyError{s.busy(resp)}
	case code/100 == 4 && code != http.StatusRequestTimeout:
		return missingf("HTTP status %d", code)
	default:
		return fmt.Errorf("HTTP status %d", code)
	}
}

// checkWhole is for an answer that names no range: only all of a thing is one then.
func (s *Seed) checkWhole(resp *http.Response, i int, n int64) error {
	got := resp.ContentLength // negative: not said
	switch size := s.cfg.Files[i].Length; {
	case s.cfg.Pieces && got >= 0 && got != n:
		return uselessf("answers with %d bytes for %d", got, n)
	case s.cfg.Pieces:
		return nil
	case got >= 0 && got != size:
		return missingf("a file of %d bytes is there", got)
	case n != size:
		return uselessf("does not serve ranges: asked for a part of a file it sends all of it")
	default:
		return nil
	}
}

// checkRange is for a partial answer (RFC 9110, Content-Range).
func (s *Seed) checkRange(resp *http.Response, i int, off, n int64) error {
	spec, size, ok := strings.Cut(strings.TrimPrefix(resp.Header.Get("Content-Range"), "bytes "), "/")
	switch {
	case !ok || spec != fmt.Sprintf("%d-%d", off, off+n-1):
		return uselessf("answers with another range than it was asked for")
	case size != "*" && size != strconv.FormatInt(s.cfg.Files[i].Length, 10):
		return missingf("a file of another size is there")
	case resp.ContentLength >= 0 && resp.ContentLength != n:
		return uselessf("answers with %d bytes for %d", resp.ContentLength, n)
	default:
		return nil
	}
}

// busy returns how long a server wants to be left alone: Retry-After, or the body (BEP
// 17: "the body of the response is an integer").
func (s *Seed) busy(resp *http.Response) time.Duration {
	text := resp.Header.Get("Retry-After")
	if text == "" && s.cfg.Pieces {
		// One that promises a body and does not send it is busy all the same.
		give := time.AfterFunc(stallTimeout, func() { resp.Body.Close() })
		b, _ := io.ReadAll(io.LimitReader(resp.Body, 20))
		give.Stop()
		text = string(b)
	}
	wait := usualBusy
	if n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 32); err == nil {
		wait = time.Duration(n) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		wait = time.Until(at)
	}
	return min(max(wait, minBusy), maxBusy)
}
