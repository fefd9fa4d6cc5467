package swarm

import (
	"net/netip"
	"slices"
	"time"
)

// Sources of addresses.
const (
	FromUser    = "command line"
	FromMagnet  = "magnet link"
	FromTracker = "tracker"
	FromDHT     = "dht"
	FromPEX     = "pex"
	FromLSD     = "lsd"
	// Incoming is where a peer comes from that connected to us.
	Incoming = "incoming"
)

const (
	maxKnown    = 3000 // addresses remembered for a torrent
	maxFromPEX  = 1500 // of them, for peers say what they like
	firstRetry  = 5 * time.Second
	longestWait = 10 * time.Minute
	// aloneWait is the longest wait while no peer is connected: it may be our own
	// network that is away.
	aloneWait = time.Minute
)

// addresses is the book of peers that could be dialled.
type addresses struct {
	book  map[netip.AddrPort]*address
	queue []netip.AddrPort // in the order to try; each address of the book once
	known map[string]int   // how many are in the book, by source
}

type address struct {
	source   string // who named it first
	by       PeerID // with FromPEX: the peer
	busy     bool   // being dialled, or connected
	banned   bool
	useless  bool // a seed, met while we had everything
	failures int
	last     time.Time // when the last dial or connection ended
	next     time.Time // not to be dialled before
}

func newAddresses() *addresses {
	return &addresses{book: map[netip.AddrPort]*address{}, known: map[string]int{}}
}

// add remembers addr and reports whether it is new. by is the peer that named it, zero
// for other sources.
func (a *addresses) add(addr netip.AddrPort, source string, by PeerID) bool {
	if !addr.IsValid() || addr.Port() == 0 || a.book[addr] != nil || len(a.book) >= maxKnown ||
		source == FromPEX && a.known[FromPEX] >= maxFromPEX {
		return false
	}
	a.book[addr] = &address{source: source, by: by}
	a.queue = append(a.queue, addr)
	a.known[source]++
	return true
}

// remove forgets the address at place k of the queue.
func (a *addresses) remove(k int) {
	addr := a.queue[k]
	a.known[a.book[addr].source]--
	delete(a.book, addr)
	a.queue = slices.Delete(a.queue, k, k+1)
}

// takeBack forgets an address that a peer named and that was never tried.
func (a *addresses) takeBack(addr netip.AddrPort, by PeerID) {
	e := a.book[addr]
	if e == nil || e.source != FromPEX || e.by != by || e.busy || e.banned || e.failures > 0 {
		return
	}
	a.remove(slices.Index(a.queue, addr))
}

// sourceOf returns who named an address first, "" for one that is not known.
func (a *addresses) sourceOf(addr netip.AddrPort) string {
	if e := a.book[addr]; e != nil {
		return e.source
	}
	return ""
}

// next takes the next address to dial: of those that failed least often the one of
// the highest priority, of equals the one that waits longest. alone tells that no peer
// is connected.
func (a *addresses) next(now time.Time, alone bool, priority func(netip.AddrPort) uint32) (netip.AddrPort, bool) {
	best := -1
	var least int
	var most uint32
	for k, addr := range a.queue {
		e := a.book[addr]
		if !e.due(now, alone) || best >= 0 && e.failures > least {
			continue
		}
		if p := priority(addr); best < 0 || e.failures < least || p > most {
			best, least, most = k, e.failures, p
		}
	}
	if best < 0 {
		return netip.AddrPort{}, false
	}
	addr := a.queue[best]
	a.queue = append(slices.Delete(a.queue, best, best+1), addr)
	a.book[addr].busy = true
	return addr, true
}

// due reports whether there is an address to dial.
func (a *addresses) due(now time.Time, alone bool) bool {
	for _, e := range a.book {
		if e.due(now, alone) {
			return true
		}
	}
	return false
}

// fresh reports whether there is one to dial that was not tried yet.
func (a *addresses) fresh(now time.Time) bool {
	for _, e := range a.book {
		if e.failures == 0 && e.due(now, false) {
			return true
		}
	}
	return false
}

func (e *address) due(now time.Time, alone bool) bool {
	if e.busy || e.banned || e.useless {
		return false
	}
	return !now.Before(e.next) || alone && now.Sub(e.last) >= aloneWait
}

// met marks an address as connected.
func (a *addresses) met(addr netip.AddrPort) {
	if e := a.book[addr]; e != nil {
		e.busy = true
	}
}

// left frees an address after a failed dial or the end of a connection. A
// connection that was good for something starts the back-off anew.
func (a *addresses) left(now time.Time, addr netip.AddrPort, good bool) {
	e := a.book[addr]
	if e == nil {
		return
	}
	e.busy = false
	if good {
		e.failures = 0
	}
	wait := firstRetry << min(e.failures, 8)
	e.failures++
	e.last, e.next = now, now.Add(min(wait, longestWait))
}

// untried frees an address that was not dialled after all.
func (a *addresses) untried(addr netip.AddrPort) {
	if e := a.book[addr]; e != nil {
		e.busy = false
	}
}

// ban forbids an address for good. A full book gives up one that is not in use.
func (a *addresses) ban(addr netip.AddrPort) {
	if a.book[addr] == nil {
		for k := 0; len(a.book) >= maxKnown && k < len(a.queue); k++ {
			if e := a.book[a.queue[k]]; !e.busy && !e.banned {
				a.remove(k)
			}
		}
		a.add(addr, "", 0)
	}
	if e := a.book[addr]; e != nil {
		e.banned = true
	}
}

func (a *addresses) banned(addr netip.AddrPort) bool {
	e := a.book[addr]
	return e != nil && e.banned
}

// revive makes seeds worth dialling again: a piece was lost.
func (a *addresses) revive(now time.Time) {
	for _, e := range a.book {
		e.useless = false
		if e.next.After(now) {
			e.next = now
		}
	}
}

// forgive starts the back-off of all addresses anew.
func (a *addresses) forgive(now time.Time) {
	for _, e := range a.book {
		e.failures = 0
		if e.next.After(now) {
			e.next = now
		}
	}
}

// useless marks a seed that nothing can be wanted of while everything is had.
func (a *addresses) useless(addr netip.AddrPort) {
	if e := a.book[addr]; e != nil {
		e.useless = true
	}
}
