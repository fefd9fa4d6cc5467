package fetchtest

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/fetch/picker"
	"github.com/qqbtfs/qqbtfs/fetch/swarm"
)

// A download limit is one queue for all that comes, so what stands in it before the
// blocks of a waiting read holds the read up. Here it is the downlink, and forty seeds
// could fill it.
func TestLimitDoesNotHoldBackAWaitingRead(t *testing.T) {
	const limit = 200 * kb
	wait := func(limit int64) (took time.Duration, rate float64) {
		w := NewWorld(1, Torrent{PieceLength: 64 * kib, Total: 64 * mib})
		var addrs []netip.AddrPort
		for k := range 40 {
			addrs = append(addrs, w.AddPeer(fmt.Sprint("seed", k), "", Link{Up: 500 * kb, Delay: 25 * time.Millisecond}, Behavior{Fast: true}))
		}
		cfg := ClientConfig{Fast: true, Swarm: swarm.Config{Picker: picker.Config{Limit: limit}}}
		c := w.AddClient("client", Link{Down: 200 * kb}, cfg)
		c.Know(addrs...)
		c.Fill(true)
		w.After(20*time.Second, func() {
			rate = float64(c.received) / 20
			c.Open(0).ReadAt(50*mib, 64*kib, func(d time.Duration) { took = d })
		})
		if err := w.Run(time.Minute, func() bool { return took > 0 }); err != nil {
			t.Fatal(err)
		}
		return took, rate
	}
	unaware, _ := wait(0)
	took, rate := wait(limit)
	t.Logf("the read took %v, without knowing of the limit %v; the fill had %.0f kB/s of %.0f", took, unaware, rate/kb, limit/kb)
	if took > 1200*time.Millisecond || rate < 0.9*limit {
		t.Error("too slow")
	}
}

// What stands in a limit's queue is not late: nothing is asked of a second seed for that,
// which would stand in the same queue.
func TestLimitCostsNoSecondCopies(t *testing.T) {
	const limit, n = 100 * kb, mib
	w := NewWorld(1, Torrent{PieceLength: 256 * kib, Total: 64 * mib})
	c := w.AddClient("client", Link{Down: limit}, ClientConfig{Fast: true, Swarm: swarm.Config{Picker: picker.Config{Limit: limit}}})
	for k := range 40 {
		c.Know(w.AddPeer(fmt.Sprint("seed", k), "", Link{Up: 5 * mb, Delay: 5 * time.Millisecond}, Behavior{Fast: true}))
	}
	var begun, took time.Duration
	h, at := c.Open(32*mib), int64(0)
	var read func(time.Duration)
	read = func(time.Duration) {
		if took = w.Now() - begun; at < n {
			at, took = at+64*kib, 0
			h.ReadAt(50*mib+at-64*kib, 64*kib, read)
		}
	}
	w.After(time.Second, func() {
		begun = w.Now()
		read(0)
	})
	if err := w.Run(time.Minute, func() bool { return took > 0 }); err != nil {
		t.Fatal(err)
	}
	wasted, best := c.swarm.Stats().Wasted, time.Duration(n/limit*float64(time.Second))
	if t.Logf("%v, %v at best, %s wasted", took, best, size(wasted)); took > best+100*time.Millisecond || wasted > 0 {
		t.Error("too slow")
	}
}
