package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/qqbtfs/qqbtfs/cache"
	"github.com/qqbtfs/qqbtfs/cache/badgerstore"
	"github.com/qqbtfs/qqbtfs/fetch"
	"github.com/qqbtfs/qqbtfs/fetch/swarm"
	"github.com/qqbtfs/qqbtfs/peerconn/blocklist"
	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// A mount has to be gone two seconds after it was told to, whatever its trackers do.
const (
	closeTimeout = time.Second            // of the last announces when a node closes
	farewell     = 300 * time.Millisecond // what they have at least, however long the unmount took
)

// node is this process's part in the swarms: a session and its torrents, each
// with its store.
type node struct {
	a     *app
	sess  *fetch.Session
	peers []netip.AddrPort
	net   *netFlags

	joining sync.WaitGroup // who joins torrents while the node runs; they end with the session
	stop    func()         // ends what goes on besides
	jobs    sync.WaitGroup // that

	mu      sync.Mutex // guards these
	members []*member
	pending []*loaded // torrents whose metadata is not here
}

// member is one torrent of a node.
type member struct {
	*loaded
	t     *fetch.Torrent
	store *cache.Cache
	ram   string        // why there is no disk; "": there is
	dir   string        // its own in the cache directory; need not exist
	kept  swarm.Seeding // what is in it of the seeding, as far as this process knows
	// lost, if not nil, is told of pieces that are gone from the store.
	lost atomic.Pointer[func(index int)]
}

// newNode starts a session that listens as the flags say.
func (a *app) newNode(flags *netFlags, readTimeout time.Duration) (*node, error) {
	if err := a.openLogFile(); err != nil {
		return nil, err
	}
	peers, err := flags.peers.resolve(context.Background(), flags.policy)
	if err != nil {
		return nil, err
	}
	cfg := fetch.Config{
		Listen:        flags.listen.list,
		MaxPeers:      flags.maxPeers,
		MaxConns:      flags.maxConns,
		ReadTimeout:   readTimeout,
		DownloadLimit: int64(flags.down),
		UploadLimit:   int64(flags.up),
		NoUpload:      flags.noUpload,
		Policy:        flags.policy,
		Encryption:    flags.mode(),
		Blocked:       flags.blocked,
		Forward:       flags.forward,
		Client:        userAgent(),
		Discovery:     flags.discovery(string(a.common.cacheDir)),
		Logger:        a.log.Logger,
	}
	if s := flags.policy.String(); s != "" {
		a.log.Info("network", "is", s)
	}
	if flags.blocked != nil {
		a.logBlocklist(flags.blocked)
	}
	for _, p := range peers {
		if flags.blocked.Has(p.Addr()) {
			a.log.Warn("a peer that --peer names is on the blocklist", "peer", p)
		}
	}
	if a.common.verbose >= 2 {
		cfg.Trace = a.traceMessage
	}
	sess, err := listen(cfg)
	if err != nil {
		return nil, err
	}
	n := &node{a: a, sess: sess, peers: peers, net: flags}
	var ctx context.Context
	ctx, n.stop = context.WithCancel(context.Background())
	n.jobs.Go(func() { every(ctx, keepSeedingEvery, n.keepSeeding) })
	if flags.blocklist != "" {
		n.jobs.Go(func() { every(ctx, blocklistEvery, n.watchBlocklist) })
	}
	return n, nil
}

// blocklistEvery is how often the blocklist's file is looked at.
const blocklistEvery = 5 * time.Second

// watchBlocklist reads the blocklist again if its file has changed. One that cannot be
// read leaves the list as it is.
func (n *node) watchBlocklist() {
	if !n.net.blocklistChanged() {
		return
	}
	if err := n.net.loadBlocklist(); err != nil {
		n.a.log.Warn("the blocklist stays as it was", "err", err)
		return
	}
	n.a.logBlocklist(n.net.blocked)
	n.sess.SetBlocked(n.net.blocked)
}

// keepSeeding keeps what all torrents have given.
func (n *node) keepSeeding() {
	n.mu.Lock()
	members := slices.Clone(n.members)
	n.mu.Unlock()
	for _, m := range members {
		m.keepSeeding(n.a)
	}
}

func (a *app) logBlocklist(l *blocklist.List) {
	a.log.Info("blocklist", "ranges", l.Len(), "lines_skipped", l.Skipped)
}

// traceMessage logs a wire message.
func (a *app) traceMessage(addr netip.AddrPort, in bool, m wire.Message) {
	dir := "to"
	if in {
		dir = "from"
	}
	a.log.Log(context.Background(), levelTrace, "message", dir, addr, "is", m.String())
}

// listen starts a session. Without a choice of the user it takes the first free
// port from 6881 on, or any; with a proxy none, for a port of this machine's would give
// away what the proxy hides.
func listen(cfg fetch.Config) (*fetch.Session, error) {
	if len(cfg.Listen) > 0 || cfg.Policy.Proxied() {
		s, err := fetch.NewSession(cfg)
		return s, listenError(err)
	}
	for port := 6881; ; port++ {
		if port == 6890 {
			port = 0
		}
		cfg.Listen = []string{fmt.Sprintf(":%d", port)}
		s, err := fetch.NewSession(cfg)
		if port == 0 || !errors.Is(err, syscall.EADDRINUSE) {
			return s, listenError(err)
		}
	}
}

func listenError(err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w: choose another port with --listen", err)
	}
	if errors.Is(err, syscall.EADDRNOTAVAIL) {
		return fmt.Errorf("%w: this machine has no such address, choose one of its own with --listen, or a port alone for all", err)
	}
	return err
}

// joinOptions say how a torrent takes part.
type joinOptions struct {
	disk  cache.Store // becomes the member's; nil: only memory
	ram   string      // why nothing is kept on disk, in words; with a disk, that is only read
	flags cacheFlags
	fill  bool
	// seedOnly: what is missing is not downloaded either.
	seedOnly bool
	after    time.Duration // for the fill to begin, see fetch.TorrentConfig.FillAfter
}

// close closes what no member has taken over.
func (o joinOptions) close() error {
	if o.disk == nil {
		return nil
	}
	return o.disk.Close()
}

// join adds a torrent to the node.
func (n *node) join(l *loaded, opt joinOptions) (*member, error) {
	m := &member{loaded: l, dir: torrentDir(string(n.a.common.cacheDir), l)}
	if opt.disk == nil {
		m.ram = opt.ram
	}
	pool := fetch.NewPool(fetch.Layout(l.meta))
	var torrent atomic.Pointer[fetch.Torrent]
	m.store = cache.New(cache.Config{
		Geometry: fetch.Geometry(l.meta),
		Disk:     opt.disk,
		ReadOnly: opt.ram != "",
		RAM:      int64(opt.flags.ram),
		Pool:     pool,
		Quota:    badgerstore.Capacity(int64(opt.flags.limit)),
		Logger:   n.a.log.With("torrent", l.meta.Info.Name),
		Pinned: func(index int) bool {
			t := torrent.Load()
			return t != nil && t.Pinned(index)
		},
		OnLost: func(index int, err error) {
			if t := torrent.Load(); t != nil {
				t.Lost(index, err)
			}
			if f := m.lost.Load(); f != nil {
				(*f)(index)
			}
		},
	})
	var err error
	m.t, err = n.start(l, fetch.TorrentConfig{
		Meta: l.meta, Store: m.store, Pool: pool, Fill: opt.fill, FillAfter: opt.after, Peers: n.peers, Window: window(opt),
		Select: l.selects(), SeedOnly: opt.seedOnly, SeedRatio: n.net.ratio, SeedTime: time.Duration(n.net.seedTime),
		Seeding: m.recallSeeding(n.a),
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", shownSource(l.source), err), m.store.Close())
	}
	torrent.Store(m.t)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.members = append(n.members, m)
	n.pending = slices.DeleteFunc(n.pending, func(other *loaded) bool { return other == l })
	return m, nil
}

// start adds a torrent to the session. One whose metadata has just come goes on with
// the peers that have been found.
func (n *node) start(l *loaded, cfg fetch.TorrentConfig) (*fetch.Torrent, error) {
	if l.pending != nil {
		return l.pending.Torrent(cfg)
	}
	if l.link != nil {
		cfg.Named = l.link.Peers
	}
	return n.sess.Add(cfg)
}

// window is how much may be read ahead: half of a limited cache, so that it is
// still there when it is read.
func window(opt joinOptions) int64 {
	return badgerstore.Capacity(int64(opt.flags.limit)) / 2
}

// close leaves the swarms and closes the stores.
func (n *node) close() error { return n.closeSince(time.Now()) }

// closeSince closes a node of which the end began some time ago.
func (n *node) closeSince(began time.Time) error {
	ctx, cancel := context.WithTimeout(context.Background(), max(closeTimeout-time.Since(began), farewell))
	defer cancel()
	errs := []error{n.sess.Close(ctx)}
	n.joining.Wait()
	n.stop()
	n.jobs.Wait()
	n.keepSeeding()
	for _, m := range n.members {
		if err := m.store.Close(); err != nil {
			errs = append(errs, failf(codeDisk, "%s: %w", m.meta.Info.Name, err))
		}
	}
	return errors.Join(errs...)
}

// deliverFor is how long connections stay open after the last block was written: closing
// one on which the peer has written too takes away what is on its way.
const deliverFor = time.Second

// untilSeeded returns a context that ends with ctx, or when every torrent has been
// seeded as much as the flags ask for.
func (n *node) untilSeeded(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	if n.net.ratio == 0 && n.net.seedTime == 0 {
		return ctx, cancel
	}
	members, ended := n.members, make(chan struct{})
	go func() {
		defer close(ended)
		for _, m := range members {
			select {
			case <-m.t.Seeded():
			case <-ctx.Done():
			}
		}
		select {
		case <-time.After(deliverFor):
		case <-ctx.Done():
		}
		cancel()
	}()
	return ctx, func() { cancel(); <-ended }
}

func (n *node) status() []fetch.Status {
	n.mu.Lock() // once: a torrent whose metadata has come goes from one list to the other
	members, pending := slices.Clone(n.members), slices.Clone(n.pending)
	n.mu.Unlock()
	out := make([]fetch.Status, len(members))
	for i, m := range members {
		out[i] = m.t.Status()
		if m.ram != "" {
			out[i].Cache.State = m.ram + ": RAM only"
		}
	}
	return append(out, n.pendingStatus(pending)...)
}

func (n *node) addrs() []string {
	var out []string
	for _, a := range n.sess.Addrs() {
		out = append(out, a.String())
	}
	return out
}

// openCache opens the torrent's own directory in the cache directory: the pieces,
// a copy of the .torrent file, and its name for people who look around. A magnet link
// finds the torrent from then on.
func (a *app) openCache(cacheDir, scratch string, l *loaded, flags cacheFlags) (joinOptions, error) {
	dir := torrentDir(cacheDir, l)
	opt := joinOptions{flags: flags}
	if limit := int64(flags.limit); limit > 0 && badgerstore.Capacity(limit) < 4*l.meta.Info.PieceLength {
		a.log.Warn("--cache-size is too small for pieces of that size, working from memory", "torrent", l.meta.Info.Name, "piece", formatBytes(l.meta.Info.PieceLength))
		opt.ram = "--cache-size is too small"
		return opt, nil
	}
	if err := describeCache(dir, l); err != nil {
		return opt, failf(codeDisk, "cache directory: %w", err)
	}
	if !a.isKept(l) {
		a.keep(l)
	}
	disk, err := badgerstore.Open(filepath.Join(dir, "pieces"), fetch.Geometry(l.meta), badgerstore.Options{
		MinFree: int64(flags.minFree),
		Quota:   int64(flags.limit),
		Scratch: scratch,
		Logger:  a.log.quiet(&a.common).With("torrent", l.meta.Info.Name),
	})
	if errors.Is(err, badgerstore.ErrLocked) {
		return opt, failf(codeDisk, "%s is mounted already (its cache is in use): see qqbtfs status, or give another --cache-dir", l.meta.Info.Name)
	}
	if err != nil {
		return opt, failf(codeDisk, "cache of %s: %w", l.meta.Info.Name, err)
	}
	opt.disk = disk
	return opt, nil
}

// torrentDir is the torrent's own directory in the cache directory.
func torrentDir(cacheDir string, l *loaded) string {
	return filepath.Join(cacheDir, cache.KeyOf(l.meta.InfoRaw).String())
}

// readCache opens what is of the torrent in a cache directory that cannot be written,
// without a change of anything in it. New pieces stay in memory.
func (a *app) readCache(cacheDir, scratch string, l *loaded, flags cacheFlags) joinOptions {
	opt := joinOptions{ram: "directory not writable", flags: flags}
	disk, err := badgerstore.OpenReadOnly(filepath.Join(torrentDir(cacheDir, l), "pieces"), fetch.Geometry(l.meta), badgerstore.Options{
		Scratch: scratch,
		Logger:  a.log.quiet(&a.common).With("torrent", l.meta.Info.Name),
	})
	switch {
	case err == nil:
		opt.disk = disk
	case !errors.Is(err, fs.ErrNotExist):
		a.log.Info("the pieces in the cache directory are not used", "torrent", l.meta.Info.Name, "err", err)
	}
	return opt
}

// describeCache makes dir and writes into it what it is. A full disk is no reason
// to fail: the mount works without.
func describeCache(dir string, l *loaded) error {
	if err := makePrivateDir(dir); err != nil {
		if errors.Is(err, syscall.ENOSPC) {
			return nil
		}
		return err
	}
	for name, content := range map[string][]byte{
		"meta.torrent": l.raw,
		"name":         []byte(l.meta.Info.Name + "\n"),
	} {
		path := filepath.Join(dir, name)
		if fi, err := os.Stat(path); err == nil && fi.Size() == int64(len(content)) {
			continue
		}
		if err := writeFile(path, content, 0o600, unsynced); err != nil && !errors.Is(err, syscall.ENOSPC) {
			return err
		}
	}
	return nil
}

// writeMode says how careful writeFile is.
type writeMode int

const (
	// onlyNew refuses to replace a file, with an error that is fs.ErrExist.
	onlyNew writeMode = iota
	replace
	// unsynced replaces without waiting for the disk: after a power loss the file
	// may be short.
	unsynced
)

// writeFile writes a whole file or nothing of it.
func writeFile(path string, content []byte, perm fs.FileMode, mode writeMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(content)
	err = errors.Join(err, f.Chmod(perm))
	if mode != unsynced {
		err = errors.Join(err, f.Sync())
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if mode == onlyNew {
		return linkOrRename(f.Name(), path)
	}
	return os.Rename(f.Name(), path)
}

// linkOrRename gives the file tmp the name path if that is free. Where the file
// system knows no links, somebody who takes the name meanwhile loses it.
func linkOrRename(tmp, path string) error {
	err := os.Link(tmp, path)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	if _, serr := os.Lstat(path); serr == nil {
		return fs.ErrExist
	}
	return os.Rename(tmp, path)
}
