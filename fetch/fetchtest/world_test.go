package fetchtest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/fetch/swarm"
	"github.com/qqbtfs/qqbtfs/peerconn/wire"
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

// TestSameSeedSameRun is what makes a failure worth printing its seed.
func TestSameSeedSameRun(t *testing.T) {
	transcript := func(seed uint64) string {
		var b strings.Builder
		x := newChaos(seed, func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) })
		x.c.seen = func(line string) { fmt.Fprintf(&b, "%v %s\n", x.Now(), line) }
		if err := x.run(); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	for seed := range uint64(5) {
		if once, again := transcript(seed), transcript(seed); once != again {
			t.Errorf("two runs of seed %d differ", seed)
		}
	}
}

// TestWatch proves that a World sees what must never happen.
func TestWatch(t *testing.T) {
	for want, spoil := range map[string]func(w *World, c *Client){
		"both write": func(w *World, c *Client) {
			c.occupy(1, wire.Request{})
			c.occupy(2, wire.Request{})
		},
		"honest peer banned": func(w *World, c *Client) {
			w.banned(c, swarm.Banned{Addr: w.byName["seed"].addr})
		},
		"bytes received":   func(w *World, c *Client) { c.received++ },
		"nothing to adopt": func(w *World, c *Client) { c.perform(swarm.Adopt{}) },
		"without a buffer": func(w *World, c *Client) { c.perform(swarm.Verify{}) },
		"which it has not": func(w *World, c *Client) { c.perform(swarm.Serve{}) },
	} {
		w := NewWorld(1, Torrent{PieceLength: 100, Total: 1000})
		w.AddPeer("seed", "", Link{}, Behavior{})
		c := w.AddClient("client", Link{}, ClientConfig{})
		spoil(w, c)
		if err := w.Run(time.Second, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

// TestSpoiledBlocksDoNotVerify proves that provenance is checked at all.
func TestSpoiledBlocksDoNotVerify(t *testing.T) {
	w := NewWorld(1, Torrent{PieceLength: 40_000, Total: 100_000, Seed: 3})
	for i := range w.torrent.NumPieces() {
		b := make([]byte, w.torrent.PieceSize(i))
		w.torrent.blocks(i, b, func(r wire.Request, b []byte) { w.torrent.fill(b, r) })
		if good, _ := w.torrent.verify(i, b); !good {
			t.Fatalf("piece %d: good bytes do not verify", i)
		}
		spoil(w.rnd, b)
		if good, sums := w.torrent.verify(i, b); good || len(sums) == 0 {
			t.Fatalf("piece %d: bad bytes verify", i)
		}
	}
}
