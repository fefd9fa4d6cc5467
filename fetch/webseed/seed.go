// Package webseed fetches ranges of a torrent's content from a web server.
//
// There are two kinds of web seeds. That of BEP 19 is a plain server that has the files,
// each under an URL of its own. That of BEP 17 is a script that is asked for ranges of
// pieces. A Seed hides the difference: both are asked for ranges of things, which are
// files for the one and pieces for the other.
//
// URLs come from a torrent, so from a stranger. They must not make this machine send
// requests of the stranger's choice to services that only this machine can reach: a local
// address is asked for what has no query only, and never on the word of a public server.
//
// What comes is not verified here: see package cache. Whether and when to ask again is up
// to the caller; the types of errors say what is known of that.
package webseed

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"time"

	"github.com/qqbtfs/qqbtfs/fetch/tracker"
	"github.com/qqbtfs/qqbtfs/peerconn/netpolicy"
)

// Parallel is how many requests to make of one server at a time, at most.
const Parallel = 4

const (
	maxHeader     = 64 << 10 // bytes
	headerTimeout = 20 * time.Second
	stallTimeout  = 20 * time.Second // without a byte of a body

	maxMoved    = 1000    // redirects that are remembered
	maxMovedURL = 4 << 10 // bytes of one of them
)

// File is a file of the torrent, or a piece of it for BEP 17.
type File struct {
	Path   []string // below Config.URL, as in the torrent; not for BEP 17
	Length int64    // bytes
}

// Config says what a web seed is.
type Config struct {
	// URL is http or https. No error text holds it.
	URL string
	// Files has the things to ask for, by their index.
	Files []File
	// Name is that of the torrent, and Dir tells that it is a directory.
	Name string
	Dir  bool
	// Pieces tells that this is a seed of BEP 17 for the torrent of this v1 InfoHash, and
	// that Files are pieces.
	Pieces   bool
	InfoHash [20]byte
	// UserAgent is sent along; empty means "qqbtfs".
	UserAgent string
	// Policy is by which way connections leave; nil means any.
	Policy *netpolicy.Policy
	// Blocked has the addresses to have nothing to do with; nil means none.
	Blocked func(netip.Addr) bool
	// TLS is for https. Nil means the system's roots.
	TLS *tls.Config
}

// Seed is one web seed. It is safe for concurrent use.
type Seed struct {
	cfg     Config
	base    *url.URL
	any     *http.Transport
	public  *http.Transport // connects to no local address
	isLocal func(netip.Addr) bool

	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	mu    sync.Mutex
	moved map[int]place // where redirects have led
}

// place is an URL and whether it may be at a local address.
type place struct {
	url   *url.URL
	local bool
}

// New returns a Seed, to be closed. The error is a *UselessError.
func New(cfg Config) (*Seed, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, uselessf("not a URL of http or https")
	}
	u.Fragment, u.RawFragment = "", ""
	if cfg.UserAgent == "" {
		cfg.UserAgent = "qqbtfs"
	}
	s := &Seed{cfg: cfg, base: u, isLocal: tracker.IsLocal, moved: map[int]place{}}
	s.any, s.public = s.transport(true), s.transport(false)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// Close ends all connections.
func (s *Seed) Close() { s.cancel() }

// transport returns the way to servers, to those at local addresses too or not.
func (s *Seed) transport(local bool) *http.Transport {
	check := func(a netip.AddrPort) error { return s.admit(a.Addr(), local) }
	return &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return s.dial(ctx, network, addr, check)
		},
		TLSClientConfig:        s.cfg.TLS,
		TLSHandshakeTimeout:    headerTimeout,
		ResponseHeaderTimeout:  headerTimeout,
		MaxResponseHeaderBytes: maxHeader,
		DisableCompression:     true,
		MaxConnsPerHost:        Parallel,
		MaxIdleConnsPerHost:    Parallel,
		IdleConnTimeout:        time.Minute,
	}
}

// admit says why an address is not to be connected to.
func (s *Seed) admit(a netip.Addr, local bool) error {
	switch {
	case !local && s.isLocal(a):
		return uselessf("leads to the local address %v", a)
	case a.IsMulticast():
		return uselessf("%v is no address of a server", a)
	case s.cfg.Blocked != nil && s.cfg.Blocked(a):
		return uselessf("%v is on the blocklist", a)
	default:
		return nil
	}
}

func (s *Seed) dial(ctx context.Context, network, addr string, check netpolicy.Check) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	c, err := s.cfg.Policy.DialChecked(ctx, network, addr, check)
	if err != nil {
		return nil, err
	}
	return &conn{c, context.AfterFunc(s.ctx, func() { c.Close() })}, nil
}

// conn is a connection that ends with its Seed. A transport goes on with dials and
// handshakes after the request that they were for has ended, and keeps what is idle.
type conn struct {
	net.Conn
	forget func() bool
}

func (c *conn) Close() error {
	c.forget()
	return c.Conn.Close()
}

// start is where thing i is by the torrent.
func (s *Seed) start(i int, off, n int64) place {
	return place{s.target(i, off, n), s.base.RawQuery == ""}
}

// movedTo returns where a redirect has led for thing i.
func (s *Seed) movedTo(i int) (place, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.moved[i]
	return p, ok
}

// remember notes where a redirect has led. One of BEP 17 is for one range. A torrent has
// many files, and a server may send a URL as long as a header for each: what is too much
// is forgotten, which costs a redirect.
func (s *Seed) remember(i int, p place) {
	if s.cfg.Pieces || len(p.url.String()) > maxMovedURL {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.moved) >= maxMoved {
		clear(s.moved)
	}
	s.moved[i] = p
}

func (s *Seed) forget(i int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.moved, i)
}
