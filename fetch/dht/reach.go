package dht

import (
	"net/netip"
	"time"
)

const (
	// probation is how long a node serves without being asked anything by a stranger
	// until it takes itself for unreachable.
	probation = 15 * time.Minute
	// retrial is how long it is read-only then, until it tries again.
	retrial = 2 * time.Hour
	// manyNodes is how many nodes we have to know for this: in a small network there
	// are no strangers.
	manyNodes = 50
)

// reach knows whether others can reach us: then somebody whom we have not asked asks
// us, sooner or later. Who is not reachable should be read-only (BEP 43), so that
// nobody keeps an address that does not answer. But nobody is asked whom nobody knows,
// so we begin by serving.
type reach struct {
	since time.Time // when a stranger last asked us, or a trial began
	few   bool      // we know too few nodes to tell
}

// heard tells that a stranger has asked us.
func (r *reach) heard(now time.Time) { r.since = now }

// readOnly reports whether we neither answer queries nor want them now.
func (r *reach) readOnly(now time.Time) bool {
	if r.few || now.Sub(r.since) >= probation+retrial {
		r.since = now
	}
	return now.Sub(r.since) >= probation
}

const (
	votesToWin = 5
	maxVotes   = 32
)

// votes finds our address from what others see (BEP 42, "ip"). Each network of a
// family has one vote, so that it takes several hosts to lie.
type votes struct {
	by     map[netip.Prefix]netip.Addr
	winner netip.Addr // of the last election; zero: none was decided yet
}

func (v *votes) add(voter, ours netip.Addr) {
	if !ours.IsValid() || !ours.IsGlobalUnicast() || ours.IsPrivate() {
		return
	}
	bits := 16
	if voter.Is6() {
		bits = 32
	}
	network, err := voter.Prefix(bits)
	if err != nil {
		return
	}
	if v.by == nil {
		v.by = map[netip.Prefix]netip.Addr{}
	}
	v.by[network] = ours
	counts := map[netip.Addr]int{}
	for _, a := range v.by {
		counts[a]++
	}
	if n := counts[ours]; n >= votesToWin && 3*n > 2*len(v.by) {
		v.winner = ours
		clear(v.by)
	} else if len(v.by) >= maxVotes {
		clear(v.by) // they do not agree
	}
}
