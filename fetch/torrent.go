package fetch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/qqbtfs/qqbtfs/cache"
	"github.com/qqbtfs/qqbtfs/fetch/layout"
	"github.com/qqbtfs/qqbtfs/fetch/metadata"
	"github.com/qqbtfs/qqbtfs/fetch/metainfo"
	"github.com/qqbtfs/qqbtfs/fetch/pex"
	"github.com/qqbtfs/qqbtfs/fetch/picker"
	"github.com/qqbtfs/qqbtfs/fetch/swarm"
	"github.com/qqbtfs/qqbtfs/peerconn/bitfield"
)

// TorrentConfig describes a torrent to Add.
type TorrentConfig struct {
	Meta *metainfo.MetaInfo
	// Store keeps the pieces. It stays the caller's to close, after the torrent.
	Store cache.Store
	// Pool is where buffers for pieces come from; nil means one of its own.
	Pool *cache.Pool
	// Fill completes the torrent in the background, while the Store has room for
	// it: see Roomy.
	Fill bool
	// FillAfter holds the fill back until the first reader or for so long: whoever
	// mounts a torrent lists it first, and a fast fill takes all processors.
	FillAfter time.Duration
	// Select says which files the fill is for, by their index in the metainfo; nil
	// means all. Other files are fetched as they are read.
	Select func(file int) bool
	// Peers are connected to directly.
	Peers []netip.AddrPort
	// Named are more of them as host:port, those of a magnet link.
	Named []string
	// Window bounds what is read ahead for all readers together, in bytes, so that a
	// small Store keeps it until it is read; zero means no bound but the readers' own.
	Window int64
	// Quiet announces to no tracker, and is looked for in no other way.
	Quiet bool
	// SeedOnly means that nothing is downloaded: a part of the content is a partial
	// seed (BEP 21).
	SeedOnly bool
	// SeedRatio ends the serving of peers when the torrent is complete, or SeedOnly, and
	// so many times the bytes that are here were uploaded; SeedTime when that has lasted
	// so long. Zero means no end.
	SeedRatio float64
	SeedTime  time.Duration
	// Seeding is what earlier runs gave, see Torrent.Seeding. It counts for both.
	Seeding swarm.Seeding

	found    []metadata.Known // peers that a Pending has found
	settling bool             // some of them have just been left, see resettle
}

// Roomy is what a Store may implement besides: while Full, a piece that is put
// pushes another one out, so the fill pauses and only what is read is fetched. Keeps is
// how many bytes of new pieces stay until they are read, and bounds the windows of all
// readers as TorrentConfig.Window does; zero means no bound.
type Roomy interface {
	Full() bool
	Keeps() int64
}

// Torrent is one torrent of a session. Its methods are safe for concurrent use.
type Torrent struct {
	s        *Session
	cfg      TorrentConfig
	log      *slog.Logger
	meta     *metainfo.MetaInfo
	hashes   [][20]byte // of its swarms: v1's, v2's, or both in this order
	lay      *layout.Layout
	sum      func(piece int) cache.Sum
	store    cache.Store
	pool     *cache.Pool
	announce announcers
	searches searches
	webs     []*webSeed
	tables   map[bool]*webTable // of webs, by byPiece
	in       *inbox[swarm.Event]
	waits    waits
	chosen   *selection // nil: all files

	hashServer *hashServer

	ctx       context.Context // ends when the torrent closes
	cancel    context.CancelFunc
	started   time.Time
	connected sync.WaitGroup // connections, until their Closed
	jobs      sync.WaitGroup // what goes on beside the loop: hashing, serving, look-ups, web seeds
	done      chan struct{}  // the loop has ended
	complete  chan struct{}  // closed once every piece is here
	seeded    chan struct{}  // closed once the seeding has reached its goal
	closeOnce sync.Once

	// Counters for the announcer, which must not wait for the loop.
	uploaded, downloaded atomic.Int64
	uploadOnly           atomic.Bool // what new connections are told

	mu       sync.Mutex // guards these
	closing  bool
	lastPeer swarm.PeerID
	peers    map[swarm.PeerID]*peer
	inV2     map[netip.AddrPort]bool // addresses that only the v2 swarm of a hybrid has named

	// Only the loop's goroutine uses these.
	swarm   *swarm.Swarm
	conns   map[swarm.PeerID]*peer
	buffers map[int]*cache.Buffer // of pieces begun
	scratch map[scratchKey][]byte // of second copies
	prover  *prover
	rates   rates
	talk    gossip
	events  []swarm.Event
}

// Add starts a torrent.
func (s *Session) Add(cfg TorrentConfig) (*Torrent, error) {
	m := cfg.Meta
	t := &Torrent{
		s: s, cfg: cfg, meta: m, hashes: m.Hashes(), lay: Layout(m), sum: Geometry(m).Sum, store: cfg.Store, pool: cfg.Pool,
		log:      s.log.With("torrent", m.Info.Name),
		in:       newInbox[swarm.Event](),
		started:  time.Now(),
		done:     make(chan struct{}),
		complete: make(chan struct{}),
		seeded:   make(chan struct{}),
		peers:    map[swarm.PeerID]*peer{},
		inV2:     map[netip.AddrPort]bool{},
		conns:    map[swarm.PeerID]*peer{},
		buffers:  map[int]*cache.Buffer{},
		scratch:  map[scratchKey][]byte{},
		talk:     gossip{talks: map[swarm.PeerID]*pex.Talk{}},
	}
	t.waits.init()
	t.waits.blocks = m.Info.HasV2
	t.prover, t.hashServer = newProver(t), newHashServer(t, m)
	if t.pool == nil {
		t.pool = NewPool(t.lay)
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	have := bitfield.New(t.lay.NumPieces())
	for i := range t.store.Pieces() {
		have.Add(i)
	}
	t.swarm = swarm.New(time.Now(), swarm.Config{
		Picker:   picker.Config{NumPieces: t.lay.NumPieces(), PieceSize: t.lay.PieceSize, Seed: rand.Uint64(), Limit: s.cfg.DownloadLimit},
		Have:     have,
		PeerID:   s.peerID,
		Port:     s.Port(),
		MaxPeers: s.cfg.MaxPeers,

		UploadSlots: s.cfg.uploadSlots(),
		UploadLimit: s.cfg.UploadLimit,
		SeedOnly:    cfg.SeedOnly,
		SeedRatio:   cfg.SeedRatio,
		SeedTime:    cfg.SeedTime,
		Seeding:     cfg.Seeding,
	})
	t.uploadOnly.Store(t.swarm.UploadOnly())
	t.chosen = t.selection()
	if have.All() || t.chosen.complete(t.store.Has) {
		close(t.complete)
	}
	t.announce = t.newAnnouncers()
	t.searches = t.newSearches()
	t.webs = t.newWebSeeds()
	t.AddPeers(cfg.Peers, swarm.FromUser)
	s.lookUp(t.ctx, &t.jobs, cfg.Named, t.log, func(a netip.AddrPort) {
		t.AddPeers([]netip.AddrPort{a}, swarm.FromMagnet)
	})
	for _, known := range cfg.found {
		t.AddPeers([]netip.AddrPort{known.Addr}, known.Source)
	}
	if cfg.settling {
		t.jobs.Go(t.resettle)
	}
	for _, w := range t.webs {
		t.jobs.Go(w.run)
	}
	if err := s.register(t); err != nil { // else the session may close it any moment
		t.searches.Close()
		t.cancel()
		t.jobs.Wait()
		return nil, err
	}
	t.waits.dirty = true
	go t.run()
	t.announce.Start()
	return t, nil
}

// Done returns a channel that is closed once every piece that the fill is for is here.
func (t *Torrent) Done() <-chan struct{} { return t.complete }

// Seeded returns a channel that is closed once the seeding has reached its goal:
// TorrentConfig.SeedRatio or SeedTime.
func (t *Torrent) Seeded() <-chan struct{} { return t.seeded }

// Seeding returns what was given to the swarm, in this run and in the earlier ones of
// TorrentConfig.Seeding; also after Close.
func (t *Torrent) Seeding() (s swarm.Seeding) {
	if !t.ask(func() { s = t.swarm.Seeding() }) {
		s = t.swarm.Seeding() // nobody else's now
	}
	return s
}

// Meta returns the torrent's metainfo.
func (t *Torrent) Meta() *metainfo.MetaInfo { return t.meta }

// AddPeers tells addresses of peers. Those on the blocklist are dropped.
func (t *Torrent) AddPeers(addrs []netip.AddrPort, source string) {
	t.in.post(swarm.PeersFound{Addrs: t.allowed(addrs), Source: source})
}

// allowed returns the addresses that the blocklist does not have.
func (t *Torrent) allowed(addrs []netip.AddrPort) []netip.AddrPort {
	if t.s.blocklist.Load().Len() == 0 {
		return addrs
	}
	return slices.DeleteFunc(slices.Clone(addrs), func(a netip.AddrPort) bool { return t.s.isBlocked(a.Addr()) })
}

// Lost tells that a piece is gone from the store: its Config.OnLost.
func (t *Torrent) Lost(index int, err error) {
	if errors.Is(err, cache.ErrEvicted) {
		t.log.Debug("piece evicted", "piece", index)
	} else {
		t.log.Warn("piece lost from the cache, fetching it again", "piece", index, "err", err)
	}
	t.in.post(swarm.PieceLost{Piece: index})
}

// Pinned reports whether a reader needs a piece now: it waits for it, or has it in
// its window.
func (t *Torrent) Pinned(index int) bool { return t.waits.needs(index) }

// FailReads ends all waiting reads with ErrClosed, now and from now on.
func (t *Torrent) FailReads() { t.waits.close() }

// Close leaves the swarm: reads fail, trackers are told within ctx, connections
// are closed and the hashers drained. The store is left open.
func (t *Torrent) Close(ctx context.Context) error {
	t.closeOnce.Do(func() {
		t.FailReads()
		t.mu.Lock()
		t.closing = true
		t.mu.Unlock()
		t.cancel()
		for _, c := range t.openConns() {
			c.Close(nil)
		}
		t.searches.Close()
		t.announce.Stop(ctx)
		t.connected.Wait()
		<-t.done
		t.jobs.Wait()
		t.prover.close()
		t.releaseBuffers()
		t.s.unregister(t)
	})
	return nil
}

func (t *Torrent) releaseBuffers() {
	for i, b := range t.buffers {
		b.Release()
		delete(t.buffers, i)
	}
}

// run is the torrent's goroutine.
func (t *Torrent) run() {
	defer close(t.done)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-t.ctx.Done():
			return
		case <-t.in.wake:
		case <-timer.C:
			t.swarm.Step(time.Now(), swarm.Tick{})
		}
		t.measure(time.Now()) // before the events, so that a first one finds its start sampled
		t.turn()
		timer.Reset(time.Until(t.swarm.Deadline()))
	}
}

// turn handles what has come in.
func (t *Torrent) turn() {
	events, calls, paused := t.in.take(t.events)
	for _, c := range paused {
		c.Resume()
	}
	now := time.Now()
	t.waits.bound(t.windows())
	if demand, changed := t.waits.demand(now, t.mayFill(), t.chosen); changed {
		t.swarm.Step(now, swarm.Wanted{Demand: demand})
	}
	for _, ev := range events {
		t.before(ev)
		t.swarm.Step(now, ev)
		t.tell(ev)
	}
	if t.waits.blocks {
		t.prover.want(now)
	}
	t.perform()
	for _, ev := range events {
		t.after(ev)
	}
	t.gossip(now)
	clear(events)
	t.events = events[:0]
	st := t.swarm.Stats()
	t.uploaded.Store(st.Uploaded)
	t.downloaded.Store(st.Downloaded)
	for _, f := range calls {
		f()
	}
}

// mayFill reports whether the fill goes on.
func (t *Torrent) mayFill() bool {
	return t.cfg.Fill && !t.full() && !t.chosen.done() && (t.waits.read() || time.Since(t.started) >= t.cfg.FillAfter)
}

// windows is how many pieces may be in the windows of all readers together; 0: no limit.
func (t *Torrent) windows() int {
	limit := t.cfg.Window
	if r, ok := t.store.(Roomy); ok {
		if n := r.Keeps() / 2; n > 0 && (limit == 0 || n < limit) {
			limit = n
		}
	}
	if limit == 0 {
		return 0
	}
	return max(1, int(limit/t.meta.Info.PieceLength))
}

// full reports whether the store has no room for what nobody asked for.
func (t *Torrent) full() bool {
	r, ok := t.store.(Roomy)
	return ok && r.Full()
}

// ask runs f on the torrent's goroutine and waits for it. It answers false when
// the torrent has ended.
func (t *Torrent) ask(f func()) bool {
	ran := make(chan struct{})
	t.in.call(func() { f(); close(ran) })
	select {
	case <-ran:
		return true
	case <-t.done:
		return false
	}
}

// progress prints how much is here, as in 74 / 79 (93.7%).
func (t *Torrent) progress() string {
	n, all := t.swarm.Count(), t.lay.NumPieces()
	return fmt.Sprintf("%d / %d (%.1f%%)", n, all, 100*float64(n)/float64(all))
}
