package fetch

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/cache/memstore"
)

// place is what a network sees of the machine, for tests.
type place struct {
	addrs map[netip.Addr]bool
	slept time.Duration
	err   error
}

func (p *place) network(now time.Time) *network {
	return &network{
		addrs: func() (map[netip.Addr]bool, error) { return maps.Clone(p.addrs), p.err },
		slept: func() time.Duration { return p.slept },
		last:  now, seen: maps.Clone(p.addrs), seenAt: now,
	}
}

func TestNetworkChanges(t *testing.T) {
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	now := time.Now()
	p := &place{addrs: map[netip.Addr]bool{a: true}}
	n := p.network(now)
	// after lets d pass, looking each second, and returns all that was found.
	after := func(d time.Duration) (all change) {
		all.gone = map[netip.Addr]bool{}
		for range d / time.Second {
			now = now.Add(time.Second)
			c := n.look(now)
			maps.Copy(all.gone, c.gone)
			all.came, all.slept = all.came || c.came, all.slept || c.slept
		}
		return all
	}
	if c := after(time.Minute); c.any() {
		t.Errorf("nothing happened, and it found %+v", c)
	}
	p.addrs = map[netip.Addr]bool{}
	if c := after(addrsEvery); !c.gone[a] || c.came || c.slept {
		t.Errorf("an address went: %+v", c)
	}
	p.err = errors.New("no answer")
	p.addrs = map[netip.Addr]bool{b: true}
	if c := after(addrsEvery); c.any() {
		t.Errorf("nobody knows: %+v", c)
	}
	p.err = nil
	if c := after(addrsEvery); !c.came || len(c.gone) > 0 {
		t.Errorf("another came: %+v", c)
	}
	p.slept += longAbsence - time.Second
	if c := after(5 * time.Second); c.any() {
		t.Errorf("a short sleep: %+v", c)
	}
	p.slept += time.Hour
	p.addrs = map[netip.Addr]bool{a: true}
	if c := after(time.Second); !c.slept || !c.came || !c.gone[b] { // addresses are looked at at once
		t.Errorf("a suspend into another network: %+v", c)
	}
	now = now.Add(longAbsence)
	if c := after(time.Second); !c.slept {
		t.Errorf("the program was stopped: %+v", c)
	}
	if c := after(time.Minute); c.any() {
		t.Errorf("it found something again: %+v", c)
	}
	// The time of a suspend is no part of what time.Now tells.
	if got := n.stoodStill(now); got != longAbsence {
		t.Errorf("it stood still for %v, want %v", got, longAbsence)
	}
}

// A read's patience is for peers: it does not run out while the program is stopped.
func TestPatienceStandsStillWithUs(t *testing.T) {
	c := makeContent(t, 100_000, 64<<10)
	s := newSession(t, Config{ReadTimeout: time.Minute})
	tor := add(t, s, TorrentConfig{Meta: c.meta, Store: memstore.New(Geometry(c.meta))})
	now := time.Now()
	a := &attempt{r: &Reader{t: tor}, end: now.Add(time.Minute)}
	a.deadline()
	s.network.mu.Lock()
	s.network.last = now.Add(-time.Hour)
	s.network.mu.Unlock()
	if !a.putOff() || time.Until(a.end) < 59*time.Minute {
		t.Errorf("after an hour's stop %v are left", time.Until(a.end))
	}
	if a.putOff() {
		t.Error("put off twice for one stop")
	}
	a.leave()
}

// Connections from an address that is gone end; those from others do not.
func TestConnectionsOfAGoneAddressEnd(t *testing.T) {
	c := makeContent(t, 1<<20, 64<<10)
	tor := add(t, newSession(t, Config{}), TorrentConfig{Meta: c.meta, Store: memstore.New(Geometry(c.meta)), Peers: c.seeders(t, 1)})
	await := func(peers int) {
		for end := time.Now().Add(20 * time.Second); len(tor.Status().Peers) != peers; {
			if time.Now().After(end) {
				t.Fatalf("%d peers, want %d", len(tor.Status().Peers), peers)
			}
		}
	}
	await(1)
	since := tor.Status().Peers[0].Since
	tor.networkChanged(change{gone: map[netip.Addr]bool{netip.MustParseAddr("192.0.2.1"): true}})
	checkRead(t, tor, c)
	if st := tor.Status(); len(st.Peers) != 1 || !st.Peers[0].Since.Equal(since) {
		t.Errorf("a connection of another address ended: %+v", st.Peers)
	}
	tor.networkChanged(change{gone: map[netip.Addr]bool{netip.MustParseAddr("127.0.0.1"): true}})
	await(0)
}

func TestWatchEndsWithTheSession(t *testing.T) {
	s := newSession(t, Config{})
	s.Close(context.Background())
	select {
	case <-s.done:
	default:
		t.Error("nobody told the watching goroutine")
	}
	s.watching.Wait()
}
