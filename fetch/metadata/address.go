package metadata

import (
	"net/netip"
	"time"
)

const (
	maxKnown   = 3000 // addresses that are remembered
	firstRetry = 5 * time.Second
	// longestRetry is short: before the metadata is here nothing else works.
	longestRetry = 2 * time.Minute
)

// addresses is the book of peers that could be dialled.
type addresses struct {
	book  map[netip.AddrPort]*address
	order []netip.AddrPort // as they came
}

type address struct {
	source   string // who named it first
	busy     bool   // being dialled, or connected
	banned   bool
	failures int
	next     time.Time // not to be dialled before
}

func (a *addresses) add(addr netip.AddrPort, source string) {
	addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	if ip := addr.Addr(); !addr.IsValid() || addr.Port() == 0 || ip.IsUnspecified() || ip.IsMulticast() ||
		a.book[addr] != nil || len(a.book) >= maxKnown {
		return
	}
	a.book[addr] = &address{source: source}
	a.order = append(a.order, addr)
}

// take returns an address to dial, those that failed least first.
func (a *addresses) take(now time.Time) (addr netip.AddrPort, ok bool) {
	var best *address
	for _, k := range a.order {
		if e := a.book[k]; e.free() && !now.Before(e.next) && (best == nil || e.failures < best.failures) {
			addr, best = k, e
		}
	}
	if best == nil {
		return addr, false
	}
	best.busy = true
	return addr, true
}

// next is when take will have one; zero: never.
func (a *addresses) next() (first time.Time) {
	for _, e := range a.book {
		if e.free() && (first.IsZero() || e.next.Before(first)) {
			first = e.next
		}
	}
	return first
}

func (e *address) free() bool { return !e.busy && !e.banned }

// untried frees an address that was not dialled after all.
func (a *addresses) untried(addr netip.AddrPort) {
	if e := a.book[addr]; e != nil {
		e.busy = false
	}
}

// left frees an address after a failed dial or the end of a connection.
func (a *addresses) left(now time.Time, addr netip.AddrPort, ban bool) {
	e := a.book[addr]
	if e == nil {
		return
	}
	e.busy = false
	e.banned = e.banned || ban
	e.next = now.Add(min(firstRetry<<min(e.failures, 8), longestRetry))
	e.failures++
}
