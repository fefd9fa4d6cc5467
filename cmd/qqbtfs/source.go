package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/qqbtfs/qqbtfs/fetch"
	"github.com/qqbtfs/qqbtfs/fetch/magnet"
	"github.com/qqbtfs/qqbtfs/fetch/metainfo"
	"github.com/qqbtfs/qqbtfs/fetch/tracker"
	"github.com/qqbtfs/qqbtfs/peerconn/bencode"
	"github.com/qqbtfs/qqbtfs/peerconn/netpolicy"
)

const (
	// sourceTimeout bounds the download of a .torrent file.
	sourceTimeout = 30 * time.Second
	maxRedirects  = 5
)

func isURL(s string) bool {
	l := strings.ToLower(s)
	return strings.HasPrefix(l, "http://") || strings.HasPrefix(l, "https://")
}

// hasScheme reports whether s reads like a URL, which no file of that name contradicts.
func hasScheme(s string) bool {
	scheme, _, found := strings.Cut(s, "://")
	return found && scheme != "" && !strings.Contains(scheme, "/") && !isFile(s)
}

func isMagnet(s string) bool { return strings.HasPrefix(strings.ToLower(s), "magnet:") }

// ampersandHint explains what a shell does to an unquoted URL, if that may have
// happened to s. A magnet link that is whole names trackers or the torrent.
func ampersandHint(s string) string {
	if (isURL(s) || isMagnet(s) && !strings.Contains(s, "tr=") && !strings.Contains(s, "dn=")) &&
		strings.Contains(s, "?") && !strings.Contains(s, "&") {
		return " (the shell ends a command at an unquoted &: put the URL in quotes)"
	}
	return ""
}

// loaded is a torrent as it came from a SOURCE.
type loaded struct {
	source string             // as given on the command line
	raw    []byte             // the .torrent file
	meta   *metainfo.MetaInfo // nil: to be fetched

	link    *magnet.Link   // nil: it was no magnet link
	pending *fetch.Pending // fetches, or has fetched, meta; nil: nobody does
	failed  error          // why it never gets files; guarded by node.mu
}

// hash is what tells torrents apart: the v1 info-hash, or else the v2 one.
func (l *loaded) hash() string {
	if l.meta != nil {
		return l.meta.HashString()
	}
	return l.link.HashString()
}

// loadSources loads all sources at once and keeps their order. The same torrent given
// twice is one torrent, with the metadata that any of its sources has.
func (a *app) loadSources(ctx context.Context, policy *netpolicy.Policy, sources []string) ([]*loaded, error) {
	all := make([]*loaded, len(sources))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for i, s := range sources {
		g.Go(func() (err error) {
			all[i], err = a.load(gctx, policy, s)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		if ctx.Err() != nil {
			return nil, failf(codeIncomplete, "interrupted")
		}
		return nil, err
	}
	seen := map[string]*loaded{}
	unique := all[:0]
	for _, l := range all {
		first, again := seen[l.hash()]
		if !again {
			seen[l.hash()] = l
			unique = append(unique, l)
			continue
		}
		a.log.Warn("the same torrent twice", "first", shownSource(first.source), "again", shownSource(l.source))
		if first.meta == nil {
			*first = *l
		}
	}
	return unique, nil
}

// load is loadSource, with the metadata of a magnet link if an earlier run has kept it.
func (a *app) load(ctx context.Context, policy *netpolicy.Policy, s string) (*loaded, error) {
	l, err := loadSource(ctx, policy, s)
	if err == nil && l.meta == nil {
		a.warnUnusable(*l.link)
		a.recall(l)
	}
	return l, err
}

// loadSource loads one torrent. Its errors name the source, without secrets.
func loadSource(ctx context.Context, policy *netpolicy.Policy, s string) (*loaded, error) {
	name := s
	var raw []byte
	var err error
	switch {
	case isMagnet(s):
		return loadMagnet(s)
	case s == "":
		return nil, failf(codeSource, "the SOURCE is empty: give a .torrent file, the http(s) URL of one, or a magnet link")
	case isURL(s):
		name = shownURL(s)
		raw, err = fetchURL(ctx, policy, s)
	case hasScheme(s):
		name, err = shownURL(s), errors.New("only http and https URLs are supported")
	default:
		raw, err = readSource(s)
	}
	if err != nil {
		hint := ampersandHint(s)
		if netErr := (*net.OpError)(nil); errors.As(err, &netErr) {
			hint = "" // the server did not even see the rest
		}
		return nil, failf(codeSource, "%s: %w%s", name, err, hint)
	}
	meta, err := metainfo.Parse(raw)
	if err != nil {
		return nil, failf(codeSource, "%s: %w%s", name, parseError(raw, err), ampersandHint(s))
	}
	if !meta.Info.HasV1 && len(meta.MissingLayers()) > 0 {
		return nil, failf(codeSource, "%s: is a BitTorrent v2 torrent without piece layers, by which its content is checked: give another copy of it", name)
	}
	return &loaded{source: s, raw: raw, meta: meta}, nil
}

// parseError says what else the bytes may be.
func parseError(raw []byte, err error) error {
	head := bytes.TrimSpace(raw[:min(len(raw), 512)])
	var syntax *bencode.SyntaxError
	switch {
	case len(head) == 0:
		return errors.New("is empty, not a torrent")
	case head[0] == '<':
		return errors.New("is a web page, not a torrent")
	case bytes.HasPrefix(head, []byte("magnet:")):
		return errors.New("holds a magnet link: give that itself")
	case head[0] != 'd':
		return errors.New("is not a torrent")
	case errors.As(err, &syntax) && syntax.Short:
		return fmt.Errorf("is not a valid torrent: the file is cut short, fetch it again (%w)", err)
	default:
		return fmt.Errorf("is not a valid torrent: %w", err)
	}
}

// readSource reads a .torrent file.
func readSource(name string) ([]byte, error) {
	fi, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, errors.New("there is no such file")
	case err != nil:
		return nil, bare(err)
	case fi.IsDir():
		return nil, errors.New("is a directory; a SOURCE is a .torrent file (make one with: qqbtfs create)")
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, bare(err)
	}
	defer f.Close()
	return readBounded(f)
}

// bare returns err without the path, which the caller names.
func bare(err error) error {
	if p := (*fs.PathError)(nil); errors.As(err, &p) {
		return p.Err
	}
	return err
}

func readBounded(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, metainfo.MaxFileSize+1))
	if err != nil {
		return nil, bare(err)
	}
	if len(b) > metainfo.MaxFileSize {
		return nil, fmt.Errorf("is larger than %s, so it is not a torrent", formatBytes(metainfo.MaxFileSize))
	}
	return b, nil
}

// shownURL is a URL without user, password, query, and parts of its path that look like
// passkeys. The name of a .torrent file stays.
func shownURL(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return "(invalid URL)"
	}
	dir, name := path.Split(u.EscapedPath())
	if !strings.HasSuffix(name, ".torrent") {
		dir, name = dir+name, ""
	}
	return tracker.MaskURL(u.Scheme+"://"+u.Host+dir) + name
}

// fetchURL fetches a .torrent file over http or https, by that policy's way.
func fetchURL(ctx context.Context, policy *netpolicy.Policy, s string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, sourceTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s, nil)
	if err != nil {
		return nil, errors.New("is not a valid URL")
	}
	req.Header.Set("User-Agent", userAgent())
	client := newSourceClient(policy)
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		return nil, downloadError(ctx, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the server answers %q", printable(resp.Status))
	}
	b, err := readBounded(resp.Body)
	if err != nil {
		return nil, downloadError(ctx, err)
	}
	return b, nil
}

// downloadError is err without the URL in it, which may carry secrets.
func downloadError(ctx context.Context, err error) error {
	if u := (*url.Error)(nil); errors.As(err, &u) {
		err = u.Err
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("no complete answer within %s", formatDuration(sourceTimeout))
	}
	return err
}

// newSourceClient returns an HTTP client that follows a few redirects, to http
// and https only, and past its redirectGuard.
func newSourceClient(policy *netpolicy.Policy) *http.Client {
	var guard redirectGuard
	environment := http.ProxyFromEnvironment
	if policy.Proxied() {
		environment = nil // --proxy goes before it
	}
	return &http.Client{
		Transport: &http.Transport{
			Proxy: environment,
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
				defer cancel()
				return policy.DialChecked(ctx, network, addr, guard.check)
			},
			ForceAttemptHTTP2:      true,
			TLSHandshakeTimeout:    10 * time.Second,
			MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if len(via) > maxRedirects {
				return fmt.Errorf("more than %d redirects", maxRedirects)
			}
			if !isURL(req.URL.Scheme + "://") {
				return fmt.Errorf("redirected to a %s URL", req.URL.Scheme)
			}
			return nil
		},
	}
}

// redirectGuard refuses connections to local addresses after one to a public
// address: a server must not be able to make us ask for what only we can reach.
type redirectGuard struct{ public atomic.Bool }

// check is a netpolicy.Check.
func (g *redirectGuard) check(ap netip.AddrPort) error {
	if !isLocal(ap.Addr().Unmap()) {
		g.public.Store(true)
		return nil
	}
	if g.public.Load() {
		return fmt.Errorf("redirected from a public server to the local address %s", ap.Addr())
	}
	return nil
}

func isLocal(a netip.Addr) bool {
	return a.IsLoopback() || a.IsPrivate() || a.IsLinkLocalUnicast() || a.IsUnspecified() || a.IsMulticast()
}
