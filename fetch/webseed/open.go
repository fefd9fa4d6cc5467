package webseed

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
)

const maxRedirects = 5

// Open asks for n bytes of thing i from off on, within it, and returns just them: io.EOF
// follows the last, io.ErrUnexpectedEOF means that some are missing. The caller closes it.
//
// The error, also of reading, is a *UselessError, a *MissingError or a *BusyError where
// that is known; another one may well be over soon. ctx bounds the reading too.
func (s *Seed) Open(ctx context.Context, i int, off, n int64) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancel(ctx)
	at, moved := s.movedTo(i)
	if !moved {
		at = s.start(i, off, n)
	}
	resp, err := s.follow(ctx, at, i, off, n)
	if err != nil && moved && ctx.Err() == nil {
		// Where it was is often for a while only. The torrent's URL leads on.
		s.forget(i)
		resp, err = s.follow(ctx, s.start(i, off, n), i, off, n)
	}
	if err != nil {
		cancel()
		return nil, err
	}
	return newBody(resp, n, cancel), nil
}

// follow asks, and asks where it is told to ask.
func (s *Seed) follow(ctx context.Context, at place, i int, off, n int64) (*http.Response, error) {
	for hop := 0; ; hop++ {
		resp, public, err := s.get(ctx, at, off, n)
		if err != nil {
			return nil, err
		}
		to, err := redirectTarget(at.url, resp)
		if err == nil && to == nil {
			if err = s.check(resp, i, off, n); err == nil {
				if hop > 0 {
					s.remember(i, at)
				}
				return resp, nil
			}
		}
		resp.Body.Close()
		switch {
		case err != nil:
			return nil, err
		case hop == maxRedirects:
			return nil, uselessf("redirects more than %d times", maxRedirects)
		}
		at = place{to, at.local && !public && to.RawQuery == ""}
	}
}

// get makes one request and tells whether it went to a public address.
func (s *Seed) get(ctx context.Context, at place, off, n int64) (resp *http.Response, public bool, err error) {
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(c httptrace.GotConnInfo) {
		public = s.isPublic(at.url, c)
	}})
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.url.String(), nil)
	if err != nil {
		return nil, false, uselessf("not a URL")
	}
	req.Header.Set("User-Agent", s.cfg.UserAgent)
	if !s.cfg.Pieces {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", off, off+n-1))
	}
	if u := at.url.User; u != nil {
		password, _ := u.Password()
		req.SetBasicAuth(u.Username(), password)
	}
	t := s.public
	if at.local {
		t = s.any
	}
	resp, err = t.RoundTrip(req)
	return resp, public, err
}

// isPublic reports whether a connection leads to a public address. Where a proxy looks
// names up, all of them are taken for that.
func (s *Seed) isPublic(u *url.URL, c httptrace.GotConnInfo) bool {
	if s.cfg.Policy.Proxied() {
		a, err := netip.ParseAddr(u.Hostname())
		return err != nil || !s.isLocal(a)
	}
	a, err := netip.ParseAddrPort(c.Conn.RemoteAddr().String())
	return err != nil || !s.isLocal(a.Addr())
}

// redirectTarget returns where resp redirects to, or nil if it does not. Credentials of
// one server are not for another: url.Parse keeps them for a relative target only.
func redirectTarget(from *url.URL, resp *http.Response) (*url.URL, error) {
	switch resp.StatusCode {
	case 301, 302, 303, 307, 308:
	default:
		return nil, nil
	}
	to, err := from.Parse(resp.Header.Get("Location"))
	switch {
	case err != nil || resp.Header.Get("Location") == "" || to.Hostname() == "":
		return nil, uselessf("redirects to nowhere")
	case to.Scheme != "http" && to.Scheme != "https":
		return nil, uselessf("redirects to something that is not http")
	}
	to.Fragment, to.RawFragment = "", ""
	return to, nil
}
