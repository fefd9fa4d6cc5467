package peertest

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/peerconn"
	"github.com/qqbtfs/qqbtfs/peerconn/proto"
	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

func (s suite) closeSaysWhy(t *testing.T) {
	tor := smallTorrent()
	seeder := s.start(t, tor, Seeder{})
	d := s.driver(t, peerconn.Options{})
	banned := errors.New("banned")
	for _, why := range []error{nil, banned} {
		w := newWatch(t, nil)
		c := d.Dial(t.Context(), seeder.Addr(), tor.Config("dial"), w)
		await[proto.Handshaken](w)
		c.Close(why)
		c.Close(errors.New("too late"))
		if err := w.closed(); err != why {
			t.Errorf("Close(%v) ended with %v", why, err)
		}
		// Nothing does anything any more.
		c.Send(wire.Interested{})
		c.Request([]wire.Request{{Length: 1}}, [][]byte{make([]byte, 1)})
		c.Cancel(wire.Request{Length: 1})
		c.Resume()
		freed := 0
		c.SendPiece(wire.Piece{}, func(sent bool) {
			if freed++; sent {
				t.Error("sent a piece after the end")
			}
		})
		if freed != 1 {
			t.Errorf("a piece after the end: done %d times", freed)
		}
	}
}

// closeFreesBlocks closes a connection whose peer takes nothing of what it asked for.
func (s suite) closeFreesBlocks(t *testing.T) {
	tor := NewTorrent(3, 16<<20, 256<<10)
	var conn atomic.Value
	g := NewGiver(tor)
	w := newWatch(t, handlerFunc(func(c peerconn.Conn, evs []proto.Event) bool {
		conn.Store(c)
		return g.Events(c, evs)
	}))
	_, addr := s.listener(t, peerconn.Options{Accept: Accept(tor, "give", w)})
	s.start(t, tor, Deaf{}).Connect(addr)
	for range 400 {
		await[proto.PeerRequest](w)
	}
	conn.Load().(peerconn.Conn).Close(nil)
	if err := w.closed(); err != nil {
		t.Error(err)
	}
	queued, done, sent := g.Blocks()
	if queued != done || sent == queued {
		t.Errorf("%d blocks queued, %d done, %d sent", queued, done, sent)
	}
}

func (s suite) driverClose(t *testing.T) {
	tor := smallTorrent()
	seeder, slow := s.start(t, tor, Seeder{}), s.start(t, tor, Slowloris{})
	w := newWatch(t, nil)
	d, addr := s.listener(t, peerconn.Options{Accept: Accept(tor, "give", w)})
	slow.Connect(addr) // a handshake under way
	const n = 20
	for range n {
		d.Dial(t.Context(), seeder.Addr(), tor.Config("dial"), w)
	}
	for range n {
		await[proto.Handshaken](w)
	}
	d.Dial(t.Context(), slow.Addr(), tor.Config("dial"), w)
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if len(w.ends) != n+1 {
		t.Fatalf("%d Closed calls before Close returned, want %d", len(w.ends), n+1)
	}
	for range n {
		if err := w.closed(); err != nil && !errors.Is(err, peerconn.ErrClosed) {
			t.Errorf("ended with %v", err)
		}
	}
	<-w.ends
	d.Dial(t.Context(), seeder.Addr(), tor.Config("dial"), w)
	if err := w.closed(); !errors.Is(err, peerconn.ErrClosed) {
		t.Errorf("a dial after Close ended with %v", err)
	}
}

// pauseAndResume takes one batch at a time from a peer that sends all at once.
func (s suite) pauseAndResume(t *testing.T) {
	const n = 100
	script := Says{}
	for range n { // together more than one read
		script = append(script, wire.Unchoke{}, wire.Choke{}, wire.Unknown{ID: 77, Payload: make([]byte, 100_000)})
	}
	tor := smallTorrent()
	d := s.driver(t, peerconn.Options{})
	type call struct {
		c       peerconn.Conn
		unchoke int
	}
	calls := make(chan call, 1000)
	d.Dial(t.Context(), s.start(t, tor, script).Addr(), tor.Config("dial"),
		handlerFunc(func(c peerconn.Conn, evs []proto.Event) bool {
			got := call{c: c}
			for _, ev := range evs {
				if _, ok := ev.(proto.Unchoked); ok {
					got.unchoke++
				}
			}
			calls <- got
			return false
		}))
	first := receive(t, calls)
	// A whole other download is time enough to break the pause.
	g := NewGetter(tor, 32)
	d.Dial(t.Context(), s.start(t, tor, Seeder{}).Addr(), tor.Config("dial"), g)
	receive(t, g.Done())
	if len(calls) > 0 {
		t.Error("Events during a pause")
	}
	for sum := first.unchoke; sum < n; {
		first.c.Resume()
		sum += receive(t, calls).unchoke
	}
}

// eventsOfCalls has an event that no bytes of the peer bring.
func (s suite) eventsOfCalls(t *testing.T) {
	tor := smallTorrent()
	w := newWatch(t, nil)
	d := s.driver(t, peerconn.Options{})
	c := d.Dial(t.Context(), s.start(t, tor, Staller{}).Addr(), tor.Config("dial"), w)
	await[proto.Handshaken](w)
	for i := range 10 {
		r := wire.Request{Index: uint32(i), Length: wire.BlockSize}
		c.Request([]wire.Request{r}, [][]byte{make([]byte, wire.BlockSize)}) // while choked
		if ev := await[proto.Rejected](w); ev.Req != r {
			t.Errorf("%v, want %v", ev, r)
		}
	}
}

func (s suite) abandonedBuffer(t *testing.T) {
	tor := smallTorrent()
	w := newWatch(t, nil)
	d := s.driver(t, peerconn.Options{})
	c := d.Dial(t.Context(), s.start(t, tor, Seeder{Delay: 30 * time.Millisecond}).Addr(), tor.Config("dial"), w)
	await[proto.Handshaken](w)
	c.Send(wire.Interested{})
	await[proto.Unchoked](w)
	dst := make([]byte, wire.BlockSize)
	r := wire.Request{Length: wire.BlockSize}
	c.Request([]wire.Request{r}, [][]byte{dst})
	c.Abandon(r)
	if ev := await[proto.Discarded](w); ev.Req != r {
		t.Errorf("%v, want %v", ev, r)
	}
	if !bytes.Equal(dst, make([]byte, wire.BlockSize)) {
		t.Error("an abandoned buffer was written")
	}
}

func (s suite) maxConns(t *testing.T) {
	tor := smallTorrent()
	seeder := s.start(t, tor, Seeder{})
	d := s.driver(t, peerconn.Options{MaxConns: 2})
	w, third := newWatch(t, nil), newWatch(t, nil)
	for range 2 {
		d.Dial(t.Context(), seeder.Addr(), tor.Config("dial"), w)
		await[proto.Handshaken](w)
	}
	d.Dial(t.Context(), seeder.Addr(), tor.Config("dial"), third)
	if err := third.closed(); !errors.Is(err, peerconn.ErrTooMany) {
		t.Errorf("ended with %v", err)
	}
}

func (s suite) refused(t *testing.T) {
	tor := smallTorrent()
	for name, opt := range map[string]peerconn.Options{
		"unknown torrent": {Accept: Accept(NewTorrent(9, 1, 1), "give", newWatch(t, nil))},
		"no acceptor":     {},
	} {
		_, addr := s.listener(t, opt)
		leecher := s.start(t, tor, Leecher{})
		leecher.Connect(addr)
		if err := receive(t, leecher.Ended()); err == nil {
			t.Errorf("%s: was served", name)
		}
	}
}

// incomingHandshakes are slow; a fast one gets through, and none lasts.
func (s suite) incomingHandshakes(t *testing.T) {
	tor := smallTorrent()
	w := newWatch(t, NewGiver(tor))
	_, addr := s.listener(t, peerconn.Options{
		Accept: Accept(tor, "give", w), MaxHandshakes: 4, HandshakeTimeout: 300 * time.Millisecond,
	})
	slow := s.start(t, tor, Slowloris{Every: 20 * time.Millisecond})
	garbage, leecher := s.start(t, tor, Garbage{}), s.start(t, tor, Leecher{})
	const n = 10
	for range n {
		slow.Connect(addr)
	}
	garbage.Connect(addr)
	leecher.Connect(addr)
	if err := receive(t, leecher.Ended()); err != nil {
		t.Errorf("the honest one: %v", err)
	}
	receive(t, garbage.Ended())
	for range n {
		receive(t, slow.Ended())
	}
}

// bursts of honest peers all get in, however few handshakes may be under way.
func (s suite) bursts(t *testing.T) {
	tor := NewTorrent(3, 32<<10, 16<<10)
	_, addr := s.listener(t, peerconn.Options{
		Accept:           Accept(tor, "give", newWatch(t, NewGiver(tor))),
		MaxHandshakes:    2,
		HandshakeTimeout: 20 * patience, // however slow the machine
	})
	leecher := s.start(t, tor, Leecher{})
	const n = 50
	for range n {
		leecher.Connect(addr) // served by goroutines of its own
	}
	for range n {
		if err := receive(t, leecher.Ended()); err != nil {
			t.Error(err)
		}
	}
}

// floods are slowed down or end; others are served meanwhile.
func (s suite) floods(t *testing.T) {
	tor := smallTorrent()
	w := newWatch(t, NewGiver(tor))
	_, addr := s.listener(t, peerconn.Options{Accept: Accept(tor, "give", w)})
	r := wire.Request{Length: wire.BlockSize}
	for _, f := range []Flooder{
		nil, // all requests
		{r, wire.Cancel(r)},
		{wire.Have{}},
		{wire.KeepAlive{}},
		{wire.Interested{}, wire.NotInterested{}},
		{wire.Extended{ID: 99, Payload: make([]byte, 1000)}},
		{wire.Unknown{ID: 77, Payload: make([]byte, 100_000)}},
	} {
		s.start(t, tor, f).Connect(addr)
	}
	s.start(t, tor, Pusher{}).Connect(addr)
	leecher := s.start(t, tor, Leecher{})
	leecher.Connect(addr)
	if err := receive(t, leecher.Ended()); err != nil {
		t.Error(err)
	}
}

// neverReads is a peer that asks for everything and takes none of it.
func (s suite) neverReads(t *testing.T) {
	tor := NewTorrent(3, 16<<20, 256<<10)
	g := NewGiver(tor)
	w := newWatch(t, g)
	_, addr := s.listener(t, peerconn.Options{Accept: Accept(tor, "give", w), WriteTimeout: 200 * time.Millisecond})
	s.start(t, tor, Deaf{}).Connect(addr)
	err := w.closed()
	if ne := (*peerconn.NetError)(nil); !errors.As(err, &ne) || ne.Op != "write" {
		t.Errorf("ended with %v", err)
	}
	if queued, done, _ := g.Blocks(); queued != done {
		t.Errorf("%d blocks queued, %d done", queued, done)
	}
}

func (s suite) downloadLimit(t *testing.T) {
	tor := NewTorrent(5, 1<<20, 128<<10)
	lim := peerconn.NewLimiter(2 << 20)
	d := s.driver(t, peerconn.Options{DownloadLimit: lim})
	g := NewGetter(tor, 64)
	start := time.Now()
	for range 2 {
		d.Dial(t.Context(), s.start(t, tor, Seeder{}).Addr(), tor.Config("get"), newWatch(t, g))
	}
	receive(t, g.Done())
	checkLimit(t, time.Since(start), float64(len(tor.Data)-lim.Burst())/float64(lim.Limit()))
}

func (s suite) uploadLimit(t *testing.T) {
	tor := NewTorrent(5, 1<<20, 128<<10)
	lim := peerconn.NewLimiter(2 << 20)
	g := NewGiver(tor)
	_, addr := s.listener(t, peerconn.Options{
		UploadLimit: lim,
		Accept:      Accept(tor, "give", newWatch(t, g)),
	})
	leecher := s.start(t, tor, Leecher{})
	start := time.Now()
	leecher.Connect(addr)
	if err := receive(t, leecher.Ended()); err != nil {
		t.Error(err)
	}
	checkLimit(t, time.Since(start), float64(len(tor.Data)-lim.Burst())/float64(lim.Limit()))
}

func checkLimit(t *testing.T, took time.Duration, want float64) {
	t.Helper()
	if s := took.Seconds(); s < want*0.8 || s > want*3+1 {
		t.Errorf("took %.2f s, want %.2f s", s, want)
	}
}

func (s suite) trace(t *testing.T) {
	tor := NewTorrent(5, 40_000, 32<<10)
	var mu sync.Mutex
	var in, out []string
	d := s.driver(t, peerconn.Options{Trace: func(c peerconn.Conn, received bool, m wire.Message) {
		mu.Lock()
		defer mu.Unlock()
		if !c.Outgoing() {
			t.Error("not outgoing")
		}
		if received {
			in = append(in, m.String())
		} else {
			out = append(out, m.String())
		}
	}})
	g := NewGetter(tor, 8)
	d.Dial(t.Context(), s.start(t, tor, Seeder{}).Addr(), tor.Config("get"), g)
	receive(t, g.Done())
	mu.Lock()
	defer mu.Unlock()
	for _, want := range []struct {
		got  []string
		line string
	}{
		{in, "have all"}, {in, "unchoke"}, {in, "piece 1:0+7232"},
		{out, "interested"}, {out, "request 1:0+7232"},
	} {
		if !strings.Contains(strings.Join(want.got, "\n"), want.line) {
			t.Errorf("no %q in %q", want.line, want.got)
		}
	}
}
