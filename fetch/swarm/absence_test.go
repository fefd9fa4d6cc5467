package swarm

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

// Who was stopped for a minute has not listened: the peers' answers lie unread, and
// nobody is blamed for silence.
func TestNobodyIsSnubbedForOurAbsence(t *testing.T) {
	r := newRig(t, 20).seed(1, 2).fill()
	asked := r.requests()
	r.take()
	r.now = r.now.Add(time.Minute)
	r.do(Tick{}).silentOn("withdraw")
	for id, list := range asked {
		for _, q := range list {
			r.do(BlockReceived{id, q})
		}
	}
	r.wait(5 * time.Second).silentOn("withdraw")
	if r.stats.Wasted != 0 {
		t.Errorf("%d bytes wasted", r.stats.Wasted)
	}
	// Silence that we listened to counts.
	r.wait(4 * time.Second).says("withdraw")
}

// A connection that did not survive a suspend is given up after seconds, not after a
// minute; one that answers stays.
func TestPeersLostDuringASuspend(t *testing.T) {
	r := newRig(t, 20).seed(1, 2).fill()
	asked := r.requests()
	r.do(NetworkChanged{Slept: true}).take()
	r.wait(2 * time.Second).do(BlockReceived{2, asked[2][0]})
	r.wait(snubAfter - time.Second)
	got := r.take()
	if !slices.Contains(got, "disconnect 1: silent since a suspend") || r.peers[2] == nil {
		t.Errorf("it said %q", got)
	}
	// Without a suspend the connections are good, and a slow one is only snubbed.
	r = newRig(t, 20).seed(1).fill().do(NetworkChanged{})
	r.wait(snubAfter + time.Second).silentOn("disconnect")
}

// What could not be reached from one network is tried at once from the next, and more
// peers are looked for.
func TestAnotherNetworkForgives(t *testing.T) {
	r := newRig(t, 20).fill().do(PeersFound{Addrs: []netip.AddrPort{addr(1)}}).says("dial")
	for range 6 {
		r.do(DialFailed{Addr: addr(1)}).wait(time.Minute)
	}
	r.do(DialFailed{Addr: addr(1)}).wait(10 * time.Second).take()
	r.do(NetworkChanged{})
	got := r.take()
	if !slices.Contains(got, "dial 10.0.0.1:6881") || !slices.Contains(got, "find-peers") {
		t.Errorf("it said %q", got)
	}
}
