// Package swarm is the state machine of one torrent: events in, commands out.
//
// It knows the peers, what they have and owe, whom to dial, ask, serve, suspect
// and ban; the picker inside it knows the pieces. It does no I/O and has no
// clock, goroutine or lock: the torrent's goroutine in package fetch feeds it
// and carries out what it says, and a simulation can do the same in virtual
// time. The same events at the same times give the same commands.
//
// What it does not do: move bytes. Blocks lie in buffers that it never sees.
package swarm

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/qqbtfs/qqbtfs/fetch/picker"
	"github.com/qqbtfs/qqbtfs/peerconn/bitfield"
	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// Config describes a torrent and how to behave in its swarm.
type Config struct {
	Picker picker.Config
	// Have lists the pieces that are had already.
	Have bitfield.Set
	// PeerID is our own, to recognise ourselves.
	PeerID [20]byte
	// Port is where we listen, zero when nowhere.
	Port uint16
	// MaxPeers bounds the connections; zero means 200. Further peers that connect to
	// us are let in only in the place of a worse one.
	MaxPeers int
	// DialPeers is with how many connections no more are dialled for while what is wanted
	// comes, at most MaxPeers; zero means 80. The others are for those that dial us.
	DialPeers int
	// MaxDials bounds the dials under way; zero means 16.
	MaxDials int
	// UploadSlots is how many peers are served at a time; zero means as many as the
	// upload rate is good for, negative none.
	UploadSlots int
	// UploadLimit is what the uploads are limited to, in bytes per second; zero means
	// that they are not.
	UploadLimit int64
	// SeedOnly means that nothing is ever downloaded.
	SeedOnly bool
	// SeedRatio ends the serving of peers when nothing is wanted and so many times the
	// bytes that are here were uploaded, SeedTime when it has lasted so long. Zero means
	// no end.
	SeedRatio float64
	SeedTime  time.Duration
	// Seeding is what earlier runs gave. It counts for both.
	Seeding Seeding
}

const (
	tickEvery = time.Second
	fewPeers  = 8                // with fewer connected and nobody to dial, more are looked for
	findEvery = 30 * time.Second // but not more often than this
	snubAfter = 8 * time.Second  // owing blocks and delivering nothing for so long
	dropAfter = 60 * time.Second
)

// Swarm is the state of one torrent. It is not safe for concurrent use.
type Swarm struct {
	cfg   Config
	now   time.Time
	pick  *picker.Picker
	addrs *addresses

	peers   map[PeerID]*peer
	leaving map[PeerID]*peer // dropped, until their PeerGone
	order   []PeerID         // of peers, in order of arrival
	webs    int              // of peers, those that are web servers
	dials   int
	told    map[netip.AddrPort]int // dials under way: how much of news their opening held
	news    []int                  // pieces verified while dials were under way
	banIPs  map[netip.Addr]int     // bans by address, to see one host returning
	goodIPs map[netip.Addr]bool    // from where good pieces came

	trials    map[int]*trial // pieces whose bytes were bad before
	gone      map[PeerID]netip.AddrPort
	choker    choker
	seeding   seeding
	self      self
	lastFind  time.Time
	lastTick  time.Time
	madeRoom  time.Time
	began     time.Time // when something began to be wanted, or we were back to take it
	came      time.Time // when something last came that was wanted
	share     share
	wants     Need  // of what is in demand
	urgent    []int // pieces that reads wait for
	completed bool
	dirty     bool // something changed that a plan may answer
	out       []Command

	stats Stats
}

// Stats counts what happened, in bytes where nothing else is said.
type Stats struct {
	Downloaded   int64 // blocks received that were wanted
	Uploaded     int64 // blocks served
	Wasted       int64 // blocks received that were not wanted, or bad
	HashFailures int   // pieces that did not match their hash
	Bans         int   // peers
}

// New returns the swarm of a torrent at now, without peers.
func New(now time.Time, cfg Config) *Swarm {
	if cfg.MaxPeers == 0 {
		cfg.MaxPeers = 200
	}
	if cfg.DialPeers == 0 {
		cfg.DialPeers = 80
	}
	cfg.DialPeers = min(cfg.DialPeers, cfg.MaxPeers)
	if cfg.MaxDials == 0 {
		cfg.MaxDials = 16
	}
	s := &Swarm{
		cfg:      cfg,
		now:      now,
		pick:     picker.New(cfg.Picker),
		addrs:    newAddresses(),
		told:     map[netip.AddrPort]int{},
		peers:    map[PeerID]*peer{},
		leaving:  map[PeerID]*peer{},
		banIPs:   map[netip.Addr]int{},
		goodIPs:  map[netip.Addr]bool{},
		trials:   map[int]*trial{},
		gone:     map[PeerID]netip.AddrPort{},
		lastTick: now,
	}
	s.choker.at, s.began = now, now
	s.self.port = cfg.Port
	for i := range cfg.Have.Ones() {
		s.pick.Complete(i)
		s.seeding.bytes += int64(cfg.Picker.PieceSize(i))
	}
	s.completed = s.complete()
	s.seeding.said = s.UploadOnly()
	s.watchSeeding()
	return s
}

func (s *Swarm) complete() bool { return s.pick.Count() == s.cfg.Picker.NumPieces }

// Stats returns the counters.
func (s *Swarm) Stats() Stats { return s.stats }

// Has reports whether piece i is verified.
func (s *Swarm) Has(i int) bool { return s.pick.Has(i) }

// Count returns how many pieces are verified.
func (s *Swarm) Count() int { return s.pick.Count() }

// Step takes in an event that happened at now.
func (s *Swarm) Step(now time.Time, ev Event) {
	s.now = now
	if s.need() == NeedsNothing {
		s.began = now
	}
	switch ev := ev.(type) {
	case BlockReceived:
		s.blockReceived(ev)
	case BlockRejected:
		s.blockRejected(ev)
	case BlockWasted:
		s.blockWasted(ev)
	case BlockServed:
		s.blockServed(ev)
	case PeerRequests:
		s.peerRequests(ev)
	case PeerCancels:
		s.peerCancels(ev)
	case PieceVerified:
		s.pieceVerified(ev)
	case PieceFailed:
		s.pieceFailed(ev)
	case PieceDropped:
		s.pick.Failed(ev.Piece, nil)
		s.dirty = true
	case PieceLost:
		s.pieceLost(ev.Piece)
	case Wanted:
		s.pick.SetDemand(ev.Demand)
		s.urgent = ev.Urgent
		s.wants = needOf(ev.Demand)
		s.dirty = true
	case PeersFound:
		for _, a := range ev.Addrs {
			s.addrs.add(a, ev.Source, ev.By)
		}
		s.dial()
	case PeersDropped:
		for _, a := range ev.Addrs {
			s.addrs.takeBack(a, ev.By)
		}
	case DialFailed:
		s.dialEnded(ev.Addr)
		if ev.Full {
			s.full(ev)
			break
		}
		s.share.full = time.Time{}
		s.addrs.left(now, ev.Addr, false)
		if ev.Self {
			s.addrs.ban(ev.Addr)
		}
		s.dial()
	case Share:
		s.shareChanged(ev)
	case NetworkChanged:
		s.networkChanged(ev)
	case Tick:
	default:
		s.stepPeer(ev)
	}
	if now.Sub(s.lastTick) >= tickEvery {
		s.tick()
	}
}

// Ready returns what is to be done now, in order.
func (s *Swarm) Ready() []Command {
	if s.dirty {
		s.dirty = false
		plan := s.pick.Plan(s.now)
		for _, i := range s.pick.GaveWay() {
			s.do(Forget{Piece: i})
		}
		s.request(plan)
	}
	out := s.out
	s.out = nil
	return out
}

// Deadline returns when a Tick is due at the latest.
func (s *Swarm) Deadline() time.Time {
	d := s.lastTick.Add(tickEvery)
	if late := s.pick.Deadline(s.now); !late.IsZero() && late.Before(d) {
		d = late
	}
	return d
}

func (s *Swarm) do(c Command) { s.out = append(s.out, c) }

// tick does what is due from time to time.
func (s *Swarm) tick() {
	passed := s.now.Sub(s.lastTick)
	absent := passed >= absence
	s.lastTick = s.now
	if s.UploadOnly() && !absent {
		s.seeding.time += passed
	}
	s.dirty = true
	for _, id := range slices.Clone(s.order) {
		if !absent {
			s.watch(s.peers[id])
		}
	}
	if absent {
		s.began = s.now
	}
	s.watchTrials()
	s.watchSeeding()
	s.rechoke()
	s.makeRoom()
	s.dial()
	s.findPeers()
}

// watch looks after one peer: interest, and whether it delivers what it owes.
func (s *Swarm) watch(p *peer) {
	s.updateInterest(p)
	owes, since := s.pick.Owes(p.id)
	silent := s.now.Sub(since)
	switch {
	case s.useless(p):
		s.addrs.useless(p.addr)
		s.drop(p, "neither wants anything")
	case s.lost(p, owes, since):
		s.drop(p, "silent since a suspend")
	case p.snubbed && owes > 0 && silent >= dropAfter, s.deaf(p):
		s.drop(p, "delivers nothing")
	case !p.snubbed && owes > 0 && silent >= snubAfter:
		p.snubbed, p.snubbedAt = true, s.now
		s.withdraw(s.pick.Release(p.id))
		s.pick.SetSlow(p.id)
	}
}

// deaf reports whether a peer has not even answered what was withdrawn when it
// was snubbed. It may owe nothing any more and still hold up what it was asked
// for, which cannot be asked of it again (BEP 6: "the peer receiving the cancel
// should respond with either the corresponding reject or the corresponding
// piece").
func (s *Swarm) deaf(p *peer) bool {
	return p.snubbed && p.fast && p.heard.Before(p.snubbedAt) && s.now.Sub(p.snubbedAt) >= dropAfter-snubAfter
}

// heard notes that a peer answered a request, however.
func (s *Swarm) heard(id PeerID) {
	if p := s.peers[id]; p != nil {
		p.heard = s.now
	}
}

func (s *Swarm) dial() {
	if s.uploadOnly() && !s.serves() {
		return
	}
	for s.dials < s.cfg.MaxDials && s.room() {
		addr, ok := s.addrs.next(s.now, s.connected() == 0, s.self.priority)
		if !ok {
			return
		}
		s.dials++
		s.do(Dial{addr, s.opening(addr)})
		if !s.share.full.IsZero() { // one at a time, until it gets through
			s.share.full = s.now
		}
	}
}

func (s *Swarm) findPeers() {
	if s.uploadOnly() || s.connected() >= fewPeers || s.now.Sub(s.lastFind) < findEvery {
		return
	}
	s.lastFind = s.now
	s.do(FindPeers{})
}

// request turns assignments into one Request a peer.
func (s *Swarm) request(plan []picker.Assignment) {
	at := map[PeerID]int{}
	for _, a := range plan {
		k, ok := at[a.Source]
		if !ok {
			k = len(s.out)
			at[a.Source] = k
			s.do(Request{Peer: a.Source})
		}
		c := s.out[k].(Request)
		c.Reqs = append(c.Reqs, s.wire(a.Block))
		c.Second = append(c.Second, a.Second)
		s.out[k] = c
	}
}

// withdraw takes back requests that peers owe.
func (s *Swarm) withdraw(list []picker.Assignment) {
	for _, a := range list {
		s.do(Withdraw{a.Source, []wire.Request{s.wire(a.Block)}})
	}
}

func (s *Swarm) wire(b picker.Block) wire.Request {
	begin := b.Index * picker.BlockSize
	return wire.Request{
		Index:  uint32(b.Piece),
		Begin:  uint32(begin),
		Length: uint32(min(picker.BlockSize, s.cfg.Picker.PieceSize(b.Piece)-begin)),
	}
}

func blockOf(r wire.Request) picker.Block {
	return picker.Block{Piece: int(r.Index), Index: int(r.Begin / picker.BlockSize)}
}

func (s *Swarm) blockReceived(ev BlockReceived) {
	s.dirty = true
	r := s.pick.Received(s.now, ev.Peer, blockOf(ev.Req))
	p := s.peers[ev.Peer]
	if p != nil {
		p.snubbed, p.heard = false, s.now
		p.delivered += int64(ev.Req.Length)
		p.got += int64(ev.Req.Length)
	}
	if !r.Wanted {
		s.stats.Wasted += int64(ev.Req.Length)
		return
	}
	s.stats.Downloaded += int64(ev.Req.Length)
	p.used, s.came = s.now, s.now
	s.withdraw(r.Cancel)
	if r.Second {
		//lint:ignore S1016 an event and a command only happen to have the same fields
		s.do(Adopt{ev.Peer, ev.Req})
	}
	if r.Done {
		i := int(ev.Req.Index)
		s.do(Verify{Piece: i, Sums: s.trials[i] != nil})
	}
}

// blockWasted takes in a block that is of no use. Only with the fast extension
// does it answer a request, one that was withdrawn; else what is asked by now is
// still to come, and its place is still the connection's.
func (s *Swarm) blockWasted(ev BlockWasted) {
	s.stats.Wasted += int64(ev.Req.Length)
	if p := s.peers[ev.Peer]; p != nil && p.fast && !ev.Unasked {
		s.pick.Rejected(ev.Peer, blockOf(ev.Req))
		s.heard(ev.Peer)
	}
}

func (s *Swarm) pieceVerified(ev PieceVerified) {
	i := ev.Piece
	s.acquit(i, ev.Sums)
	if !s.pick.Has(i) {
		s.seeding.bytes += int64(s.cfg.Picker.PieceSize(i))
	}
	s.withdraw(s.pick.Complete(i))
	s.news = append(s.news, i)
	s.dirty = true
	for _, id := range s.order {
		if !s.pick.IsSeed(id) { // the others want to know when we are one too
			s.do(Send{id, wire.Have{Index: uint32(i)}})
		}
	}
	if s.complete() && !s.completed {
		s.completed = true
		s.do(Completed{})
	}
	s.watchSeeding()
}

func (s *Swarm) pieceLost(i int) {
	if s.pick.Has(i) {
		s.seeding.bytes -= int64(s.cfg.Picker.PieceSize(i))
		s.tellLost(i)
	}
	s.pick.Lost(i)
	s.watchSeeding()
	s.fillSlots()
	s.dirty = true
	s.addrs.revive(s.now)
	for _, id := range s.order {
		s.updateInterest(s.peers[id])
	}
	s.dial()
	s.findPeers()
}

// Why says in words what piece i waits for.
func (s *Swarm) Why(i int) string {
	switch have, all := s.pick.Availability(i), len(s.peers); {
	case s.pick.Has(i):
		return fmt.Sprintf("piece %d: here", i)
	case all == 0:
		return fmt.Sprintf("piece %d: no peer connected, %d known", i, len(s.addrs.book))
	case have == 0:
		return fmt.Sprintf("piece %d: %s", i, verb(all, "the only "+s.sender()+" does not have it", fmt.Sprintf("none of %s has it", count(all, s.sender()))))
	default:
		return fmt.Sprintf("piece %d: %s", i, s.holders(i, have))
	}
}

// sender is what each of those is called that can send something.
func (s *Swarm) sender() string {
	if s.webs > 0 {
		return "source"
	}
	return "peer"
}

func (s *Swarm) holders(i, have int) string {
	choke, snubbed := 0, 0
	for _, id := range s.order {
		if p := s.peers[id]; s.pick.HasPiece(id, i) {
			if p.chokesUs {
				choke++
			} else if p.snubbed {
				snubbed++
			}
		}
	}
	who := fmt.Sprintf("%s %s it", count(have, s.sender()), verb(have, "has", "have"))
	switch {
	case choke == have && have == 1:
		return who + ", it chokes us"
	case choke == have:
		return who + ", all choke us"
	case snubbed == have && have == 1:
		return who + ", but does not deliver"
	case choke+snubbed == have:
		return who + ", none of them delivers"
	case have == 1:
		return who + " and was asked"
	default:
		return fmt.Sprintf("%s, %d of them asked", who, have-choke)
	}
}

func count(n int, what string) string { return fmt.Sprintf("%d %s%s", n, what, verb(n, "", "s")) }

func verb(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}
