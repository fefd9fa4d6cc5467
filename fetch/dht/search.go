package dht

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	lib "github.com/anacrolix/dht/v2"
)

const (
	// announceEvery is how often a torrent is looked for and announced, well within
	// the time that others keep it.
	announceEvery = 15 * time.Minute
	// wantEvery is the least time between two lookups when peers run low.
	wantEvery = time.Minute
	// few peers are hardly a swarm: one of them is who announced himself before. After
	// a lookup that found no more the next comes in firstRetry; that doubles each time,
	// up to lastRetry.
	few                   = 2
	firstRetry, lastRetry = 5 * time.Second, 5 * time.Minute
	// lookupTimeout bounds one lookup.
	lookupTimeout = time.Minute
)

// Search looks for the peers of one torrent, until it is closed.
type Search struct {
	d      *DHT
	hash   [20]byte
	port   func() uint16
	wanted chan struct{} // has a token when peers run low
	cancel context.CancelFunc

	mu    sync.Mutex // held while found is called, so that Close waits for that
	found func(from netip.Addr, addrs []netip.AddrPort)
}

// Search looks for the peers of a torrent, now and from time to time, and announces
// that we take part in it at the TCP port that port returns then; zero announces nothing.
// found is called with what a node says, on goroutines of the DHT and not concurrently;
// it must not block.
func (d *DHT) Search(hash [20]byte, port func() uint16, found func(from netip.Addr, addrs []netip.AddrPort)) *Search {
	ctx, cancel := context.WithCancel(d.ctx)
	s := &Search{d: d, hash: hash, port: port, wanted: make(chan struct{}, 1), cancel: cancel}
	s.found = found
	d.mu.Lock()
	d.searches[s] = struct{}{}
	d.mu.Unlock()
	go s.run(ctx)
	return s
}

// report passes on what a node says.
func (s *Search) report(from netip.Addr, addrs []netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.found != nil {
		s.found(from, addrs)
	}
}

// announced reports a peer that announced itself to us: others may know it only later,
// and in a tiny network nobody else does.
func (d *DHT) announced(hash [20]byte, peer netip.AddrPort) {
	for _, s := range d.searchesFor(hash) {
		s.report(peer.Addr(), []netip.AddrPort{peer})
	}
}

// searched reports whether the peers of a torrent are looked for.
func (d *DHT) searched(hash [20]byte) bool { return len(d.searchesFor(hash)) > 0 }

func (d *DHT) searchesFor(hash [20]byte) (list []*Search) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for s := range d.searches {
		if s.hash == hash {
			list = append(list, s)
		}
	}
	return list
}

// Want tells that peers run low.
func (s *Search) Want() {
	select {
	case s.wanted <- struct{}{}:
	default:
	}
}

// Close ends the search: its found is not called any more, and no node is asked for the
// torrent or told of us. What the library has under way for it ends by itself.
func (s *Search) Close() {
	s.d.mu.Lock()
	delete(s.d.searches, s)
	s.d.mu.Unlock()
	s.cancel()
	s.mu.Lock()
	s.found = nil
	s.mu.Unlock()
}

func (s *Search) run(ctx context.Context) {
	for failed := 0; ; {
		n, ok := s.turn(ctx)
		if !ok {
			return
		}
		wait := announceEvery
		if failed++; n > few {
			failed = 0
		} else {
			wait = min(firstRetry<<min(failed-1, 10), lastRetry)
		}
		if !s.pause(ctx, wait) {
			return
		}
	}
}

// turn looks once, when there is room for it. False: the search is over.
func (s *Search) turn(ctx context.Context) (found int, ok bool) {
	select {
	case s.d.lookups <- struct{}{}:
		defer func() { <-s.d.lookups }()
	case <-ctx.Done():
		return 0, false
	}
	found = s.lookup(ctx)
	return found, ctx.Err() == nil
}

// pause waits for the next lookup.
func (s *Search) pause(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	began := time.Now()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
			return true
		case <-s.wanted:
			if left := wantEvery - time.Since(began); left < wait {
				timer.Reset(max(left, 0))
			}
		}
	}
}

// lookup asks the nodes closest to the torrent, in both families at once, and
// announces us to them. It returns how many peers they told of.
func (s *Search) lookup(ctx context.Context) int {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	counts := make([]int, len(s.d.nodes))
	var wg sync.WaitGroup
	for k, n := range s.d.nodes {
		wg.Go(func() { counts[k] = s.lookupIn(ctx, n) })
	}
	wg.Wait()
	sum := 0
	for _, n := range counts {
		sum += n
	}
	s.d.log.Debug("DHT lookup", "torrent", fmt.Sprintf("%x", s.hash), "peers", sum)
	return sum
}

func (s *Search) lookupIn(ctx context.Context, n *node) int {
	var opts []lib.AnnounceOpt
	if port := s.port(); port != 0 {
		opts = append(opts, lib.AnnouncePeer(lib.AnnouncePeerOpts{Port: int(port)}))
	}
	a, err := n.library().AnnounceTraversal(s.hash, opts...)
	if err != nil {
		s.d.log.Debug("DHT lookup", "err", err)
		return 0
	}
	defer context.AfterFunc(ctx, a.Close)()
	seen := make(map[netip.AddrPort]struct{}) // several nodes tell of the same ones
	for v := range a.Peers {
		addrs := make([]netip.AddrPort, len(v.Peers))
		for i, p := range v.Peers {
			addrs[i] = addrOf(p)
			seen[addrs[i]] = struct{}{}
		}
		if len(addrs) > 0 && ctx.Err() == nil {
			s.report(addrOf(v.Addr).Addr(), addrs)
		}
	}
	return len(seen)
}
