// Package lsd is local service discovery (BEP 14): peers of a torrent find each other
// on their own network, by multicast.
//
// One Node serves all torrents of the process. It says which ones there are, on each
// interface that peers can reach us on, and reports who else says so. How often that
// is and how much is listened to is limited, whatever the network does.
//
// It does not know private torrents (BEP 27), which must not be announced with it, and
// it does not judge whether a peer is one.
package lsd

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// interval is how often a torrent is announced (BEP 14: "an interval of 5
	// minutes").
	interval = 5 * time.Minute
	// pause is the least time between two announces. (BEP 14: "a client should send
	// at most 1 announce per minute" to avoid multicast storms)
	pause = time.Minute
	// gather is how long a new torrent waits for others to be announced with it.
	gather = 50 * time.Millisecond
	// maxBurst bounds the datagrams of one announce on an interface.
	maxBurst = 4

	// What is taken of others: datagrams of one sender and of all in a window, and
	// senders kept account of.
	window     = 10 * time.Second
	maxOfOne   = 20
	maxOfAll   = 500
	maxSenders = 1000
)

// Config describes a Node.
type Config struct {
	// Addrs is where peers reach us. What is not reached from an interface's network
	// is not announced there. All have the same port.
	Addrs []netip.AddrPort
	// Allow says whether an interface may be used. nil: any.
	Allow func(net.Interface) bool
	// Logger gets what happens, at debug level; nil: none.
	Logger *slog.Logger
}

// Node takes part in local discovery. Its methods may be called from any goroutine.
type Node struct {
	log    *slog.Logger
	port   uint16
	cookie string
	links  []link
	wake   chan struct{} // has a token when somebody waits to be announced
	done   chan struct{}
	wg     sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	searches map[*Search]struct{}
	senders  map[netip.Addr]int // datagrams in this window
	heard    int
	windowAt time.Time
}

// link is a multicast group of one address family.
type link interface {
	// read waits for a datagram to the group.
	read(b []byte) (n int, from netip.AddrPort, err error)
	// send sends it on every interface; text is called with the group's Host.
	send(text func(host string) []byte)
	close()
}

// Search announces one torrent and reports its peers, until it is closed.
type Search struct {
	n    *Node
	hash [20]byte

	mu    sync.Mutex // held while found is called, so that Close waits for that
	found func([]netip.AddrPort)

	next time.Time // announce; guarded by n.mu
}

// New joins the groups of both address families. It is an error if none can be.
func New(cfg Config) (*Node, error) {
	if len(cfg.Addrs) == 0 {
		return nil, errors.New("lsd: nothing listens for peers")
	}
	var links []link
	var errs []error
	for _, open := range []func(Config) (link, error){open4, open6} {
		l, err := open(cfg)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		links = append(links, l)
	}
	if len(links) == 0 {
		return nil, errors.Join(errs...)
	}
	return start(cfg, links), nil
}

func start(cfg Config, links []link) *Node {
	n := &Node{
		log: cfg.Logger, port: cfg.Addrs[0].Port(), cookie: newCookie(), links: links,
		wake: make(chan struct{}, 1), done: make(chan struct{}),
		searches: map[*Search]struct{}{}, senders: map[netip.Addr]int{},
	}
	if n.log == nil {
		n.log = slog.New(slog.DiscardHandler)
	}
	for _, l := range links {
		n.wg.Go(func() { n.listen(l) })
	}
	n.wg.Go(n.announce)
	return n
}

func newCookie() string {
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// Search announces a torrent and calls found with each peer of it that is heard of, on
// a goroutine of the Node. found must not block and not call Close.
func (n *Node) Search(hash [20]byte, found func([]netip.AddrPort)) *Search {
	s := &Search{n: n, hash: hash, found: found}
	n.mu.Lock()
	s.next = time.Now()
	n.searches[s] = struct{}{}
	n.mu.Unlock()
	n.ring()
	return s
}

// Want does nothing: who is on the network answers to the announces anyway.
func (s *Search) Want() {}

// Close ends the search. Its found is not called any more.
func (s *Search) Close() {
	s.n.mu.Lock()
	delete(s.n.searches, s)
	s.n.mu.Unlock()
	s.mu.Lock()
	s.found = nil
	s.mu.Unlock()
}

// Close leaves the groups and waits for the goroutines.
func (n *Node) Close() {
	n.mu.Lock()
	if !n.closed {
		n.closed = true
		close(n.done)
	}
	n.mu.Unlock()
	for _, l := range n.links {
		l.close()
	}
	n.wg.Wait()
}

func (n *Node) ring() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// announce says from time to time which torrents there are.
func (n *Node) announce() {
	timer := time.NewTimer(0)
	timer.Stop() // until there is a torrent; those that come at once are told of together
	defer timer.Stop()
	var last time.Time
	for {
		select {
		case <-n.done:
			return
		case <-n.wake:
			timer.Reset(max(gather, time.Until(last.Add(pause))))
			continue
		case <-timer.C:
		}
		now := time.Now()
		hashes, next := n.due(now)
		for len(hashes) > 0 {
			k := min(len(hashes), hashesEach)
			n.say(hashes[:k])
			hashes, last = hashes[k:], now
		}
		if !next.IsZero() {
			timer.Reset(max(time.Until(next), time.Until(last.Add(pause))))
		}
	}
}

// due takes the torrents that are to be announced now, as many as one announce may
// hold, and returns when to look again, zero: when there are others.
func (n *Node) due(now time.Time) (hashes [][20]byte, next time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for s := range n.searches {
		if !s.next.After(now) && len(hashes) < maxBurst*hashesEach {
			hashes = append(hashes, s.hash)
			s.next = now.Add(interval)
		}
		if next.IsZero() || s.next.Before(next) {
			next = s.next
		}
	}
	return hashes, next
}

func (n *Node) say(hashes [][20]byte) {
	for _, l := range n.links {
		l.send(func(host string) []byte {
			return message{host: host, port: n.port, hashes: hashes, cookie: n.cookie}.append(nil)
		})
	}
	n.log.Debug("announced on the local network", "torrents", len(hashes))
}

// listen reports who else is there.
func (n *Node) listen(l link) {
	b := make([]byte, maxDatagram)
	for {
		k, from, err := l.read(b)
		if err != nil {
			select {
			case <-n.done:
				return
			case <-time.After(time.Second): // the network may come back
				continue
			}
		}
		if n.mayHear(time.Now(), from.Addr()) {
			n.hear(b[:k], from)
		}
	}
}

// mayHear counts a datagram and reports whether it may be looked at.
func (n *Node) mayHear(now time.Time, from netip.Addr) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if now.Sub(n.windowAt) >= window {
		clear(n.senders)
		n.windowAt, n.heard = now, 0
	}
	if _, known := n.senders[from]; !known && len(n.senders) >= maxSenders {
		return false
	}
	n.senders[from]++
	n.heard++
	return n.senders[from] <= maxOfOne && n.heard <= maxOfAll
}

func (n *Node) hear(b []byte, from netip.AddrPort) {
	m, err := parse(b)
	if err != nil || m.cookie == n.cookie {
		return
	}
	peer := []netip.AddrPort{netip.AddrPortFrom(from.Addr(), m.port)}
	for _, s := range n.about(m.hashes) {
		s.mu.Lock()
		if s.found != nil {
			s.found(peer)
		}
		s.mu.Unlock()
	}
}

// about returns the searches for some torrents.
func (n *Node) about(hashes [][20]byte) (list []*Search) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for s := range n.searches {
		for _, h := range hashes {
			if h == s.hash {
				list = append(list, s)
				break
			}
		}
	}
	return list
}
