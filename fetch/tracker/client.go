package tracker

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"sync"
	"time"
)

const (
	defaultTimeout = 45 * time.Second
	// familyGrace is how much longer than the first family the second may take.
	// A host whose IPv6 leads nowhere would otherwise cost the whole timeout.
	familyGrace = 3 * time.Second
	// maxAddrs is how many addresses of one family of a host are tried.
	maxAddrs = 4
)

var errClientClosed = errors.New("tracker: client is closed")

// ClientConfig configures a Client. The zero value is ready for use.
type ClientConfig struct {
	// UserAgent is sent to HTTP trackers. Empty means "qqbtfs".
	UserAgent string
	// Timeout bounds one announce. Zero means 45 s, which is one
	// retransmission over UDP: 15 s and 30 s (BEP 15, Time outs).
	Timeout time.Duration
	// TLS is for https trackers. Nil means the system's roots.
	TLS *tls.Config
	// Resolve returns the addresses of a host. Nil means the system's resolver.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	// Dial connects to an address ("tcp" or "udp"; a UDP connection must drop
	// packets from other sources, as a connected socket does). Nil means net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Logger gets debug lines. Nil means none.
	Logger *slog.Logger
}

// Client announces to trackers. It is safe for concurrent use and keeps
// nothing between announces, not even connections: they are half an hour apart.
type Client struct {
	cfg    ClientConfig
	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup // announces; Add only under mu while not closed
}

// NewClient returns a Client. Close it when it is no longer needed.
func NewClient(cfg ClientConfig) *Client {
	if cfg.UserAgent == "" {
		cfg.UserAgent = "qqbtfs"
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = defaultTimeout
	}
	if cfg.Resolve == nil {
		cfg.Resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	if cfg.Dial == nil {
		cfg.Dial = (&net.Dialer{}).DialContext
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Client{cfg: cfg}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// Close cancels every running announce and waits until they have returned.
func (c *Client) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	c.running.Wait()
}

// Announce sends r to the tracker at rawURL (http, https or udp), over IPv4
// and IPv6 if its host has both, and returns the merged answer. It fails only
// if no family answered: with a *FailureError if the tracker refused, a
// *RefusedError if the URL must not be asked, and otherwise with the network's
// or the parser's error. No error text holds the URL's secrets.
func (c *Client) Announce(ctx context.Context, rawURL string, r Request) (Response, error) {
	return c.announce(ctx, rawURL, r, func(Response) {})
}

// announce is Announce that hands over each family's answer as it comes, so
// that peers do not wait for the slower family. Calls of answered do not
// overlap and end before announce returns.
func (c *Client) announce(ctx context.Context, rawURL string, r Request, answered func(Response)) (Response, error) {
	if !c.begin() {
		return Response{}, errClientClosed
	}
	defer c.running.Done()
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()

	u, err := parseURL(rawURL)
	if err != nil {
		return Response{}, err
	}
	addrs, err := c.resolve(ctx, u.Hostname())
	if err != nil {
		return Response{}, err
	}
	if addrs, err = admit(u, addrs, false); err != nil {
		return Response{}, err
	}
	return c.bothFamilies(ctx, cancel, u, addrs, r, answered)
}

func (c *Client) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.running.Add(1)
	}
	return !c.closed
}

// bothFamilies asks over each family that addrs has, at once.
func (c *Client) bothFamilies(ctx context.Context, cancel context.CancelFunc, u *url.URL, addrs []netip.Addr, r Request, answered func(Response)) (Response, error) {
	type result struct {
		Response
		err error
	}
	results := make(chan result, 2)
	families := 0
	for _, f := range []family{v4, v6} {
		own := f.of(addrs)
		if len(own) == 0 {
			continue
		}
		families++
		go func() {
			resp, err := c.oneFamily(ctx, u, f, own, r)
			results <- result{resp, err}
		}()
	}
	var merged Response
	var failed error
	ok := false
	for range families {
		res := <-results
		if res.err != nil {
			c.cfg.Logger.Debug("announce failed over one family", "url", MaskURL(u.String()), "err", maskText(u.String(), words(res.err)))
			failed = worse(failed, res.err)
			continue
		}
		answered(res.Response)
		merged.merge(res.Response)
		if !ok {
			ok = true
			defer time.AfterFunc(familyGrace, cancel).Stop()
		}
	}
	if ok {
		return merged, nil
	}
	return Response{}, failed
}

func (c *Client) oneFamily(ctx context.Context, u *url.URL, f family, addrs []netip.Addr, r Request) (Response, error) {
	ask := c.announceHTTP
	if u.Scheme == "udp" {
		ask = c.announceUDP
	}
	if f == v6 && r.Port6 != 0 {
		r.Port = r.Port6
	}
	resp, err := ask(ctx, u, f, addrs, r)
	if err != nil {
		return Response{}, err
	}
	resp.clampIntervals()
	resp.Peers = cleanPeers(resp, r.Port, !anyPublic(addrs))
	return resp, nil
}

// worse returns the error that tells more: a tracker's own words before any
// trouble with the network, else the first.
func worse(a, b error) error {
	var f *FailureError
	if a == nil || !errors.As(a, &f) && errors.As(b, &f) {
		return b
	}
	return a
}

// family is an IP version. BEP 7 wants announces over both, because a tracker
// learns only the address that it sees.
type family int

const (
	v4 family = 4
	v6 family = 6
)

// of returns the first few of addrs that belong to f.
func (f family) of(addrs []netip.Addr) []netip.Addr {
	var own []netip.Addr
	for _, a := range addrs {
		if a.Is4() == (f == v4) && len(own) < maxAddrs {
			own = append(own, a)
		}
	}
	return own
}

// resolve returns the addresses of host, IPv4 ones as such and never mapped.
func (c *Client) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a.Unmap()}, nil
	}
	found, err := c.cfg.Resolve(ctx, host)
	if err != nil {
		return nil, err
	}
	addrs := make([]netip.Addr, len(found))
	for i, a := range found {
		addrs[i] = a.Unmap()
	}
	return addrs, nil
}

// parseURL checks a tracker's URL and fills in the default port.
func parseURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, refusedf("not a URL") // url.Error would repeat the passkey
	}
	defaultPort, ok := map[string]string{"http": "80", "https": "443", "udp": ""}[u.Scheme]
	if !ok {
		return nil, refusedf("unsupported tracker scheme %q", Printable(u.Scheme))
	}
	port := u.Port()
	if port == "" {
		port = defaultPort
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return nil, refusedf("tracker URL without a usable port")
	}
	if u.Hostname() == "" {
		return nil, refusedf("tracker URL without a host")
	}
	u.Host = net.JoinHostPort(u.Hostname(), port)
	u.Fragment, u.RawFragment = "", ""
	return u, nil
}

// dialFirst connects to the first of addrs that accepts. Each gets its share
// of the time that is left.
func (c *Client) dialFirst(ctx context.Context, network string, addrs []netip.Addr, port string) (net.Conn, error) {
	var first error
	for i, a := range addrs {
		conn, err := c.dialShare(ctx, network, net.JoinHostPort(a.String(), port), len(addrs)-i)
		if err == nil {
			return conn, nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, first
}

func (c *Client) dialShare(ctx context.Context, network, addr string, left int) (net.Conn, error) {
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/time.Duration(left))
		defer cancel()
	}
	return c.cfg.Dial(ctx, network, addr)
}
