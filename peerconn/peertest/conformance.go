package peertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/peerconn"
	"github.com/qqbtfs/qqbtfs/peerconn/proto"
	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// Conformance tests the Driver that open makes, on plain connections and on encrypted
// ones. It must also have the method ListenAddrs of peerconn.Net.
func Conformance(t *testing.T, open func(peerconn.Options) peerconn.Driver) {
	t.Run("Plain", func(t *testing.T) { suite{open, peerconn.EncryptOff}.run(t) })
	t.Run("Encrypted", func(t *testing.T) { suite{open, peerconn.EncryptRequire}.run(t) })
}

func (s suite) run(t *testing.T) {
	for _, test := range []struct {
		name string
		f    func(suite, *testing.T)
	}{
		{"Download", suite.download},
		{"DownloadFromMany", suite.downloadFromMany},
		{"Upload", suite.upload},
		{"BetweenDrivers", suite.betweenDrivers},
		{"PeerBreaksProtocol", suite.peerBreaksProtocol},
		{"PeerGoesAway", suite.peerGoesAway},
		{"Unreachable", suite.unreachable},
		{"Silence", suite.silence},
		{"CloseSaysWhy", suite.closeSaysWhy},
		{"CloseFreesBlocks", suite.closeFreesBlocks},
		{"DriverClose", suite.driverClose},
		{"PauseAndResume", suite.pauseAndResume},
		{"EventsOfCalls", suite.eventsOfCalls},
		{"Extensions", suite.extensions},
		{"AbandonedBuffer", suite.abandonedBuffer},
		{"MaxConns", suite.maxConns},
		{"Refused", suite.refused},
		{"IncomingHandshakes", suite.incomingHandshakes},
		{"Bursts", suite.bursts},
		{"Floods", suite.floods},
		{"NeverReads", suite.neverReads},
		{"DownloadLimit", suite.downloadLimit},
		{"UploadLimit", suite.uploadLimit},
		{"Trace", suite.trace},
	} {
		t.Run(test.name, func(t *testing.T) {
			NoLeaks(t)
			test.f(s, t)
		})
	}
}

// NoLeaks fails the test if it leaves goroutines behind. It counts them, so it is not
// for parallel tests. Call it first.
func NoLeaks(t testing.TB) {
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for range 400 {
			if runtime.NumGoroutine() <= before {
				return
			}
			<-tick.C
		}
		buf := make([]byte, 64<<10)
		t.Errorf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
	})
}

type suite struct {
	open       func(peerconn.Options) peerconn.Driver
	encryption peerconn.Encryption
}

// start runs a peer that encrypts as the driver does.
func (s suite) start(t *testing.T, tor *Torrent, script Script) *Peer {
	if s.encryption == peerconn.EncryptRequire {
		script = Encrypted{Script: script}
	}
	return Start(t, tor, script)
}

// secretKeys are those of the torrents of the suite: an info-hash is made of the seed.
func secretKeys() (keys [][20]byte) {
	for seed := range uint64(10) {
		keys = append(keys, NewTorrent(seed, 1, 1).InfoHash)
	}
	return keys
}

// driver is open until the end of the test.
func (s suite) driver(t *testing.T, opt peerconn.Options) peerconn.Driver {
	opt.Encryption, opt.SecretKeys = s.encryption, secretKeys
	d := s.open(opt)
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// listener is a driver that listens on the second result.
func (s suite) listener(t *testing.T, opt peerconn.Options) (peerconn.Driver, netip.AddrPort) {
	opt.Listen = []string{"127.0.0.1:0"}
	d := s.driver(t, opt)
	return d, d.(interface{ ListenAddrs() []netip.AddrPort }).ListenAddrs()[0]
}

// A watch is a Handler that passes on to another one and checks the order of calls.
type watch struct {
	t     testing.TB
	inner peerconn.Handler // nil: none
	evs   chan proto.Event // what came, while there is room
	ends  chan error       // what Closed said

	mu    sync.Mutex
	state map[peerconn.Conn]string
}

func newWatch(t testing.TB, inner peerconn.Handler) *watch {
	return &watch{
		t: t, inner: inner,
		evs:   make(chan proto.Event, 1024),
		ends:  make(chan error, 256),
		state: map[peerconn.Conn]string{},
	}
}

func (w *watch) enter(c peerconn.Conn, call string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if was := w.state[c]; was != "" {
		w.t.Errorf("%s during or after %s", call, was)
	}
	w.state[c] = call
}

// Events implements peerconn.Handler.
func (w *watch) Events(c peerconn.Conn, evs []proto.Event) bool {
	w.enter(c, "Events")
	if len(evs) == 0 {
		w.t.Error("Events without events")
	}
	for _, ev := range evs {
		select {
		case w.evs <- ev:
		default:
		}
	}
	more := true
	if w.inner != nil {
		more = w.inner.Events(c, evs)
	}
	w.mu.Lock()
	w.state[c] = ""
	w.mu.Unlock()
	return more
}

// Closed implements peerconn.Handler.
func (w *watch) Closed(c peerconn.Conn, err error) {
	w.enter(c, "Closed")
	if w.inner != nil {
		w.inner.Closed(c, err)
	}
	w.ends <- err
}

// closed is what the next Closed call says.
func (w *watch) closed() error { w.t.Helper(); return receive(w.t, w.ends) }

func receive[T any](t testing.TB, ch <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(patience):
		t.Fatal("nothing came")
	}
	return v
}

// await waits for an event of this type.
func await[E proto.Event](w *watch) E {
	w.t.Helper()
	for {
		if ev, ok := receive(w.t, w.evs).(E); ok {
			return ev
		}
	}
}

// handlerFunc is a Handler of Events alone.
type handlerFunc func(c peerconn.Conn, evs []proto.Event) bool

func (f handlerFunc) Events(c peerconn.Conn, evs []proto.Event) bool { return f(c, evs) }
func (handlerFunc) Closed(peerconn.Conn, error)                      {}

func smallTorrent() *Torrent { return NewTorrent(7, 2<<20+12345, 128<<10) }

func (s suite) download(t *testing.T) {
	tor := smallTorrent()
	for name, script := range map[string]Script{
		"fast":          Seeder{},
		"plain":         Seeder{NoFast: true},
		"delayed":       Seeder{Delay: 20 * time.Millisecond},
		"choking":       Seeder{ChokeAfter: 7, ChokeFor: time.Millisecond},
		"choking plain": Seeder{ChokeAfter: 7, ChokeFor: time.Millisecond, NoFast: true},
		"slow":          Seeder{Rate: 8 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			seeder := s.start(t, tor, script)
			d := s.driver(t, peerconn.Options{})
			g := NewGetter(tor, 32)
			w := newWatch(t, g)
			c := d.Dial(t.Context(), seeder.Addr(), tor.Config("get"), w)
			receive(t, g.Done())
			if !bytes.Equal(g.Data(), tor.Data) {
				t.Error("wrong bytes")
			}
			checkDownloaded(t, c, seeder.Addr(), int64(len(tor.Data)))
		})
	}
}

func checkDownloaded(t *testing.T, c peerconn.Conn, addr netip.AddrPort, size int64) {
	t.Helper()
	if !c.Outgoing() || c.Addr() != addr || !c.LocalAddr().IsValid() {
		t.Errorf("outgoing %v, to %v, from %v", c.Outgoing(), c.Addr(), c.LocalAddr())
	}
	st := c.Stats()
	if st.PayloadRead < size || st.Read <= st.PayloadRead || st.Written == 0 || st.ConnectedAt.IsZero() || st.LastRead.IsZero() {
		t.Errorf("stats of %d bytes: %+v", size, st)
	}
	if state := c.State(); !state.AmInterested || state.InFlight != 0 {
		t.Errorf("state %+v", state)
	}
}

func (s suite) downloadFromMany(t *testing.T) {
	tor := smallTorrent()
	d := s.driver(t, peerconn.Options{})
	g := NewGetter(tor, 8)
	w := newWatch(t, g)
	for i := range 8 {
		// Some leave in the middle: what was asked of them comes from the others.
		var script Script = Seeder{}
		if i%2 == 0 {
			script = Resetter{At: HalfBlock}
		}
		d.Dial(t.Context(), s.start(t, tor, script).Addr(), tor.Config("get"), w)
	}
	receive(t, g.Done())
	if !bytes.Equal(g.Data(), tor.Data) {
		t.Error("wrong bytes")
	}
}

func (s suite) upload(t *testing.T) {
	tor := smallTorrent()
	for _, l := range []Leecher{{}, {Depth: 400}, {NoFast: true}} {
		t.Run(fmt.Sprintf("%+v", l), func(t *testing.T) {
			g := NewGiver(tor)
			w := newWatch(t, g)
			_, addr := s.listener(t, peerconn.Options{Accept: Accept(tor, "give", w)})
			leecher := s.start(t, tor, l)
			leecher.Connect(addr)
			if err := receive(t, leecher.Ended()); err != nil {
				t.Error(err)
			}
			var ne *peerconn.NetError
			if err := w.closed(); !errors.As(err, &ne) {
				t.Errorf("ended with %v", err)
			}
			checkFreed(t, g, int64(len(tor.Requests())))
		})
	}
}

func checkFreed(t *testing.T, g *Giver, sent int64) {
	t.Helper()
	queued, done, ok := g.Blocks()
	if queued != done || ok != sent {
		t.Errorf("%d blocks queued, %d done, %d sent, want %d", queued, done, ok, sent)
	}
}

func (s suite) betweenDrivers(t *testing.T) {
	tor := smallTorrent()
	_, addr := s.listener(t, peerconn.Options{Accept: Accept(tor, "give", newWatch(t, NewGiver(tor)))})
	d := s.driver(t, peerconn.Options{})
	g := NewGetter(tor, 100)
	w := newWatch(t, g)
	for range 4 {
		d.Dial(t.Context(), addr, tor.Config("get"), w)
	}
	receive(t, g.Done())
	if !bytes.Equal(g.Data(), tor.Data) {
		t.Error("wrong bytes")
	}
}

// A peer that knows an extension gets its messages, one that does not gets none.
func (s suite) extensions(t *testing.T) {
	tor := smallTorrent()
	cfg := tor.Config("get")
	cfg.Extension.M = map[string]uint8{"x_known": 3}
	sends := newWatch(t, handlerFunc(func(c peerconn.Conn, evs []proto.Event) bool {
		for _, ev := range evs {
			if _, ok := ev.(proto.ExtHandshaken); ok && (!c.SendExtension("x_known", []byte("hello")) || c.SendExtension("x_other", nil)) {
				t.Error("SendExtension does not follow the peer's handshake")
			}
		}
		return true
	}))
	_, addr := s.listener(t, peerconn.Options{Accept: Accept(tor, "give", sends)})
	gets := newWatch(t, nil)
	s.driver(t, peerconn.Options{}).Dial(t.Context(), addr, cfg, gets)
	if m := await[proto.ExtMessage](gets); m.Name != "x_known" || string(m.Payload) != "hello" {
		t.Errorf("got %v", m)
	}
}

func (s suite) peerBreaksProtocol(t *testing.T) {
	tor := smallTorrent()
	n := uint32(tor.NumPieces())
	for name, script := range map[string]Script{
		"garbage":              Garbage{},
		"wrong info-hash":      WrongInfoHash{},
		"impostor":             Impostor{},
		"oversize":             Oversizer{},
		"2 GiB message":        Oversizer{Size: 1 << 31, ID: wire.IDPiece},
		"fixed size":           SaysBytes("\x00\x00\x00\x02\x00\x00"),
		"have past the end":    Says{wire.Have{Index: n}},
		"bitfield size":        Says{wire.Bitfield{Bits: make([]byte, 100)}},
		"have all, then a set": Says{wire.HaveAll{}, wire.HaveNone{}},
		"request past the end": Says{wire.Request{Index: n, Length: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWatch(t, nil)
			d := s.driver(t, peerconn.Options{})
			d.Dial(t.Context(), s.start(t, tor, script).Addr(), tor.Config("dial"), w)
			var pe *proto.ProtocolError
			if err := w.closed(); !errors.As(err, &pe) {
				t.Errorf("ended with %v, want a ProtocolError", err)
			}
		})
	}
}

func (s suite) peerGoesAway(t *testing.T) {
	tor := smallTorrent()
	for _, polite := range []bool{false, true} {
		for _, at := range States() {
			t.Run(fmt.Sprintf("%v/polite=%v", at, polite), func(t *testing.T) {
				w := newWatch(t, NewGetter(tor, 8))
				d := s.driver(t, peerconn.Options{})
				d.Dial(t.Context(), s.start(t, tor, Resetter{at, polite}).Addr(), tor.Config("dial"), w)
				err := w.closed()
				if ne := (*peerconn.NetError)(nil); !errors.As(err, &ne) {
					t.Errorf("ended with %v, want a NetError", err)
				}
				if polite && !errors.Is(err, io.EOF) {
					t.Errorf("ended with %v, want EOF", err)
				}
			})
		}
	}
}

func (s suite) unreachable(t *testing.T) {
	tor := smallTorrent()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := l.Addr().(*net.TCPAddr).AddrPort()
	l.Close()
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	d := s.driver(t, peerconn.Options{})
	for name, ctx := range map[string]context.Context{"refused": t.Context(), "cancelled": cancelled} {
		w := newWatch(t, nil)
		c := d.Dial(ctx, nobody, tor.Config("dial"), w)
		err := w.closed()
		if ne := (*peerconn.NetError)(nil); !errors.As(err, &ne) || ne.Op != "dial" || ne.Addr != nobody {
			t.Errorf("%s: ended with %v", name, err)
		}
		if c.Addr() != nobody {
			t.Errorf("%s: address %v", name, c.Addr())
		}
		if ctx == cancelled && !errors.Is(err, context.Canceled) {
			t.Errorf("%s: ended with %v", name, err)
		}
	}
}

func (s suite) silence(t *testing.T) {
	tor := smallTorrent()
	d := s.driver(t, peerconn.Options{})
	staller, slow := newWatch(t, nil), newWatch(t, nil)
	cfg := tor.Config("dial")
	cfg.IdleTimeout, cfg.HandshakeTimeout = 100*time.Millisecond, -1
	d.Dial(t.Context(), s.start(t, tor, Staller{}).Addr(), cfg, staller)
	cfg.IdleTimeout, cfg.HandshakeTimeout = -1, 100*time.Millisecond
	d.Dial(t.Context(), s.start(t, tor, Slowloris{}).Addr(), cfg, slow)
	for _, w := range []*watch{staller, slow} {
		err := w.closed()
		if ne := (*peerconn.NetError)(nil); !errors.As(err, &ne) || !errors.Is(err, proto.ErrTimeout) {
			t.Errorf("ended with %v", err)
		}
	}
}
