package tracker

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

const (
	maxBody      = 2 << 20 // bytes of an answer, compressed and not
	maxHeader    = 64 << 10
	maxRedirects = 5
)

// announceHTTP makes the GET of BEP 3 over one family and follows redirects.
func (c *Client) announceHTTP(ctx context.Context, u *url.URL, f family, addrs []netip.Addr, r Request) (Response, error) {
	u = announceURL(u, r)
	for hop := 0; ; hop++ {
		next, body, err := c.get(ctx, u, addrs)
		if err != nil {
			return Response{}, err
		}
		if next == nil {
			return parseHTTP(body)
		}
		if hop == maxRedirects {
			return Response{}, fmt.Errorf("more than %d redirects", maxRedirects)
		}
		if addrs, err = c.redirect(ctx, next, f, addrs); err != nil {
			return Response{}, err
		}
		u = next
	}
}

// redirect returns the addresses to ask for the target of a redirect that
// came from one of the addresses from.
func (c *Client) redirect(ctx context.Context, target *url.URL, f family, from []netip.Addr) ([]netip.Addr, error) {
	found, err := c.resolve(ctx, target.Hostname())
	if err != nil {
		return nil, err
	}
	return admit(target, f.of(found), anyPublic(from))
}

// get asks one URL at one of addrs. It returns the body, or the target if the
// answer was a redirect. The addresses were checked and are dialled as they
// are, so a host that resolves to something else a moment later gains nothing.
func (c *Client) get(ctx context.Context, u *url.URL, addrs []netip.Addr) (next *url.URL, body []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, nil, refusedf("not a URL")
	}
	req.Header.Set("User-Agent", c.cfg.UserAgent)
	req.Header.Set("Accept-Encoding", "gzip")
	if u.User != nil {
		password, _ := u.User.Password()
		req.SetBasicAuth(u.User.Username(), password)
	}
	conn, err := c.dialFirst(ctx, "tcp", addrs, u.Port())
	if err != nil {
		return nil, nil, err
	}
	defer conn.Close()
	transport := c.transportOver(conn)
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	if next, err := redirectTarget(u, resp); next != nil || err != nil {
		return next, nil, err
	}
	body, err = readBody(resp)
	if err == nil && resp.StatusCode/100 != 2 {
		err = statusError(resp.StatusCode, body)
	}
	return nil, body, err
}

// transportOver returns a transport for one request over conn. A transport that
// dials by itself goes on dialling after the request was cancelled.
func (c *Client) transportOver(conn net.Conn) *http.Transport {
	unused := make(chan net.Conn, 1)
	unused <- conn
	return &http.Transport{
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			select {
			case conn := <-unused:
				return conn, nil
			default:
				return nil, errors.New("connection lost")
			}
		},
		TLSClientConfig:        c.cfg.TLS.Clone(),
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHeader,
	}
}

// statusError prefers the tracker's own reason to a bare status.
func statusError(code int, body []byte) error {
	var failure *FailureError
	if _, err := parseHTTP(body); errors.As(err, &failure) {
		return failure
	}
	return fmt.Errorf("HTTP status %d %s", code, http.StatusText(code))
}

// redirectTarget returns where resp redirects to, or nil if it does not.
func redirectTarget(from *url.URL, resp *http.Response) (*url.URL, error) {
	switch resp.StatusCode {
	case 301, 302, 303, 307, 308:
	default:
		return nil, nil
	}
	to, err := from.Parse(resp.Header.Get("Location"))
	if err != nil || resp.Header.Get("Location") == "" {
		return nil, errors.New("redirect without a usable target")
	}
	to, err = parseURL(to.String())
	if err == nil && to.Scheme == "udp" {
		err = refusedf("redirect from HTTP to UDP")
	}
	return to, err
}

// readBody reads at most maxBody bytes, before and after decompression.
func readBody(resp *http.Response) ([]byte, error) {
	r := io.LimitReader(resp.Body, maxBody+1)
	if enc := resp.Header.Get("Content-Encoding"); enc == "gzip" || enc == "x-gzip" {
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, fmt.Errorf("gzip answer: %w", err)
		}
		defer z.Close()
		r = io.LimitReader(z, maxBody+1)
	}
	body, err := io.ReadAll(r)
	switch {
	case len(body) > maxBody:
		return nil, fmt.Errorf("answer of more than %d bytes", maxBody)
	case err != nil:
		return nil, fmt.Errorf("read answer: %w", err)
	}
	return body, nil
}

// announceURL adds the parameters of BEP 3, 7 and 23 to a tracker's URL. The
// URL's own query stays in front, byte for byte: it may be a signed passkey.
func announceURL(u *url.URL, r Request) *url.URL {
	var q strings.Builder
	if u.RawQuery != "" {
		q.WriteString(u.RawQuery + "&")
	}
	fmt.Fprintf(&q, "info_hash=%s&peer_id=%s&port=%d&uploaded=%d&downloaded=%d&left=%d&compact=1&no_peer_id=1&numwant=%d&key=%08x",
		Escape(string(r.InfoHash[:])), Escape(string(r.PeerID[:])), r.Port, r.Uploaded, r.Downloaded, r.left(), r.numWant(), r.Key)
	if r.Event != None {
		q.WriteString("&event=" + r.Event.String())
	}
	if r.TrackerID != "" {
		q.WriteString("&trackerid=" + Escape(r.TrackerID))
	}
	full := *u
	full.RawQuery = q.String()
	return &full
}

// Escape percent-encodes everything but RFC 3986's unreserved characters.
// url.QueryEscape writes a space as a plus sign, which trackers that count 20
// bytes take for a plus sign.
func Escape(s string) string {
	const unreserved = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~"
	var b strings.Builder
	for i := range len(s) {
		if strings.IndexByte(unreserved, s[i]) >= 0 {
			b.WriteByte(s[i])
		} else {
			fmt.Fprintf(&b, "%%%02X", s[i])
		}
	}
	return b.String()
}
