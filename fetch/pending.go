package fetch

import (
	"cmp"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/qqbtfs/qqbtfs/fetch/magnet"
	"github.com/qqbtfs/qqbtfs/fetch/metadata"
	"github.com/qqbtfs/qqbtfs/fetch/metainfo"
	"github.com/qqbtfs/qqbtfs/fetch/tracker"
	"github.com/qqbtfs/qqbtfs/peerconn"
)

// MagnetConfig describes a torrent of which only a magnet link is known.
type MagnetConfig struct {
	Link magnet.Link
	// Peers are connected to directly, like those of the link.
	Peers []netip.AddrPort
	// Quiet announces to no tracker.
	Quiet bool
}

// Pending is a torrent whose metadata is being fetched (BEP 9). It finds peers as a
// Torrent does, and becomes one by Torrent once Done. Its methods are safe for
// concurrent use.
type Pending struct {
	s        *Session
	cfg      MagnetConfig
	log      *slog.Logger
	hashes   [][20]byte // of its swarms, as Torrent has them
	announce announcers
	searches searches
	in       *inbox[metadata.Event]

	ctx       context.Context // ends with Close
	cancel    context.CancelFunc
	running   sync.WaitGroup // connections, until their Closed, and look-ups of names
	stopped   chan struct{}  // the loop has ended
	found     chan struct{}  // closed with the metadata, or without hope
	closeOnce sync.Once

	mu      sync.Mutex // guards these
	closing bool
	lastID  metadata.PeerID
	conns   map[metadata.PeerID]*source
	inbound int
	inV2    map[netip.AddrPort]bool // addresses of a hybrid that only the v2 swarm has named
	meta    *metainfo.MetaInfo
	err     error

	// Only the loop's goroutine uses these.
	fetch  *metadata.Fetch
	layers *layers // nil: none are looked for
	events []metadata.Event
}

// AddMagnet starts to fetch the metadata of a torrent.
func (s *Session) AddMagnet(cfg MagnetConfig) (*Pending, error) {
	l := cfg.Link
	p := &Pending{
		s: s, cfg: cfg,
		log:     s.log.With("torrent", l.Bare()),
		hashes:  magnetHashes(l),
		in:      newInbox[metadata.Event](),
		stopped: make(chan struct{}),
		found:   make(chan struct{}),
		conns:   map[metadata.PeerID]*source{},
		inV2:    map[netip.AddrPort]bool{},
	}
	p.fetch = metadata.New(metadata.Config{Verify: p.verify, MaxPeers: s.cfg.MaxPeers})
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.announce, p.searches = p.newAnnouncers(), p.newSearches()
	if err := s.registerPending(p); err != nil {
		p.searches.Close()
		p.cancel()
		return nil, err
	}
	p.AddPeers(cfg.Peers, "command line")
	p.lookUp(l.Peers)
	go p.run()
	p.announce.Start()
	return p, nil
}

func magnetHashes(l magnet.Link) (list [][20]byte) {
	if l.HasV1 {
		list = append(list, l.HashV1)
	}
	if l.HasV2 {
		list = append(list, [20]byte(l.HashV2[:]))
	}
	return list
}

// verify reports whether these bytes are what the link names.
func (p *Pending) verify(info []byte) bool {
	l := p.cfg.Link
	return (!l.HasV1 || sha1.Sum(info) == l.HashV1) && (!l.HasV2 || sha256.Sum256(info) == l.HashV2)
}

func (p *Pending) newAnnouncers() announcers {
	tiers := metainfo.Trackers(p.cfg.Link.Trackers)
	if p.cfg.Quiet {
		tiers = nil
	}
	var list announcers
	for i, hash := range p.hashes {
		list = append(list, tracker.NewAnnouncer(tracker.AnnouncerConfig{
			Client:   p.s.trackers,
			Tiers:    tiers,
			Snapshot: func() tracker.Request { return p.snapshot(hash) },
			OnPeers: func(addrs []netip.AddrPort, source string) {
				p.noteSwarm(i, addrs)
				p.AddPeers(addrs, source)
			},
			Logger: p.log,
		}))
	}
	return list
}

// newSearches looks for peers in each swarm. Whether the torrent is private (BEP 27) is
// in the metadata: until that is here nobody can know.
func (p *Pending) newSearches() (list searches) {
	if p.cfg.Quiet {
		return nil
	}
	for i, hash := range p.hashes {
		list = append(list, p.s.search(hash, func(addrs []netip.AddrPort, source string) {
			p.noteSwarm(i, addrs)
			p.AddPeers(addrs, source)
		})...)
	}
	return list
}

// snapshot is what trackers are told. How much is left nobody knows; what is not zero
// makes us no seed.
func (p *Pending) snapshot(hash [20]byte) tracker.Request {
	return tracker.Request{InfoHash: hash, PeerID: p.s.peerID, Port: cmp.Or(p.s.Port(), 1), Port6: p.s.Port6(), Left: metadata.PieceSize}
}

// noteSwarm remembers which of two swarms addresses are of.
func (p *Pending) noteSwarm(i int, addrs []netip.AddrPort) {
	if len(p.hashes) < 2 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range addrs {
		if i == 0 {
			delete(p.inV2, a)
		} else if len(p.inV2) < maxInV2 {
			p.inV2[a] = true
		}
	}
}

// AddPeers tells addresses of peers.
func (p *Pending) AddPeers(addrs []netip.AddrPort, source string) {
	if len(addrs) > 0 {
		p.log.Debug("peers found", "peers", len(addrs), "source", source)
		p.in.post(metadata.PeersFound{Addrs: addrs})
	}
}

// lookUp finds the addresses of the link's own peers.
func (p *Pending) lookUp(peers []string) {
	for _, s := range peers {
		if ap, err := netip.ParseAddrPort(s); err == nil {
			p.AddPeers([]netip.AddrPort{ap}, "magnet link")
			continue
		}
		p.running.Go(func() {
			host, port, _ := net.SplitHostPort(s)
			n, err := net.DefaultResolver.LookupPort(p.ctx, "tcp", port)
			if err != nil {
				return
			}
			ips, err := p.s.cfg.Policy.LookupNetIP(p.ctx, host)
			if err != nil && p.ctx.Err() == nil {
				p.log.Info("a peer in the magnet link has no address", "peer", s, "err", err)
			}
			for _, ip := range ips {
				p.AddPeers([]netip.AddrPort{netip.AddrPortFrom(ip, uint16(n))}, "magnet link")
			}
		})
	}
}

// Found is closed once Meta has an answer.
func (p *Pending) Found() <-chan struct{} { return p.found }

// Meta returns the metainfo, with the link's trackers and web seeds, or why there is
// none: nil and nil mean not yet, ErrClosed that nothing comes any more. Metadata that
// is what the link names and yet not valid is a *metainfo.Error.
func (p *Pending) Meta() (*metainfo.MetaInfo, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.meta, p.err
}

// settle is how long peers have to notice that our connections are closed: who has not
// yet refuses a second one from the same peer id, and is not dialled again for seconds.
const settle = 100 * time.Millisecond

// Torrent ends the search and starts the torrent itself, with all addresses that were
// found. cfg.Meta is set to Meta, which must be there.
func (p *Pending) Torrent(cfg TorrentConfig) (*Torrent, error) {
	meta, err := p.Meta()
	if meta == nil {
		return nil, fmt.Errorf("fetch: no metadata: %w", err)
	}
	p.mu.Lock()
	connected := len(p.conns) > 0
	p.mu.Unlock()
	now, cancel := context.WithCancel(context.Background())
	cancel()
	p.Close(now) // trackers are not told: the torrent goes on as the same peer
	if connected {
		<-time.After(settle)
	}
	cfg.Meta = meta
	cfg.Peers = slices.Concat(cfg.Peers, p.fetch.Addrs())
	return p.s.Add(cfg)
}

// Close leaves the swarm. ctx bounds the last announces.
func (p *Pending) Close(ctx context.Context) {
	p.closeOnce.Do(func() {
		p.mu.Lock()
		p.closing = true
		conns := slices.Collect(maps.Values(p.conns))
		p.mu.Unlock()
		p.cancel()
		for _, c := range conns {
			if conn := p.connOf(c); conn != nil {
				conn.Close(nil)
			}
		}
		p.searches.Close()
		p.announce.Stop(ctx)
		p.running.Wait()
		<-p.stopped
		p.s.unregisterPending(p)
		p.finish(nil, ErrClosed)
	})
}

// finish says how it ended. Only the first call counts.
func (p *Pending) finish(meta *metainfo.MetaInfo, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.meta == nil && p.err == nil {
		p.meta, p.err = meta, err
		close(p.found)
	}
}

// run is the goroutine that owns the Fetch.
func (p *Pending) run() {
	defer close(p.stopped)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-p.in.wake:
		case <-timer.C:
			p.fetch.Step(time.Now(), metadata.Tick{})
		}
		p.turn()
		if d := p.fetch.Deadline(); p.lacksLayers() {
			timer.Reset(layerPatience / 2)
		} else if d.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(time.Until(d))
		}
	}
}

// turn handles what has come in.
func (p *Pending) turn() {
	events, calls, paused := p.in.take(p.events)
	for _, c := range paused {
		c.Resume()
	}
	now := time.Now()
	for _, ev := range events {
		p.fetch.Step(now, ev)
	}
	for _, c := range p.fetch.Ready() {
		p.perform(c)
	}
	clear(events)
	p.events = events[:0]
	for _, f := range calls {
		f()
	}
	if p.lacksLayers() {
		p.layers.ask(now)
	}
}

// lacksLayers reports whether the info dictionary is here and piece layers are not.
func (p *Pending) lacksLayers() bool {
	m, err := p.Meta()
	return p.layers != nil && m == nil && err == nil
}

func (p *Pending) perform(c metadata.Command) {
	switch c := c.(type) {
	case metadata.Dial:
		p.dial(c.Addr)
	case metadata.Disconnect:
		if conn := p.conn(c.Peer); conn != nil {
			p.log.Debug("disconnecting", "peer", conn.Addr(), "why", c.Why)
			conn.Close(fmt.Errorf("fetch: %s", c.Why))
		}
	case metadata.Send:
		if conn := p.conn(c.Peer); conn != nil {
			conn.SendExtension(metadata.Extension, c.Payload)
		}
	case metadata.FindPeers:
		p.announce.WantPeers()
		p.searches.Want()
	case metadata.Found:
		meta, err := p.parse(c.Info)
		if err == nil && !meta.Info.HasV1 && len(meta.MissingLayers()) > 0 {
			p.layers = newLayers(p, meta, time.Now())
			return
		}
		p.finish(meta, err)
	}
}

// parse makes metainfo of the info dictionary.
func (p *Pending) parse(info []byte) (*metainfo.MetaInfo, error) {
	l := p.cfg.Link
	meta, err := metainfo.FromInfo(info, l.Trackers, l.WebSeeds)
	if err != nil {
		return nil, err
	}
	p.log.Info("metadata is here", "name", meta.Info.Name, "bytes", len(info))
	return meta, nil
}

// conn returns the connection of a peer, nil if it is gone.
func (p *Pending) conn(id metadata.PeerID) peerconn.Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.conns[id]; c != nil {
		return c.conn
	}
	return nil
}

func (p *Pending) connOf(c *source) peerconn.Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	return c.conn
}

// Status tells how far the search is. Sizes are not known yet.
func (p *Pending) Status() Status {
	st := Status{Name: p.cfg.Link.Name, InfoHash: fmt.Sprintf("%x", p.hashes[0]), State: "closed", Trackers: p.announce.Status()}
	if !p.cfg.Link.HasV1 {
		st.InfoHash = fmt.Sprintf("%x", p.cfg.Link.HashV2)
	}
	if st.Name == "" {
		st.Name = st.InfoHash
	}
	ran := make(chan struct{})
	p.in.call(func() {
		defer close(ran)
		s := p.fetch.Stats()
		st.KnownPeers, st.State = s.Known, "fetching metadata: "+metadataState(s)
	})
	select {
	case <-ran:
	case <-p.stopped:
		return st
	}
	if _, err := p.Meta(); err != nil {
		st.State = "metadata cannot be used: " + err.Error()
	}
	return st
}

func metadataState(s metadata.Stats) string {
	switch {
	case s.Pieces > 0:
		return fmt.Sprintf("%d / %d pieces from %s", s.Have, s.Pieces, count(s.Offering, "peer"))
	case s.Connected > 0:
		return "asking " + count(s.Connected, "peer")
	case s.Dialling > 0:
		return "connecting to " + count(s.Dialling, "peer")
	default:
		return "looking for peers"
	}
}
