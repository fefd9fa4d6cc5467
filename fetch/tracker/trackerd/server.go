package trackerd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/qqbtfs/qqbtfs/peerconn/netpolicy"
)

// Options configure a Server. The zero value is ready for use.
type Options struct {
	// Interval is the wait between announces that clients are told. Zero means
	// 2 minutes. Peers expire after twice that and a minute.
	Interval time.Duration
	// MaxTorrents and MaxPeers, of one torrent, bound the memory: about 150
	// bytes a peer. Zero means 1,000 each.
	MaxTorrents, MaxPeers int
	// Policy is where to be reached. Nil means everywhere.
	Policy *netpolicy.Policy
	// Logger gets a debug line per announce. Nil means none.
	Logger *slog.Logger
}

// Server is a tracker. Its methods are safe for concurrent use.
type Server struct {
	opt      Options
	registry registry
	secret   [32]byte // of UDP connection ids
	http     http.Server
	running  sync.WaitGroup

	mu        sync.Mutex // protects what follows
	tcp       net.Listener
	udp       *net.UDPConn
	closed    bool
	closedSig chan struct{} // closed by Close
}

// New returns a Server that does not listen yet.
func New(opt Options) *Server {
	if opt.Interval <= 0 {
		opt.Interval = 2 * time.Minute
	}
	if opt.MaxTorrents <= 0 {
		opt.MaxTorrents = 1000
	}
	if opt.MaxPeers <= 0 {
		opt.MaxPeers = 1000
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{opt: opt, closedSig: make(chan struct{})}
	s.registry = registry{
		ttl: 2*opt.Interval + time.Minute, maxTorrents: opt.MaxTorrents, maxPeers: opt.MaxPeers,
		swarms: make(map[[20]byte]*swarm),
	}
	rand.Read(s.secret[:]) // never fails
	mux := http.NewServeMux()
	mux.HandleFunc("GET /announce", s.serveAnnounce)
	mux.HandleFunc("GET /scrape", s.serveScrape)
	s.http = http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 5 * time.Second,
		WriteTimeout:      10 * time.Second,
		IdleTimeout:       30 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(opt.Logger.Handler(), slog.LevelDebug),
	}
	return s
}

// Listen binds addr (host:port; port 0 picks one) for HTTP and UDP and serves
// both in the background. It is called once.
func (s *Server) Listen(addr string) error {
	tcp, udp, err := bind(s.opt.Policy, addr)
	if err != nil {
		return fmt.Errorf("tracker: listen on %s: %w", addr, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.tcp != nil {
		tcp.Close()
		udp.Close()
		return errors.New("tracker: is closed or listens already")
	}
	s.tcp, s.udp = tcp, udp
	s.running.Go(func() { s.http.Serve(tcp) })
	s.running.Go(func() { s.serveUDP(udp) })
	return nil
}

// bind gets the same port for both protocols.
func bind(policy *netpolicy.Policy, addr string) (net.Listener, *net.UDPConn, error) {
	var err error
	ctx := context.Background()
	for range 10 { // a port that is free for TCP may be taken for UDP
		var tcp net.Listener
		if tcp, err = policy.Listen(ctx, "tcp", addr); err != nil {
			return nil, nil, err
		}
		var udp net.PacketConn
		if udp, err = policy.ListenPacket(ctx, "udp", samePort(addr, tcp.Addr())); err == nil {
			return tcp, udp.(*net.UDPConn), nil
		}
		tcp.Close()
	}
	return nil, nil, err
}

func samePort(addr string, bound net.Addr) string {
	host, _, _ := net.SplitHostPort(addr)
	_, port, _ := net.SplitHostPort(bound.String())
	return net.JoinHostPort(host, port)
}

// ListenAndServe is Listen that returns when the Server is closed, with nil.
func (s *Server) ListenAndServe(addr string) error {
	if err := s.Listen(addr); err != nil {
		return err
	}
	<-s.closedSig
	return nil
}

// Addr returns where the Server listens, or the zero value before Listen.
func (s *Server) Addr() netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tcp == nil {
		return netip.AddrPort{}
	}
	return s.tcp.Addr().(*net.TCPAddr).AddrPort()
}

// Close stops listening and waits, for at most a second, for answers under way.
func (s *Server) Close() error {
	s.mu.Lock()
	first, udp := !s.closed, s.udp
	s.closed = true
	s.mu.Unlock()
	if !first {
		s.running.Wait()
		return nil
	}
	close(s.closedSig)
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = s.http.Close()
	}
	if udp != nil {
		err = errors.Join(err, udp.Close())
	}
	s.running.Wait()
	return err
}

func (s *Server) closing() bool {
	select {
	case <-s.closedSig:
		return true
	default:
		return false
	}
}

func (s *Server) logAnnounce(a announce) {
	s.opt.Logger.Debug("tracker: announce", "peer", a.peer, "info_hash", fmt.Sprintf("%x", a.infoHash), "left", a.left, "event", a.event)
}
