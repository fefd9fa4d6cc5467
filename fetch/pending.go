package fetch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/qqbtfs/qqbtfs/fetch/magnet"
	"github.com/qqbtfs/qqbtfs/fetch/metadata"
	"github.com/qqbtfs/qqbtfs/fetch/metainfo"
	"github.com/qqbtfs/qqbtfs/fetch/swarm"
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
	callers []metadata.Known        // where peers listen that have connected to us
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
	p.AddPeers(cfg.Peers, swarm.FromUser)
	s.lookUp(p.ctx, &p.running, l.Peers, p.log, func(a netip.AddrPort) {
		p.AddPeers([]netip.AddrPort{a}, swarm.FromMagnet)
	})
	if err := s.registerPending(p); err != nil {
		p.searches.Close()
		p.cancel()
		p.running.Wait()
		return nil, err
	}
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
		p.in.post(metadata.PeersFound{Addrs: addrs, Source: source})
	}
}

// lookUp tells found the addresses of peers that are given as host:port, of those with
// names once they are known. Those look-ups run in wg and end with ctx.
func (s *Session) lookUp(ctx context.Context, wg *sync.WaitGroup, peers []string, log *slog.Logger, found func(netip.AddrPort)) {
	for _, peer := range peers {
		if ap, err := netip.ParseAddrPort(peer); err == nil {
			found(ap)
			continue
		}
		wg.Go(func() {
			host, port, _ := net.SplitHostPort(peer)
			n, err := strconv.ParseUint(port, 10, 16)
			if err != nil {
				return
			}
			ips, err := s.cfg.Policy.LookupNetIP(ctx, host)
			if err != nil && ctx.Err() == nil {
				log.Info("a peer in the magnet link has no address", "peer", peer, "err", err)
			}
			for _, ip := range ips {
				found(netip.AddrPortFrom(ip, uint16(n)))
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

// Peers refuse a second connection from the same peer id while they have not noticed that
// the first one is closed. Most do at once: they are dialled after settle. Some look only
// every half second: who has failed by then is dialled again after resettle.
const (
	settle   = 100 * time.Millisecond
	resettle = time.Second
)

// Torrent ends the search and starts the torrent itself, with the peers of the link and
// all addresses that were found. Those of a private torrent it gets anew from its
// trackers, for nobody else may have named them (BEP 27). cfg.Meta is set to Meta, which
// must be there.
func (p *Pending) Torrent(cfg TorrentConfig) (*Torrent, error) {
	meta, err := p.Meta()
	if meta == nil {
		return nil, fmt.Errorf("fetch: no metadata: %w", err)
	}
	p.mu.Lock()
	connected, callers := len(p.conns) > 0, p.callers
	p.mu.Unlock()
	now, cancel := context.WithCancel(context.Background())
	cancel()
	p.Close(now) // trackers are not told: the torrent goes on as the same peer
	if connected {
		<-time.After(settle)
	}
	cfg.Meta, cfg.Named, cfg.settling = meta, p.cfg.Link.Peers, connected
	if !meta.Info.Private {
		cfg.found = append(p.fetch.Addrs(), callers...)
	}
	return p.s.Add(cfg)
}

// resettle gives peers that cannot be connected to another chance soon.
func (t *Torrent) resettle() {
	select {
	case <-t.ctx.Done():
	case <-time.After(resettle):
		t.in.post(swarm.NetworkChanged{})
	}
}

// farewell bounds the last announces of a torrent whose metadata has not come: trackers
// that forget us later do little harm.
const farewell = 300 * time.Millisecond

// Close leaves the swarm. ctx bounds the last announces.
func (p *Pending) Close(ctx context.Context) {
	p.closeOnce.Do(func() {
		ctx, cancel := context.WithTimeout(ctx, farewell)
		defer cancel()
		p.mu.Lock()
		p.closing = true
		p.mu.Unlock()
		p.cancel()
		for _, conn := range p.openConns() {
			conn.Close(nil)
		}
		p.searches.Close()
		p.announce.Stop(ctx)
		p.running.Wait()
		<-p.stopped
		p.s.unregisterPending(p)
		p.finish(nil, ErrClosed)
	})
}

// networkChanged is that of Torrent.
func (p *Pending) networkChanged(c change) {
	for _, conn := range p.openConns() {
		if c.gone[conn.LocalAddr().Addr()] {
			conn.Close(errAddressGone)
		}
	}
	p.announce.Moved()
	p.searches.Want()
}

func (p *Pending) openConns() []peerconn.Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	conns := make([]peerconn.Conn, 0, len(p.conns))
	for _, c := range p.conns {
		if c.conn != nil {
			conns = append(conns, c.conn)
		}
	}
	return conns
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

// verify reports whether an info dictionary is what the link names. One that has only one
// of the link's two hashes tells that there is none which has both.
func (p *Pending) verify(info []byte) bool {
	l := p.cfg.Link
	if l.Names(info) {
		return true
	}
	v1, v2 := l, l
	v1.HasV2, v2.HasV1 = false, false
	if v1.Names(info) || v2.Names(info) {
		p.finish(nil, errors.New("the magnet link names two torrents: its info-hashes do not belong together"))
	}
	return false
}

// parse makes metainfo of the info dictionary.
func (p *Pending) parse(info []byte) (*metainfo.MetaInfo, error) {
	l := p.cfg.Link
	meta, err := metainfo.FromInfo(info, l.Trackers, l.WebSeeds)
	if err != nil {
		return nil, err
	}
	if meta.Info.Private {
		p.searches.Close() // BEP 27: from now on trackers only
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

// Status tells how far the search is. Sizes are not known yet.
func (p *Pending) Status() Status {
	hash := p.cfg.Link.HashString()
	st := Status{Name: cmp.Or(p.cfg.Link.Name, hash), InfoHash: hash, State: "closed", Trackers: p.announce.Status()}
	ran := make(chan struct{})
	p.in.call(func() {
		defer close(ran)
		s := p.fetch.Stats()
		st.KnownPeers, st.State = s.Known, "fetching metadata: "+metadataState(s)
	})
	select {
	case <-ran:
	case <-p.stopped:
	}
	switch m, err := p.Meta(); {
	case m != nil:
		st.Name, st.State = m.Info.Name, "metadata is here"
	case err != nil && !errors.Is(err, ErrClosed):
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
	case s.TooLarge:
		return "looking for other peers, for one says that it is larger than 30 MiB, which is not accepted"
	case s.Wrong:
		return "looking for other peers, for what one gave is not what the magnet link names"
	case s.Known > 0:
		return "looking for peers, none of " + count(s.Known, "known one") + " answers"
	default:
		return "looking for peers"
	}
}
