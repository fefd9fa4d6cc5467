package fetchtest

import (
	"testing"
	"time"
)

// TestOneSeed is the least that must work: a fill from one honest seed.
func TestOneSeed(t *testing.T) {
	for _, fast := range []bool{true, false} {
		w := NewWorld(1, Torrent{PieceLength: 40_000, Total: 1_000_001})
		addr := w.AddPeer("seed", "", Link{Up: 1e6, Delay: 10 * time.Millisecond}, Behavior{Fast: fast})
		c := w.AddClient("client", Link{Down: 5e5}, ClientConfig{Fast: true})
		c.Know(addr)
		c.Fill(true)
		if err := w.Run(time.Minute, c.Complete); err != nil {
			t.Fatal(err)
		}
		if !c.Complete() {
			t.Fatal(c.Summary())
		}
		if got := w.Now(); got < 2*time.Second || got > 3*time.Second {
			t.Errorf("1 MB took %v over a link of 500 kB/s", got)
		}
		if w.Sent() != w.torrent.Total {
			t.Errorf("the seed sent %d bytes of %d", w.Sent(), w.torrent.Total)
		}
	}
}
