package fetch

import (
	"bytes"
	"context"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/fetch/swarm"
	"github.com/qqbtfs/qqbtfs/fetch/webseed"
	"github.com/qqbtfs/qqbtfs/peerconn/bitfield"
	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// webRig is a webConn to an honest server under test, with what it owes.
type webRig struct {
	t       *testing.T
	c       content
	tor     *Torrent // whose loop does not run: what it is told is looked at here
	conn    *webConn
	owed    map[wire.Request][]byte // nil: abandoned
	retired [][]byte                // buffers that were taken back
	counts  [3]int                  // received, rejected, wasted
}

func newWebRig(t *testing.T, w *webServer) *webRig {
	c := makeContent(t, 4<<20+5, 256<<10)
	w.has(c)
	tor := &Torrent{
		s: newSession(t, Config{}), log: slog.New(slog.DiscardHandler), meta: c.meta, lay: Layout(c.meta),
		in: newInbox[swarm.Event](), peers: map[swarm.PeerID]*peer{}, ctx: context.Background(),
	}
	tor.waits.init()
	seed, err := tor.newWebSeed(c.meta.URLList[0], false, webName(0))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(seed.seed.Close)
	has := bitfield.New(tor.lay.NumPieces())
	has.Fill()
	conn := newWebConn(seed, tor.newPeer(seed.addr, false), has, webseed.Parallel)
	t.Cleanup(func() {
		conn.Close(nil)
		<-conn.done
	})
	return &webRig{t: t, c: c, tor: tor, conn: conn, owed: map[wire.Request][]byte{}}
}

// ask asks for a few blocks in a row that it does not owe.
func (r *webRig) ask(rnd *rand.Rand) {
	var reqs []wire.Request
	var dsts [][]byte
	piece, first, n := rnd.IntN(r.tor.lay.NumPieces()), rnd.IntN(16), 1+rnd.IntN(16)
	for k := first; k < min(first+n, r.tor.lay.NumBlocks(piece)); k++ {
		begin, length := r.tor.lay.Block(piece, k)
		req := wire.Request{Index: uint32(piece), Begin: uint32(begin), Length: uint32(length)}
		if _, owes := r.owed[req]; !owes {
			r.owed[req] = make([]byte, length)
			reqs, dsts = append(reqs, req), append(dsts, r.owed[req])
		}
	}
	r.conn.Request(reqs, dsts)
}

// withdraw takes some requests back, and spoils their buffers.
func (r *webRig) withdraw(rnd *rand.Rand) {
	var reqs []wire.Request
	for req, dst := range r.owed {
		if dst != nil && rnd.IntN(3) == 0 {
			reqs = append(reqs, req)
		}
	}
	r.conn.Abandon(reqs...)
	for _, req := range reqs {
		copy(r.owed[req], bytes.Repeat([]byte("!"), int(req.Length)))
		r.retired, r.owed[req] = append(r.retired, r.owed[req]), nil
	}
	r.conn.Cancel(reqs...)
}

// hear takes in what the torrent was told.
func (r *webRig) hear() {
	events, _, paused := r.tor.in.take(nil)
	for _, c := range paused {
		c.Resume()
	}
	for _, ev := range events {
		switch ev := ev.(type) {
		case swarm.BlockReceived:
			at := r.tor.lay.PieceOffset(int(ev.Req.Index)) + int64(ev.Req.Begin)
			// It may have been withdrawn since this was said.
			if dst := r.owed[ev.Req]; dst != nil && !bytes.Equal(dst, r.c.data[at:at+int64(ev.Req.Length)]) {
				r.t.Fatalf("%v was received with other bytes", ev.Req)
			}
			r.answered(ev.Req, 0)
		case swarm.BlockRejected:
			r.answered(ev.Req, 1)
		case swarm.BlockWasted:
			r.answered(ev.Req, 2)
		default:
			r.t.Fatalf("told %T", ev)
		}
	}
}

func (r *webRig) answered(req wire.Request, how int) {
	dst, owes := r.owed[req]
	if !owes || how > 0 && dst != nil {
		r.t.Fatalf("%v answered by %d: owed %t, abandoned %t", req, how, owes, dst == nil)
	}
	r.counts[how]++
	delete(r.owed, req)
}

// await waits for something that must happen.
func (r *webRig) await(c <-chan struct{}) {
	r.t.Helper()
	select {
	case <-c:
	case <-time.After(20 * time.Second):
		r.t.Fatal("it has not happened")
	}
}

// Each request is answered once: with its bytes if it was not withdrawn. No buffer is
// written that was taken back.
func TestWebConnAnswersOnce(t *testing.T) {
	r := newWebRig(t, newWebServer(t))
	rnd := rand.New(rand.NewPCG(1, 1))
	for range 3000 {
		switch rnd.IntN(3) {
		case 0:
			r.ask(rnd)
		case 1:
			if rnd.IntN(4) == 0 {
				r.withdraw(rnd)
			}
		default:
			select {
			case <-r.tor.in.wake:
			default:
			}
			r.hear()
		}
	}
	for end := time.After(20 * time.Second); len(r.owed) > 0; r.hear() {
		select {
		case <-r.tor.in.wake:
		case <-end:
			t.Fatalf("%d requests are never answered", len(r.owed))
		}
	}
	for _, b := range r.retired {
		if len(bytes.Trim(b, "!")) > 0 {
			t.Fatal("a buffer was written after it was taken back")
		}
	}
	if min(r.counts[0], r.counts[1]) == 0 {
		t.Errorf("received, rejected, wasted: %v", r.counts)
	}
	t.Logf("received, rejected, wasted: %v", r.counts)
}

// A request of which nothing is wanted any more is given up, also where nothing comes.
func TestWebConnGivesUpWhatIsWithdrawn(t *testing.T) {
	w := newWebServer(t)
	asked, ended := make(chan struct{}), make(chan struct{})
	w.first = func(rw http.ResponseWriter, r *http.Request) bool {
		close(asked)
		defer close(ended)
		return hang(rw, r)
	}
	r := newWebRig(t, w)
	for rnd := rand.New(rand.NewPCG(1, 1)); len(r.owed) == 0; {
		r.ask(rnd)
	}
	r.await(asked)
	reqs := slices.Collect(maps.Keys(r.owed))
	r.conn.Abandon(reqs...)
	r.conn.Cancel(reqs...)
	r.await(ended)
}

// A server that is busy gets half as many requests at a time by the next connection.
func TestBusyWebSeedIsAskedForLess(t *testing.T) {
	r := newWebRig(t, newWebServer(t))
	var cancel context.CancelFunc
	r.tor.ctx, cancel = context.WithCancel(context.Background())
	r.tor.in.take(nil)
	var ends sync.WaitGroup
	ends.Go(r.conn.w.run)
	defer ends.Wait()
	defer cancel()
	for _, want := range []int{webseed.Parallel, webseed.Parallel / 2, 1, 1} {
		var c *webConn
		for c == nil {
			r.await(r.tor.in.wake)
			events, _, _ := r.tor.in.take(nil)
			for _, ev := range events {
				if ev, ok := ev.(swarm.PeerConnected); ok {
					r.tor.mu.Lock()
					c = r.tor.peers[ev.Peer].conn.(*webConn)
					r.tor.mu.Unlock()
				}
			}
		}
		if c.places != want {
			t.Errorf("%d at a time, want %d", c.places, want)
		}
		c.Close(&webseed.BusyError{})
	}
}
