package fetchtest

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

const (
	deadReaders = 16
	// slowdown is how much longer reads may take beside dead readers.
	slowdown = 1.2
)

// crowd is a swarm in which the first pieces are dead: no seed has them, and who says so
// lies.
type crowd struct {
	liars int
	fill  bool
	file  bool  // the reads go on through a file; without, they jump
	piece int64 // its length; zero means 256 KiB
}

// reads returns how long 60 reads of live pieces take, one after the other, while some
// readers wait for dead ones.
func (x crowd) reads(t *testing.T, seed uint64, dead int) (took []time.Duration) {
	t.Helper()
	piece := max(x.piece, 256*kib)
	w := NewWorld(seed, Torrent{PieceLength: piece, Total: 256 * piece, Seed: seed})
	c := w.AddClient("client", Link{Down: 5 * mb}, ClientConfig{Fast: true})
	for i := range 4 {
		c.Know(w.AddPeer("seed"+string(rune('a'+i)), "", Link{Up: 0.5 * mb, Delay: 25 * time.Millisecond}, Behavior{Fast: true, From: deadReaders}))
	}
	for i := range x.liars {
		c.Know(w.AddPeer("liar"+string(rune('a'+i)), "", Link{Up: mb, Delay: 5 * time.Millisecond}, Behavior{Fast: true, Lies: true}))
	}
	c.Fill(x.fill)
	for i := range dead {
		w.After(time.Second, func() {
			c.Open(32*mib).ReadAt(int64(i)*piece, 64*kib, func(time.Duration) { t.Error("a dead piece came") })
		})
	}
	h, rng := c.Open(32*mib), rand.New(rand.NewPCG(seed, 7))
	order := rng.Perm(240)
	var next func()
	next = func() {
		k := len(took)
		off := (deadReaders + int64(order[k])) * piece
		if x.file {
			off = (deadReaders + 100 + int64(k)) * piece
		}
		h.ReadAt(off, 64*kib, func(d time.Duration) {
			took = append(took, d)
			w.After(20*time.Millisecond, next)
		})
	}
	w.After(2*time.Second, next)
	if err := w.Run(60*time.Minute, func() bool { return len(took) == 60 }); err != nil || len(took) < 60 {
		t.Fatalf("seed %d, %d dead readers: %d reads, %v, %s", seed, dead, len(took), err, c.Summary())
	}
	return took
}

// "A dead piece blocks only who reads it. Sixteen readers on pieces that nobody has, and
// reads of other files answer within 1.2 x their usual time": of the same torrent, from
// the same peers, over the network.
func TestReadsBesideDeadPieces(t *testing.T) {
	for name, x := range map[string]crowd{
		"jumping":          {},
		"reading on":       {file: true},
		"with a fill":      {fill: true},
		"liars":            {liars: 2},
		"large":            {liars: 2, piece: 2 * mib},
		"liars and a fill": {liars: 2, fill: true, file: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var usual, beside []time.Duration
			for seed := range uint64(max(1, defaultRuns/150)) {
				usual = append(usual, x.reads(t, seed, 0)...)
				beside = append(beside, x.reads(t, seed, deadReaders)...)
			}
			slices.Sort(usual)
			slices.Sort(beside)
			for what, of := range map[string]func([]time.Duration) time.Duration{
				"mean":            mean,
				"95th percentile": func(d []time.Duration) time.Duration { return d[len(d)*95/100] },
			} {
				a, b := of(usual), of(beside)
				t.Logf("%s: %v, and %v beside %d dead readers", what, a, b, deadReaders)
				if float64(b) > slowdown*float64(a) {
					t.Errorf("%s of reads beside %d dead readers is %v, without them it is %v", what, deadReaders, b, a)
				}
			}
		})
	}
}

func mean(d []time.Duration) (sum time.Duration) {
	for _, x := range d {
		sum += x
	}
	return sum / time.Duration(len(d))
}
