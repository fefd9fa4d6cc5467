package fetch

import (
	"errors"
	"maps"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/qqbtfs/qqbtfs/fetch/swarm"
	"github.com/qqbtfs/qqbtfs/peerconn"
)

const (
	// lookEvery is how often the clocks are looked at.
	lookEvery = time.Second
	// addrsEvery is how often our addresses are. No kernel ends the connections of one
	// that is gone, and asking for them takes some microseconds.
	addrsEvery = 3 * time.Second
	// heldUp is how late a look must be for the program to have been stopped.
	heldUp = 3 * time.Second
	// longAbsence is when peers and trackers may have given us up.
	longAbsence = 30 * time.Second
)

var errAddressGone = errors.New("our address is gone")

// network watches for what no socket reports: that the program or the machine stood
// still, and that addresses of ours came or went.
type network struct {
	addrs func() (map[netip.Addr]bool, error)
	slept func() time.Duration // how long the machine was suspended, ever

	mu     sync.Mutex
	last   time.Time     // when looked at last
	missed time.Duration // how long the program stood still, by the clock of time.Now

	// Only the watching goroutine uses these.
	seen     map[netip.Addr]bool // as of seenAt
	seenAt   time.Time
	sleptAt  time.Duration // slept as of the last look
	missedAt time.Duration // missed as of the last look
}

// A change of the network is something to tell torrents.
type change struct {
	gone  map[netip.Addr]bool // addresses that we had
	came  bool                // some that we had not
	slept bool                // we stood still for so long that peers may have given us up
}

func (c change) any() bool { return len(c.gone) > 0 || c.came || c.slept }

func newNetwork() *network {
	n := &network{addrs: ourAddrs, slept: suspended, last: time.Now()}
	n.sleptAt = n.slept()
	n.seen, _ = n.addrs() // nil: the first that can be had are no news
	n.seenAt = n.last
	return n
}

// stoodStill returns how long the program stood still in all, up to now. Deadlines that
// are about what others do are put off by as much. Time of a suspend is not in it, for
// deadlines stand still then too.
func (n *network) stoodStill(now time.Time) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	if gap := now.Sub(n.last); gap >= lookEvery+heldUp {
		n.missed += gap - lookEvery
	}
	if now.After(n.last) {
		n.last = now
	}
	return n.missed
}

// look returns what has changed since the last look.
func (n *network) look(now time.Time) (c change) {
	missed, slept := n.stoodStill(now), n.slept()
	still := missed - n.missedAt + slept - n.sleptAt
	n.missedAt, n.sleptAt = missed, slept
	c.slept = still >= longAbsence
	if !c.slept && now.Sub(n.seenAt) < addrsEvery {
		return c
	}
	n.seenAt = now
	addrs, err := n.addrs()
	if err != nil {
		return c
	}
	if n.seen != nil {
		c.gone, c.came = without(n.seen, addrs), len(without(addrs, n.seen)) > 0
	}
	n.seen = addrs
	return c
}

// without returns what is in a and not in b.
func without(a, b map[netip.Addr]bool) map[netip.Addr]bool {
	rest := maps.Clone(a)
	maps.DeleteFunc(rest, func(x netip.Addr, _ bool) bool { return b[x] })
	return rest
}

// ourAddrs returns the machine's addresses that connections over a network can have.
func ourAddrs() (map[netip.Addr]bool, error) {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	addrs := map[netip.Addr]bool{}
	for _, a := range list {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().IsGlobalUnicast() {
			addrs[p.Addr().Unmap()] = true
		}
	}
	return addrs, nil
}

// suspended returns how long the machine was suspended, ever: one of two clocks goes on
// then. The calendar, which anybody may set, is asked nothing.
func suspended() time.Duration {
	var with, without unix.Timespec
	if unix.ClockGettime(clockWithSuspend, &with) != nil || unix.ClockGettime(clockWithoutSuspend, &without) != nil {
		return 0
	}
	return time.Duration(with.Nano() - without.Nano())
}

// watch tells the torrents what becomes of the network until done is closed.
func (s *Session) watch(done <-chan struct{}) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		c := s.network.look(time.Now())
		if !c.any() {
			continue
		}
		s.log.Info("the network changed", "addresses_gone", len(c.gone), "addresses_new", c.came, "stood_still", c.slept)
		s.forward.Moved()
		for _, t := range s.all() {
			t.networkChanged(c)
		}
		for _, p := range s.allPending() {
			p.networkChanged(c)
		}
	}
}

// networkChanged ends what cannot go on and starts anew what failed before.
func (t *Torrent) networkChanged(c change) {
	for _, conn := range t.openConns() {
		if c.gone[conn.LocalAddr().Addr()] {
			conn.Close(errAddressGone)
		}
	}
	t.in.post(swarm.NetworkChanged{Slept: c.slept})
	t.announce.Moved()
	t.searches.Want()
	for _, w := range t.webs {
		w.networkChanged()
	}
}

func (t *Torrent) openConns() []peerconn.Conn {
	t.mu.Lock()
	defer t.mu.Unlock()
	conns := make([]peerconn.Conn, 0, len(t.peers))
	for _, p := range t.peers {
		if p.conn != nil {
			conns = append(conns, p.conn)
		}
	}
	return conns
}
