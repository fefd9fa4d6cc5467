package fetchtest

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/fetch/swarm"
)

var defaultRuns = 300

var (
	runs   = flag.Int("runs", 0, "how many random swarms to run; 0 means a few hundred")
	first  = flag.Uint64("first", 1, "the seed of the first of them")
	replay = flag.Uint64("seed", 0, "run only the random swarm of this seed, with a transcript")
)

// chaos is a random swarm around one client. One honest seed can always be
// dialled; everything else may be anything.
type chaos struct {
	*World
	rnd     *rand.Rand
	c       *Client
	others  []string // hosts that may come and go
	addrs   []netip.AddrPort
	liars   bool // somebody does not do what an honest peer does
	pending int  // reads not done
	busy    bool // reads are still to be started
	log     func(format string, args ...any)
}

func newChaos(seed uint64, log func(string, ...any)) *chaos {
	rnd := rand.New(rand.NewPCG(seed, 2))
	size := int64(1 + rnd.IntN(5*16*kib))
	w := NewWorld(seed, Torrent{PieceLength: size, Total: size*rnd.Int64N(40) + 1 + rnd.Int64N(size), Seed: seed})
	x := &chaos{World: w, rnd: rnd, log: log, busy: true}
	honest := rnd.IntN(3) == 0 // a third of the runs are among honest peers
	x.addPeer("honest", x.honest())
	for k := range rnd.IntN(9) {
		b := x.honest()
		if !honest {
			b = x.any()
		}
		name := fmt.Sprintf("peer%d", k)
		x.addPeer(name, b)
		x.others = append(x.others, name)
	}
	x.addClients()
	return x
}

func (x *chaos) addClients() {
	cfg := ClientConfig{Fast: x.rnd.IntN(4) > 0}
	if x.rnd.IntN(4) == 0 {
		cfg.Swarm.MaxPeers = 1 + x.rnd.IntN(4)
	}
	x.c = x.AddClient("client", x.link(), cfg)
	for k := range x.rnd.IntN(4) {
		name := fmt.Sprintf("leech%d", k)
		c := x.AddClient(name, x.link(), ClientConfig{Fast: x.rnd.IntN(4) > 0, Swarm: swarm.Config{UploadSlots: 1 + x.rnd.IntN(3)}})
		c.Know(append(x.addrs, x.c.addr)...)
		c.Fill(true)
		x.addrs = append(x.addrs, c.addr)
		x.others = append(x.others, name)
		x.log("%s at %v, %+v", name, c.addr, c.link)
	}
	x.rnd.Shuffle(len(x.addrs), func(i, j int) { x.addrs[i], x.addrs[j] = x.addrs[j], x.addrs[i] })
}

func (x *chaos) addPeer(name string, b Behavior) {
	beside := ""
	if x.rnd.IntN(8) == 0 && name != "honest" {
		beside = "honest"
	}
	l := x.link()
	addr := x.AddPeer(name, beside, l, b)
	x.addrs = append(x.addrs, addr)
	x.log("%s at %v, %+v, %+v", name, addr, l, b)
}

func (x *chaos) link() Link {
	l := Link{Up: 20 * kb * float64(int(1)<<x.rnd.IntN(9)), Delay: time.Duration(x.rnd.IntN(80)) * time.Millisecond}
	if x.rnd.IntN(3) == 0 {
		l.Jitter = time.Duration(1+x.rnd.IntN(100)) * time.Millisecond
	}
	return l
}

func (x *chaos) honest() Behavior {
	b := Behavior{Fast: x.rnd.IntN(3) > 0, Waits: time.Duration(x.rnd.IntN(2000)) * time.Millisecond}
	if x.rnd.IntN(6) == 0 {
		b.Chokes = time.Duration(2+x.rnd.IntN(20)) * time.Second
	}
	if x.rnd.IntN(6) == 0 {
		b.Leaves = time.Duration(5+x.rnd.IntN(60)) * time.Second
	}
	return b
}

// any is the behavior of somebody who may do anything.
func (x *chaos) any() Behavior {
	b := x.honest()
	if x.rnd.IntN(2) == 0 {
		b.Lacks = x.rnd.Float64()
	}
	switch x.rnd.IntN(9) {
	case 0:
		b.Mute = true
	case 1:
		b.Lies = true
	case 2:
		b.Stalls = 1 + x.rnd.IntN(20)
	case 3:
		b.Poison = 1
	case 4:
		b.Poison = x.rnd.Float64()
	case 5:
		b.Rejects = x.rnd.Float64()
	case 6:
		b.Echoes = true
	}
	x.liars = x.liars || b.Mute || b.Lies || b.Stalls > 0 || !b.Honest() || b.Rejects > 0 || b.Echoes
	return b
}

// live lets a minute of troubles begin, with reads in between.
func (x *chaos) live() {
	x.c.Know(x.addrs...)
	if x.rnd.IntN(2) == 0 {
		x.c.Fill(true)
	}
	for range 2 + x.rnd.IntN(20) {
		x.After(time.Duration(x.rnd.IntN(60_000))*time.Millisecond, x.trouble)
	}
	for range 1 + x.rnd.IntN(3) {
		h := x.c.Open(int64(x.rnd.IntN(8)) * x.torrent.PieceLength)
		for range 1 + x.rnd.IntN(10) {
			x.After(time.Duration(x.rnd.IntN(60_000))*time.Millisecond, func() { x.read(h) })
		}
	}
	x.After(61*time.Second, func() {
		x.busy = false
		x.c.Fill(true)
	})
}

func (x *chaos) read(h *Handle) {
	off := x.rnd.Int64N(x.torrent.Total)
	n := 1 + x.rnd.Int64N(2*x.torrent.PieceLength)
	x.pending++
	done := false
	r := h.ReadAt(off, n, func(took time.Duration) {
		done = true
		x.pending--
		x.log("%v: read %d+%d done in %v", x.Now(), off, n, took)
	})
	if x.rnd.IntN(5) == 0 {
		x.After(time.Duration(x.rnd.IntN(3000))*time.Millisecond, func() {
			if !done {
				h.Cancel(r)
				x.pending--
			}
		})
	}
}

func (x *chaos) trouble() {
	some := func() string { return x.others[x.rnd.IntN(len(x.others))] }
	switch op := x.rnd.IntN(9); {
	case op == 0:
		x.log("%v: the honest seed's connections break", x.Now())
		x.Cut("honest")
	case op == 1:
		x.log("%v: the client's connections break", x.Now())
		x.Cut("client")
	case op == 2:
		if i := x.rnd.IntN(x.torrent.NumPieces()); x.c.swarm.Has(i) {
			x.log("%v: piece %d is lost", x.Now(), i)
			x.c.lose(i)
		}
	case op == 6:
		d := time.Duration(x.rnd.IntN(90_000)) * time.Millisecond
		x.log("%v: the client is stopped for %v", x.Now(), d)
		x.Freeze("client", d)
	case op == 7:
		x.log("%v: the client was suspended, and its connections are dead", x.Now())
		x.suspend()
	case len(x.others) == 0:
	case op == 8:
		name := some()
		x.log("%v: %s vanishes", x.Now(), name)
		x.Vanish(name)
		x.After(time.Duration(x.rnd.IntN(30_000))*time.Millisecond, func() { x.Start(name) })
	case op == 3:
		name := some()
		x.log("%v: %s goes", x.Now(), name)
		x.Stop(name)
		x.After(time.Duration(x.rnd.IntN(30_000))*time.Millisecond, func() { x.Start(name) })
	default:
		x.Cut(some())
	}
}

// suspend has all hosts forget their connections, while the client's look alive.
func (x *chaos) suspend() {
	for _, name := range append([]string{"honest"}, x.others...) {
		was := x.byName[name].down
		x.Vanish(name)
		x.byName[name].down = was
	}
	x.c.Resumed()
}

// run lets the swarm live until all that was asked for is here.
func (x *chaos) run() error {
	x.live()
	limit := time.Hour
	err := x.Run(limit, func() bool { return !x.busy && x.pending == 0 && x.c.Complete() })
	switch {
	case err != nil:
		return err
	case x.pending > 0 || !x.c.Complete():
		return fmt.Errorf("%d reads not done after %v; %s", x.pending, limit, x.c.Summary())
	}
	return x.accounts()
}

// accounts checks the counters of a client that has everything.
func (x *chaos) accounts() error {
	st := x.c.swarm.Stats()
	if st.Downloaded != x.c.kept {
		return fmt.Errorf("downloaded %d bytes, verified %d", st.Downloaded, x.c.kept)
	}
	if allowed := st.Downloaded/20 + 32*16*kib; !x.liars && st.Wasted > allowed {
		return fmt.Errorf("wasted %d bytes among honest peers of %d", st.Wasted, st.Downloaded)
	}
	return nil
}

func TestRandomSwarms(t *testing.T) {
	if *replay != 0 {
		x := newChaos(*replay, t.Logf)
		x.c.seen = func(line string) { t.Logf("%v: %s", x.Now(), line) }
		if err := x.run(); err != nil {
			t.Fatal(err)
		}
		return
	}
	var longest time.Duration
	var slowest uint64
	n := *runs
	if n == 0 {
		n = defaultRuns
	}
	for seed := *first; seed < *first+uint64(n); seed++ {
		x := newChaos(seed, func(string, ...any) {})
		if err := x.run(); err != nil {
			t.Errorf("%v\nreplay with: go test ./fetch/fetchtest -run TestRandomSwarms -v -seed %d", err, seed)
		}
		if x.Now() > longest {
			longest, slowest = x.Now(), seed
		}
	}
	t.Logf("longest run: %v, seed %d", longest, slowest)
}
