package metadata

import (
	"net/netip"
	"slices"
	"time"
)

const (
	// maxAttempts is how many sizes, or single sources, are tried side by side.
	maxAttempts = 8
	// maxHeld bounds the bytes of pieces that are kept, of all attempts together. Two
	// attempts of MaxSize fit.
	maxHeld = 64 << 20
	// turn is how long an attempt may take while others wait for its place. Peers that
	// needed longer get twice that the next time.
	turn = 30 * time.Second
	// idleFor is how long a connection is kept that offers no metadata.
	idleFor = 20 * time.Second
	// findEvery is how often peers are looked for in vain.
	findEvery = 10 * time.Second
	// fullFor is how long no dial is tried after one that found no connection left.
	fullFor = time.Second
)

// Config describes a Fetch.
type Config struct {
	// Verify reports whether these bytes are what the info-hash names.
	Verify func(info []byte) bool
	// MaxPeers bounds the connections made, dials included. Zero means 40.
	MaxPeers int
}

// Fetch fetches the metadata of one torrent. It is not safe for concurrent use.
type Fetch struct {
	cfg      Config
	now      time.Time
	addrs    addresses
	dialling int
	peers    []*peer // as they came
	attempts []*attempt
	doubtful map[int64]bool // sizes of which a sum was wrong: one source at a time
	tooLarge bool           // a peer says that it is larger than MaxSize
	wrong    bool           // a peer gave metadata with another hash
	held     int            // bytes of pieces
	found    bool
	lastFind time.Time // zero: not yet
	full     time.Time // when a dial last found no connection left
	out      []Command
}

// New returns a Fetch that knows nobody.
func New(cfg Config) *Fetch {
	if cfg.MaxPeers == 0 {
		cfg.MaxPeers = 40
	}
	return &Fetch{
		cfg:      cfg,
		addrs:    addresses{book: map[netip.AddrPort]*address{}},
		doubtful: map[int64]bool{},
	}
}

// Step takes in an event. After Found nothing happens any more.
func (f *Fetch) Step(now time.Time, ev Event) {
	if f.found {
		return
	}
	f.now = now
	switch ev := ev.(type) {
	case PeersFound:
		for _, a := range ev.Addrs {
			f.addrs.add(a, ev.Source)
		}
	case DialFailed:
		f.dialling--
		if ev.Full {
			f.addrs.untried(ev.Addr)
			f.full = now
		} else {
			f.addrs.left(now, ev.Addr, ev.Self)
		}
	case PeerConnected:
		f.connected(ev)
	case PeerOffers:
		f.offers(ev)
	case Received:
		f.received(ev)
	case PeerGone:
		f.gone(ev.Peer)
	}
	f.expire()
	f.schedule()
	f.dial()
}

// Ready returns what is to be done, and forgets it.
func (f *Fetch) Ready() []Command {
	out := f.out
	f.out = nil
	return out
}

func (f *Fetch) say(c Command) { f.out = append(f.out, c) }

func (f *Fetch) peer(id PeerID) *peer {
	for _, p := range f.peers {
		if p.id == id {
			return p
		}
	}
	return nil
}

func (f *Fetch) connected(ev PeerConnected) {
	if ev.Outgoing {
		f.dialling--
	}
	f.peers = append(f.peers, &peer{id: ev.Peer, addr: ev.Addr, outgoing: ev.Outgoing, useless: f.now, depth: deepest})
}

func (f *Fetch) offers(ev PeerOffers) {
	p := f.peer(ev.Peer)
	if p == nil || p.size == ev.Size {
		return
	}
	if ev.Size > MaxSize {
		f.tooLarge = true
		f.disconnect(p, true, "offers more metadata than is accepted")
		return
	}
	f.leave(p)
	p.size = ev.Size
	p.useless = f.now
}

func (f *Fetch) gone(id PeerID) {
	p := f.peer(id)
	if p == nil {
		return
	}
	f.leave(p)
	if p.outgoing {
		f.addrs.left(f.now, p.addr, p.ending && p.liar)
	}
	f.peers = slices.DeleteFunc(f.peers, func(q *peer) bool { return q == p })
}

// disconnect ends a connection; a liar is never dialled again.
func (f *Fetch) disconnect(p *peer, liar bool, why string) {
	f.leave(p)
	if !p.ending {
		p.ending, p.liar = true, liar
		f.say(Disconnect{p.id, why})
	}
}

func (f *Fetch) received(ev Received) {
	p := f.peer(ev.Peer)
	if p == nil || p.ending {
		return
	}
	m, err := ParseMessage(ev.Payload)
	if err != nil {
		f.disconnect(p, true, err.Error())
		return
	}
	switch m.Kind {
	case Request:
		f.say(Send{p.id, Message{Kind: Reject, Piece: m.Piece}.Append(nil)})
	case Data:
		f.data(p, m)
	case Reject:
		f.rejected(p, m.Piece)
	}
}

// data takes a piece. What was not asked for is ignored.
func (f *Fetch) data(p *peer, m Message) {
	a := p.at
	if a == nil || !p.answered(m.Piece) {
		return
	}
	if m.Total != 0 && m.Total != a.size || len(m.Data) != pieceLen(a.size, m.Piece) {
		f.disconnect(p, true, "metadata of another size than announced")
		return
	}
	p.refusals = 0
	if a.pieces[m.Piece] != nil { // of two who were asked, the later one
		return
	}
	a.pieces[m.Piece], a.from[m.Piece] = m.Data, p.id
	a.missing--
	f.held += len(m.Data)
	if a.missing == 0 {
		f.complete(a)
	} else if f.held > maxHeld {
		f.displace(f.largest())
	}
}

// complete checks an attempt that has every piece.
func (f *Fetch) complete(a *attempt) {
	info := slices.Concat(a.pieces...)
	f.drop(a)
	if f.cfg.Verify(info) {
		f.found = true
		f.attempts, f.peers = nil, nil
		f.say(Found{info})
		return
	}
	f.wrong = true
	if id := a.from[0]; !slices.ContainsFunc(a.from, func(other PeerID) bool { return other != id }) {
		if p := f.peer(id); p != nil {
			f.disconnect(p, true, "metadata with another hash")
		}
		return
	}
	f.doubtful[a.size] = true
}

// dial makes connections as far as there is room.
func (f *Fetch) dial() {
	if f.found || f.now.Sub(f.full) < fullFor {
		return
	}
	out := f.dialling
	for _, p := range f.peers {
		if p.outgoing {
			out++
		}
	}
	for ; out < f.cfg.MaxPeers; out++ {
		addr, ok := f.addrs.take(f.now)
		if !ok {
			break
		}
		f.dialling++
		f.say(Dial{addr})
	}
	if out < f.cfg.MaxPeers/2 && f.now.Sub(f.lastFind) >= findEvery {
		f.lastFind = f.now
		f.say(FindPeers{})
	}
}

// Deadline returns when Tick is due; zero means never.
func (f *Fetch) Deadline() time.Time {
	if f.found {
		return time.Time{}
	}
	first := f.now.Add(findEvery)
	due := func(t time.Time) {
		if t.After(f.now) && t.Before(first) {
			first = t
		}
	}
	due(f.addrs.next())
	due(f.full.Add(fullFor))
	for _, p := range f.peers {
		due(p.next)
		if p.size == 0 {
			due(p.useless.Add(idleFor))
		}
		for i, at := range p.asked {
			due(at.Add(patience))
			waited := f.now.Sub(p.at.asked[i])
			due(f.now.Add(late - waited%late))
		}
	}
	for _, a := range f.attempts {
		due(a.began.Add(a.turn))
	}
	return first
}

// Stats tells how far a Fetch is.
type Stats struct {
	Known, Connected, Dialling int
	Offering                   int   // peers that say that they have the metadata
	Pieces, Have               int   // of the attempt that has most
	Size                       int64 // of that, in bytes
	TooLarge                   bool  // a peer says that it is larger than MaxSize
	Wrong                      bool  // a peer gave metadata with another hash
}

// Stats returns how far it is.
func (f *Fetch) Stats() Stats {
	s := Stats{Known: len(f.addrs.book), Connected: len(f.peers), Dialling: f.dialling, TooLarge: f.tooLarge, Wrong: f.wrong}
	for _, p := range f.peers {
		if p.size > 0 {
			s.Offering++
		}
	}
	for _, a := range f.attempts {
		if have := len(a.pieces) - a.missing; s.Pieces == 0 || have > s.Have {
			s.Pieces, s.Have, s.Size = len(a.pieces), have, a.size
		}
	}
	return s
}

// Known is an address of a peer and who named it first.
type Known struct {
	Addr   netip.AddrPort
	Source string
}

// Addrs returns the addresses that are known and not banned, those connected first.
func (f *Fetch) Addrs() []Known {
	var good, rest []Known
	for _, k := range f.addrs.order {
		switch e := f.addrs.book[k]; {
		case e.banned:
		case e.busy:
			good = append(good, Known{k, e.source})
		default:
			rest = append(rest, Known{k, e.source})
		}
	}
	return append(good, rest...)
}
