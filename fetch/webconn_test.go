package fetch

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/qqbtfs/qqbtfs/fetch/layout"
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
	return webRigOf(t, newSession(t, Config{}), c)
}

func webRigOf(t *testing.T, s *Session, c content) *webRig {
	tor := &Torrent{
		s: s, log: slog.New(slog.DiscardHandler), meta: c.meta, lay: Layout(c.meta),
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
	first := rnd.IntN(16)
	r.askFor(first, first+1+rnd.IntN(16), rnd.IntN(r.tor.lay.NumPieces()))
}

// askFor asks for blocks [first, end) of some pieces, those that it does not owe.
func (r *webRig) askFor(first, end int, pieces ...int) {
	var reqs []wire.Request
	var dsts [][]byte
	for _, piece := range pieces {
		for k := first; k < min(end, r.tor.lay.NumBlocks(piece)); k++ {
			begin, length := r.tor.lay.Block(piece, k)
			req := wire.Request{Index: uint32(piece), Begin: uint32(begin), Length: uint32(length)}
			if _, owes := r.owed[req]; !owes {
				r.owed[req] = make([]byte, length)
				reqs, dsts = append(reqs, req), append(dsts, r.owed[req])
			}
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

// partServer sends the first bytes of what it is asked for.
type partServer struct {
	latency time.Duration
	most    int64 // bytes of an answer
	err     error // that comes behind them; nil: nothing does

	mu    sync.Mutex
	asked []int64 // where requests began
}

type part struct {
	io.Reader
	end func() error
}

func (p part) Read(b []byte) (int, error) {
	if n, err := p.Reader.Read(b); err == nil {
		return n, nil
	}
	return 0, p.end()
}

func (part) Close() error { return nil }

// rig is one of which pieces were asked for, while a read waits for one of them or, if
// that is negative, none does.
func (s *partServer) rig(t *testing.T, awaited int, pieces ...int) *webRig {
	c := makeContent(t, 1<<20, 256<<10)
	c.meta.URLList = []string{"http://127.0.0.1/"}
	r := webRigOf(t, &Session{}, c)
	r.conn.open = func(ctx context.Context, _ int, off, n int64) (io.ReadCloser, error) {
		s.mu.Lock()
		s.asked = append(s.asked, off)
		s.mu.Unlock()
		select {
		case <-time.After(s.latency):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		return part{bytes.NewReader(c.data[off:][:min(n, s.most)]), func() error {
			if s.err == nil {
				<-ctx.Done()
			}
			return cmp.Or(s.err, ctx.Err())
		}}, nil
	}
	r.askFor(0, 16, pieces...)
	synctest.Wait()
	if awaited >= 0 {
		r.tor.waits.join(layout.Span{Piece: awaited, Length: 1})
	}
	return r
}

// here returns how long it took until all of a piece was here, more than a minute if it
// never is.
func (r *webRig) here(piece int) time.Duration {
	begun := time.Now()
	for time.Since(begun) <= time.Minute {
		r.hear()
		if !slices.ContainsFunc(slices.Collect(maps.Keys(r.owed)), func(q wire.Request) bool { return int(q.Index) == piece }) {
			break
		}
		select {
		case <-r.tor.in.wake:
		case <-time.After(time.Second):
		}
	}
	return time.Since(begun)
}

// What a read waits for is asked for again, before all else, when a request for it brings
// nothing more: soon, but not of a server that is only slow, and of none for the background.
func TestReadsAreNotLeftToRequestsThatHang(t *testing.T) {
	const kib, tries = 1 << 10, leastPatience + webWatch
	for what, test := range map[string]*struct {
		server  partServer
		awaited int
		pieces  []int
		within  time.Duration
		asked   []int64 // KiB
	}{
		"each brings a part":    {partServer{most: 64 * kib}, 0, []int{2, 3, 0}, 3 * tries, []int64{0, 64, 128, 192, 512}},
		"it was for the fill":   {partServer{most: 64 * kib}, 0, []int{0, 1, 2, 3}, 3 * tries, []int64{0, 64, 128, 192}},
		"a server that is slow": {partServer{most: 64 * kib, latency: 4 * time.Second}, 0, []int{0}, 40 * time.Second, []int64{0, 64, 128, 192}},
		"one that is slower":    {partServer{most: 1024 * kib, latency: 7 * time.Second}, 0, []int{0}, 13 * time.Second, []int64{0, 0}},
		"no read waits":         {partServer{most: 64 * kib}, -1, []int{0}, 2 * time.Minute, []int64{0}},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := test.server.rig(t, test.awaited, test.pieces...)
			took := r.here(max(test.awaited, 0))
			for i := range test.server.asked {
				test.server.asked[i] /= kib
			}
			slices.Sort(test.server.asked) // two begin at the same time
			if asked := test.server.asked; took > test.within || !slices.Equal(asked, test.asked) {
				t.Errorf("%s: it took %v, asked at %d KiB, want %d", what, took, asked, test.asked)
			}
		})
	}
}

// A request that dies behind some of what it was for is made again at once; one that brings
// nothing ends the connection.
func TestRequestsThatDie(t *testing.T) {
	for most, ends := range map[int64]bool{64 << 10: false, 100: true} {
		synctest.Test(t, func(t *testing.T) {
			s := partServer{most: most, err: io.ErrUnexpectedEOF}
			r := s.rig(t, -1, 0, 1)
			synctest.Wait()
			select {
			case <-r.conn.done:
				if !ends {
					t.Error("the connection has ended: ", r.conn.err)
				}
			default:
				if took := r.here(1); ends || took > 0 {
					t.Errorf("after %d bytes each it took %v", most, took)
				}
			}
		})
	}
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
