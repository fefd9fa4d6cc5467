// Package fetch owns the goroutines of downloads.
//
// A Session listens for peers and holds the torrents. Each Torrent has one
// goroutine that steps its swarm.Swarm with what happens and carries out what it
// says; connections, hashing, serving and announces run beside it and only send
// it events. Readers never touch peers: a Reader waits until its piece is in the
// cache, and reads the cache.
//
// What to do is decided in the pure packages below it (swarm, picker, readahead,
// layout); what bytes mean to a file system is decided above it.
package fetch

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/qqbtfs/qqbtfs/fetch/dht"
	"github.com/qqbtfs/qqbtfs/fetch/lsd"
	"github.com/qqbtfs/qqbtfs/fetch/tracker"
	"github.com/qqbtfs/qqbtfs/peerconn"
	"github.com/qqbtfs/qqbtfs/peerconn/blocklist"
	"github.com/qqbtfs/qqbtfs/peerconn/netpolicy"
	"github.com/qqbtfs/qqbtfs/peerconn/portmap"
	"github.com/qqbtfs/qqbtfs/peerconn/proto"
	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// PeerIDPrefix begins every peer id of this program, in Azureus style (BEP 20).
const PeerIDPrefix = "-QQ0001-"

// Config configures a Session. The zero value is ready for use.
type Config struct {
	// Listen has the addresses to accept peers on, as host:port. Empty: none.
	Listen []string
	// MaxPeers bounds the connections of one torrent; zero means 200. Of these at most
	// 80 are dialled for.
	MaxPeers int
	// MaxConns bounds the connections of all torrents; zero means 1,000. One that finds
	// none left gets its share in the place of the worst peers of those that have more.
	MaxConns int
	// ReadTimeout bounds the wait of one read; zero means for ever.
	ReadTimeout time.Duration
	// ReadAhead is the largest window of one reader in bytes; zero means 16 MiB.
	ReadAhead int64
	// DownloadLimit and UploadLimit are in bytes per second; zero means none.
	DownloadLimit, UploadLimit int64
	// NoUpload serves nobody.
	NoUpload bool
	// Policy is by which way sockets leave. nil: any.
	Policy *netpolicy.Policy
	// Encryption says which connections to peers are encrypted.
	Encryption peerconn.Encryption
	// Blocked has the addresses of peers to have nothing to do with, until SetBlocked
	// names others. nil: none.
	Blocked *blocklist.List
	// Discovery finds peers besides trackers.
	Discovery Discovery
	// Forward asks the gateway of the network to forward the port to us.
	Forward bool
	// Client is our name and version, as told to peers and trackers.
	Client string
	// Logger gets what happens; nil means nothing is logged. Connections and
	// pieces are logged at debug level.
	Logger *slog.Logger
	// Trace sees every wire message; nil means off.
	Trace func(addr netip.AddrPort, in bool, m wire.Message)
}

// Session runs torrents that share a listening port, limits and hashers.
type Session struct {
	cfg      Config
	log      *slog.Logger
	peerID   [20]byte
	driver   *peerconn.Net
	trackers *tracker.Client
	dht      *dht.DHT      // nil: none
	lsd      *lsd.Node     // nil: none
	download *rate.Limiter // shared with the driver; nil: no limit
	hashing  *workers
	serving  *workers
	network  *network
	watching sync.WaitGroup // the goroutine of watch
	done     chan struct{}  // closed by Close

	forward   *portmap.Mapping // nil: none
	blocked   atomic.Int64     // addresses that were turned away
	blocklist atomic.Pointer[blocklist.List]

	mu       sync.Mutex
	torrents map[[20]byte]*Torrent // by each of their info-hashes
	pending  map[[20]byte]*Pending
	claims   claims
	closed   bool
	failing  bool // FailReads was called
}

// ErrClosed is returned by operations on a closed session, torrent or reader.
var ErrClosed = errors.New("fetch: closed")

// NewSession listens and returns a session without torrents.
func NewSession(cfg Config) (*Session, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.ReadAhead == 0 {
		cfg.ReadAhead = 16 << 20
	}
	if cfg.Client == "" {
		cfg.Client = "qqbtfs"
	}
	if cfg.MaxConns == 0 {
		cfg.MaxConns = 1000
	}
	s := &Session{cfg: cfg, log: cfg.Logger, peerID: newPeerID(), torrents: map[[20]byte]*Torrent{}, pending: map[[20]byte]*Pending{}}
	s.blocklist.Store(cfg.Blocked)
	s.download = peerconn.NewLimiter(cfg.DownloadLimit)
	opt := peerconn.Options{
		Listen:        cfg.Listen,
		Accept:        s.accept,
		MaxConns:      cfg.MaxConns,
		DownloadLimit: s.download,
		UploadLimit:   peerconn.NewLimiter(cfg.UploadLimit),
		Policy:        cfg.Policy,
		Encryption:    cfg.Encryption,
		SecretKeys:    s.infoHashes,
		Blocked:       s.isBlocked,
		Logger:        cfg.Logger,
	}
	if cfg.Trace != nil {
		opt.Trace = func(c peerconn.Conn, in bool, m wire.Message) { cfg.Trace(c.Addr(), in, m) }
	}
	var err error
	if s.driver, err = peerconn.NewNet(opt); err != nil {
		return nil, err
	}
	if port := s.Port(); cfg.Forward && port != 0 {
		s.forward = portmap.Keep(portmap.Config{Port: port, Changed: s.portChanged, Policy: cfg.Policy, Logger: cfg.Logger})
	}
	s.trackers = tracker.NewClient(tracker.ClientConfig{
		UserAgent: cfg.Client, Logger: cfg.Logger, Dial: cfg.Policy.DialContext, Resolve: cfg.Policy.LookupNetIP,
	})
	s.startDiscovery()
	s.hashing = newWorkers(runtime.GOMAXPROCS(0))
	s.serving = newWorkers(4)
	s.network, s.done = newNetwork(), make(chan struct{})
	s.watching.Go(func() { s.watch(s.done) })
	return s, nil
}

// uploadSlots is for swarm.Config.
func (c *Config) uploadSlots() int {
	if c.NoUpload {
		return -1
	}
	return 0
}

func newPeerID() (id [20]byte) {
	const alphabet = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"
	n := copy(id[:], PeerIDPrefix)
	rand.Read(id[n:])
	for i := n; i < len(id); i++ {
		id[i] = alphabet[id[i]%64]
	}
	return id
}

// Addrs returns the addresses that the session accepts peers on.
func (s *Session) Addrs() []netip.AddrPort { return s.driver.ListenAddrs() }

// Port6 returns the port that peers reach us on over IPv6 alone, zero when that is Port
// or none.
func (s *Session) Port6() uint16 {
	for _, a := range s.Addrs() {
		if a.Addr().Is6() && a.Port() != s.Port() {
			return a.Port()
		}
	}
	return 0
}

// Port returns the port that peers reach us on, zero when none.
func (s *Session) Port() uint16 {
	if port := s.forward.Port(); port != 0 {
		return port
	}
	return s.localPort()
}

// localPort returns the port that we listen on, zero when none.
func (s *Session) localPort() uint16 {
	for _, a := range s.Addrs() {
		return a.Port()
	}
	return 0
}

// portFor returns the port that a peer reaches us on: the gateway's is not for those on
// this side of it.
func (s *Session) portFor(peer netip.Addr) uint16 {
	if nearness(peer) > 0 {
		return s.localPort()
	}
	return s.Port()
}

// portChanged has everybody told of the port that peers reach us on now.
func (s *Session) portChanged() {
	for _, t := range s.all() {
		t.announce.Moved()
		t.searches.Want()
	}
	for _, p := range s.allPending() {
		p.announce.Moved()
		p.searches.Want()
	}
}

// infoHashes are those of all torrents, also of those whose metadata is to come.
func (s *Session) infoHashes() [][20]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.AppendSeq(slices.Collect(maps.Keys(s.torrents)), maps.Keys(s.pending))
}

// isBlocked reports whether the blocklist has a, and counts that.
func (s *Session) isBlocked(a netip.Addr) bool {
	is := s.blocklist.Load().Has(a)
	if is {
		s.blocked.Add(1)
	}
	return is
}

// SetBlocked replaces the list of peers to have nothing to do with, and leaves those that
// are on it now.
func (s *Session) SetBlocked(list *blocklist.List) {
	s.blocklist.Store(list)
	var conns []peerconn.Conn
	for _, t := range s.all() {
		conns = append(conns, t.openConns()...)
	}
	for _, p := range s.allPending() {
		conns = append(conns, p.openConns()...)
	}
	for _, c := range conns {
		if s.isBlocked(c.Addr().Addr()) {
			c.Close(errBlocked)
		}
	}
}

var errBlocked = errors.New("on the blocklist")

// Blocked is how often an address was turned away for the blocklist.
func (s *Session) Blocked() int64 { return s.blocked.Load() }

// accept decides about an incoming connection.
func (s *Session) accept(remote wire.Handshake, addr netip.AddrPort) (proto.Config, peerconn.Handler, error) {
	s.mu.Lock()
	t, p := s.torrents[remote.InfoHash], s.pending[remote.InfoHash]
	s.mu.Unlock()
	switch {
	case t != nil:
		return t.admit(addr, remote)
	case p != nil:
		return p.admit(addr, remote)
	}
	return proto.Config{}, nil, fmt.Errorf("no torrent with info-hash %x", remote.InfoHash)
}

func (s *Session) registerPending(p *Pending) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	for _, h := range p.hashes {
		if s.torrents[h] != nil || s.pending[h] != nil {
			return fmt.Errorf("torrent %x is there already", h)
		}
	}
	for _, h := range p.hashes {
		s.pending[h] = p
	}
	return nil
}

func (s *Session) unregisterPending(p *Pending) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.pending, func(_ [20]byte, other *Pending) bool { return other == p })
}

func (s *Session) register(t *Torrent) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	for _, h := range t.hashes {
		if s.torrents[h] != nil {
			return fmt.Errorf("torrent %x is there already", h)
		}
	}
	for _, h := range t.hashes {
		s.torrents[h] = t
	}
	if s.failing {
		t.FailReads()
	}
	return nil
}

func (s *Session) unregister(t *Torrent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range t.hashes {
		if s.torrents[h] == t {
			delete(s.torrents, h)
		}
	}
}

// FailReads ends all waiting reads of all torrents with ErrClosed, now and from
// now on, also of those that are added later: the first step of a shutdown.
func (s *Session) FailReads() {
	s.mu.Lock()
	s.failing = true
	s.mu.Unlock()
	for _, t := range s.all() {
		t.FailReads()
	}
}

func (s *Session) all() []*Torrent {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*Torrent, 0, len(s.torrents))
	for h, t := range s.torrents {
		if h == t.hashes[0] {
			list = append(list, t)
		}
	}
	return list
}

func (s *Session) allPending() []*Pending {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*Pending, 0, len(s.pending))
	for h, p := range s.pending {
		if h == p.hashes[0] {
			list = append(list, p)
		}
	}
	return list
}

// Close closes all torrents and then everything that they share. ctx bounds
// the last announces.
func (s *Session) Close(ctx context.Context) error {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.done)
	}
	s.mu.Unlock()
	s.watching.Wait()
	var wg sync.WaitGroup
	wg.Go(s.forward.Close)
	for _, p := range s.allPending() {
		wg.Go(func() { p.Close(ctx) })
	}
	for _, t := range s.all() {
		wg.Go(func() { t.Close(ctx) })
	}
	wg.Wait()
	s.stopDiscovery()
	err := s.driver.Close()
	s.trackers.Close()
	s.hashing.close()
	s.serving.close()
	return err
}
