package fetch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/qqbtfs/qqbtfs/fetch/layout"
	"github.com/qqbtfs/qqbtfs/fetch/swarm"
	"github.com/qqbtfs/qqbtfs/fetch/tracker"
	"github.com/qqbtfs/qqbtfs/fetch/webseed"
	"github.com/qqbtfs/qqbtfs/peerconn/bitfield"
)

const (
	maxWebSeeds  = 16 // of a torrent that are used
	webRetry     = time.Second
	webRetryMost = 10 * time.Minute
	givenUp      = time.Duration(math.MaxInt64) // a wait for another network
	// maxMissing is how many things a web server may lack before it has sent a byte:
	// the URL is wrong then, and need not be tried for each of a thousand files.
	maxMissing = 16
)

// webSeed keeps up a webConn to one web seed, which to the swarm is a peer that has
// everything.
type webSeed struct {
	t          *Torrent
	seed       *webseed.Seed
	name       string         // its masked URL
	addr       netip.AddrPort // its name in the swarm
	byPiece    bool           // things are pieces (BEP 17), not files
	things     []layout.Extent
	downloaded atomic.Int64  // bytes
	moved      chan struct{} // has a token when the network has changed
	out        chan struct{} // closed once banned

	mu    sync.Mutex // guards these; a leaf
	why   string     // it has no connection, or the last one ended
	next  time.Time  // when it will have one again; zero: in another network, if at all
	lacks int        // things
}

// newWebSeeds returns the torrent's web seeds.
func (t *Torrent) newWebSeeds() (webs []*webSeed) {
	add := func(u string, pieces bool) {
		if len(webs) == maxWebSeeds {
			return
		}
		w, err := t.newWebSeed(u, pieces, webName(len(webs)))
		if err != nil {
			t.log.Warn("web seed cannot be used", "url", tracker.MaskURL(u), "why", err)
			return
		}
		webs = append(webs, w)
	}
	if t.cfg.SeedOnly {
		return nil
	}
	for _, u := range t.meta.URLList {
		add(u, false)
	}
	if t.meta.Info.HasV1 {
		for _, u := range t.meta.HTTPSeeds {
			add(u, true)
		}
	}
	return webs
}

// webName is an address in 100::/64, which leads nowhere (RFC 6666).
func webName(i int) netip.AddrPort {
	a := [16]byte{0: 0x01}
	binary.BigEndian.PutUint64(a[8:], uint64(i)+1)
	return netip.AddrPortFrom(netip.AddrFrom16(a), 1)
}

func (t *Torrent) newWebSeed(u string, pieces bool, addr netip.AddrPort) (*webSeed, error) {
	w := &webSeed{t: t, name: tracker.MaskURL(u), addr: addr, byPiece: pieces, moved: make(chan struct{}, 1), out: make(chan struct{})}
	info := &t.meta.Info
	cfg := webseed.Config{
		URL: u, Name: info.RawName, Dir: info.Dir, Pieces: pieces, UserAgent: t.s.cfg.Client,
		Policy: t.s.cfg.Policy, Blocked: t.s.isBlocked,
	}
	if pieces {
		cfg.InfoHash = t.meta.HashV1()
	}
	tab := t.webTable(pieces)
	w.things, cfg.Files = tab.things, tab.files
	var err error
	w.seed, err = webseed.New(cfg)
	return w, err
}

// webTable is what web seeds of one kind can be asked for. Those of a torrent share it:
// half a million pieces are 25 MB of it.
type webTable struct {
	things []layout.Extent
	files  []webseed.File
}

// webTable is for the goroutine of Add.
func (t *Torrent) webTable(pieces bool) *webTable {
	if tab := t.tables[pieces]; tab != nil {
		return tab
	}
	tab := &webTable{things: t.lay.Files}
	if pieces {
		tab.things = make([]layout.Extent, t.lay.NumPieces())
		tab.files = make([]webseed.File, t.lay.NumPieces())
		for i := range tab.things {
			n := int64(t.lay.PieceSize(i))
			tab.things[i] = layout.Extent{Offset: t.lay.PieceOffset(i), Length: n}
			tab.files[i] = webseed.File{Length: n}
		}
	} else {
		for _, f := range t.meta.Info.Files {
			tab.files = append(tab.files, webseed.File{Path: f.RawPath, Length: f.Length})
		}
	}
	if t.tables == nil {
		t.tables = map[bool]*webTable{}
	}
	t.tables[pieces] = tab
	return tab
}

// run is the web seed's goroutine: it connects until the torrent ends or the web seed is
// banned. What it was found to lack, or to be useless for, holds for one network.
func (w *webSeed) run() {
	defer w.seed.Close()
	has := bitfield.New(w.t.lay.NumPieces())
	has.Fill()
	for failures, places := 0, webseed.Parallel; ; failures++ {
		c := w.connect(has, places)
		if c == nil {
			return
		}
		for ended := false; !ended; {
			select {
			case <-c.done:
				ended = true
			case <-w.moved:
				w.forget()
				c.forget()
			}
		}
		has = c.has
		if c.stats.PayloadRead > 0 {
			failures = 0
		}
		wait, moved := min(webRetry<<min(failures, 10), webRetryMost), w.moved
		var busy *webseed.BusyError
		var useless *webseed.UselessError
		switch {
		case errors.As(c.err, &busy):
			wait, moved = busy.After, nil
		case errors.As(c.err, &useless):
			wait = givenUp
		}
		if overloaded(c.err) { // many servers answer one or two requests of an address at a time
			places = max(1, places/2)
		}
		if !w.failed(c.err, wait) {
			return
		}
		select {
		case <-w.out:
			return
		case <-w.t.ctx.Done():
			return
		case <-moved:
			failures = 0
			w.forget()
			has.Fill()
		case <-time.After(wait):
		}
	}
}

// overloaded reports whether a server said that it has much to do, or answered nothing.
func overloaded(err error) bool {
	var busy *webseed.BusyError
	var wait net.Error
	return errors.As(err, &busy) || errors.As(err, &wait) && wait.Timeout()
}

// failed notes why there is no connection any more and reports whether to make another
// one, after wait.
func (w *webSeed) failed(err error, wait time.Duration) bool {
	if err == nil {
		return false // the torrent ends
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.out: // which has been told
		return false
	default:
	}
	first := w.why == ""
	w.why, w.next = tracker.Printable(err.Error()), time.Time{} // it may hold what the server sent
	if wait == givenUp {
		w.t.log.Warn("web seed given up", "url", w.name, "why", w.why)
		return true
	}
	w.next = time.Now().Add(wait)
	level := slog.LevelDebug // it may be every second
	if first {
		level = slog.LevelInfo
	}
	w.t.log.Log(w.t.ctx, level, "web seed failed", "url", w.name, "why", w.why, "again", wait)
	return true
}

// connect makes a peer of the web seed, which asks nothing of the server yet. nil: the
// torrent ends.
func (w *webSeed) connect(has bitfield.Set, places int) *webConn {
	p := w.t.newPeer(w.addr, true)
	if p == nil {
		return nil
	}
	p.met = true
	c := newWebConn(w, p, has.Clone(), places)
	p.setConn(c)
	w.t.in.post(
		swarm.PeerConnected{Peer: p.id, Addr: w.addr, Fast: true, Web: true},
		swarm.PeerExtended{Peer: p.id, Client: "web seed", UploadOnly: true},
		swarm.PeerHasSet{Peer: p.id, Set: has.Clone()},
		swarm.PeerChokes{Peer: p.id, Choke: false},
	)
	return c
}

// networkChanged has a web seed that failed tried again at once, and what it lacked asked
// for again: a login page of the other network may have answered in its place.
func (w *webSeed) networkChanged() {
	select {
	case w.moved <- struct{}{}:
	default:
	}
}

// missing notes that a thing is not on the server. Too many of them are an error.
func (w *webSeed) missing(thing int, why error) error {
	w.mu.Lock()
	w.lacks++
	n := w.lacks
	w.mu.Unlock()
	if n == 1 {
		w.t.log.Warn("web seed lacks something", "url", w.name, "what", w.thing(thing), "why", why)
	}
	if n >= maxMissing && w.downloaded.Load() == 0 {
		return nothingThere(why)
	}
	return nil
}

// forget forgets how much is missing.
func (w *webSeed) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lacks = 0
}

func nothingThere(why error) error {
	return &webseed.UselessError{Why: fmt.Sprintf("has nothing of what it was asked for: %v", why)}
}

// banned takes in that somebody is not to be talked to again.
func (t *Torrent) banned(c swarm.Banned) {
	at := slices.IndexFunc(t.webs, func(w *webSeed) bool { return w.addr == c.Addr })
	if at < 0 {
		t.log.Warn("peer banned", "peer", c.Addr, "why", c.Why)
		return
	}
	w := t.webs[at]
	t.log.Warn("web seed banned", "url", w.name, "why", c.Why)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.why, w.next = c.Why, time.Time{}
	select {
	case <-w.out: // banned before, and forgotten
	default:
		close(w.out)
	}
}

// webPart is a range of one thing that a web seed is asked for.
type webPart struct {
	thing       int // -1: zeros, nobody is asked
	off, length int64
}

// parts cuts a range of the torrent's stream into what to ask for. What lies in no thing,
// or in a padding file, is zeros.
func (w *webSeed) parts(at, end int64) iter.Seq[webPart] {
	return func(yield func(webPart) bool) {
		at := at
		i := sort.Search(len(w.things), func(k int) bool { return w.things[k].End() > at })
		for at < end {
			part := webPart{-1, 0, end - at}
			if i < len(w.things) {
				switch e := w.things[i]; {
				case e.End() <= at: // empty
					i++
					continue
				case e.Offset > at:
					part.length = min(end, e.Offset) - at
				default:
					part = webPart{i, at - e.Offset, min(end, e.End()) - at}
					if w.isPadding(i) {
						part.thing = -1
					}
					i++
				}
			}
			at += part.length
			if !yield(part) {
				return
			}
		}
	}
}

// pieces returns the first and the last piece that have something of a thing.
func (w *webSeed) pieces(thing int) (first, last int) {
	if w.byPiece {
		return thing, thing
	}
	return w.t.lay.FilePieces(thing)
}

// isPadding reports whether a thing is a padding file.
func (w *webSeed) isPadding(i int) bool { return !w.byPiece && w.t.meta.Info.Files[i].Pad }

// thing names what can be asked for.
func (w *webSeed) thing(i int) string {
	if w.byPiece {
		return fmt.Sprintf("piece %d", i)
	}
	return strings.Join(w.t.meta.Info.Files[i].Path, "/")
}

// status is for the torrent's goroutine. v is the web seed in the swarm, if it is there.
func (w *webSeed) status(now time.Time, v swarm.PeerView) WebSeedStatus {
	st := WebSeedStatus{URL: w.name, Downloaded: w.downloaded.Load(), InUse: v.Web}
	if v.Web {
		st.Progress, st.Owes = float64(v.Pieces)/float64(w.t.lay.NumPieces()), v.Owes
		if r := w.t.rates.peers[v.ID]; r != nil {
			st.DownRate = r.down.rate()
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch wait := w.next.Sub(now); {
	case v.Snubbed:
		st.State = "silent"
	case v.Owes > 0:
		st.State = "sending"
	case v.Web:
		st.State = "idle"
	case w.next.IsZero() && w.why != "":
		st.State = "given up: " + w.why
	case w.why != "":
		st.State = fmt.Sprintf("failed: %s; again in %.0f s", w.why, max(wait, 0).Seconds())
	default:
		st.State = "not asked yet"
	}
	return st
}
