package swarm

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/fetch/picker"
	"github.com/qqbtfs/qqbtfs/peerconn/bitfield"
	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// model drives a swarm with random events and keeps book, naively, of what the
// commands and events amount to.
type model struct {
	*rig
	rnd   *rand.Rand
	n     int
	last  PeerID
	peers map[PeerID]*modelPeer
	dials []netip.AddrPort // under way

	verifying map[int]bool // Verify commands not answered
	have      map[int]bool
	received  int64 // bytes
	served    []PeerRequests
	banned    map[netip.AddrPort]bool
}

type modelPeer struct {
	id         PeerID
	addr       netip.AddrPort
	fast       bool
	poison     bool
	dropped    bool // a Disconnect was said
	has        bitfield.Set
	chokes     bool
	owes       map[wire.Request]bool // true: into scratch memory
	withdrawn  map[wire.Request]bool // and not answered, fast only
	unchoked   bool
	interested bool
}

func newModel(t *testing.T, seed uint64) *model {
	rnd := rand.New(rand.NewPCG(seed, 3))
	n := 1 + rnd.IntN(12)
	size := 1 + rnd.IntN(4*blockSize)
	cfg := Config{MaxPeers: 2 + rnd.IntN(8), MaxDials: 1 + rnd.IntN(4), UploadSlots: rnd.IntN(4) - 1, SeedRatio: float64(rnd.IntN(3))}
	cfg.Picker = picker.Config{PieceSize: func(int) int { return size }, Seed: seed, MaxOpen: int64(size * (1 + rnd.IntN(8)))}
	return &model{
		rig: rigOf(t, cfg, n), rnd: rnd, n: n, peers: map[PeerID]*modelPeer{},
		verifying: map[int]bool{}, have: map[int]bool{}, banned: map[netip.AddrPort]bool{},
	}
}

// tell steps the swarm through an event, keeps book and obeys.
func (m *model) tell(ev Event) {
	m.t.Helper()
	m.do(ev)
	for _, c := range m.said {
		m.obey(c)
	}
	m.said = nil
	m.compare()
}

func (m *model) obey(c Command) {
	switch c := c.(type) {
	case Dial:
		if m.banned[c.Addr] || slices.Contains(m.dials, c.Addr) {
			m.t.Fatalf("%v: banned or under way", c)
		}
		m.dials = append(m.dials, c.Addr)
	case Disconnect:
		p := m.live(c, c.Peer)
		if len(p.owes) > 0 {
			m.t.Fatalf("%v: it still owes", c)
		}
		p.dropped = true
	case Request:
		m.requested(c)
	case Withdraw:
		p := m.live(c, c.Peer)
		for _, q := range c.Reqs {
			if _, ok := p.owes[q]; !ok {
				m.t.Fatalf("%v: not owed", c)
			}
			delete(p.owes, q)
			if p.fast {
				p.withdrawn[q] = true
			}
		}
	case Forget:
		for _, p := range m.peers {
			for q := range p.owes {
				if int(q.Index) == c.Piece {
					m.t.Fatalf("%v: it is owed", c)
				}
			}
		}
		if m.verifying[c.Piece] || m.have[c.Piece] {
			m.t.Fatalf("%v: all of it is here", c)
		}
	case Adopt:
	case Verify:
		if m.verifying[c.Piece] || m.have[c.Piece] {
			m.t.Fatalf("%v: twice", c)
		}
		m.verifying[c.Piece] = true
	case Send:
		p := m.live(c, c.Peer)
		switch c.Msg.(type) {
		case wire.Choke, wire.Unchoke:
			_, choke := c.Msg.(wire.Choke)
			if p.unchoked != choke {
				m.t.Fatalf("%v: it is so already", c)
			}
			p.unchoked = !choke
		}
	case Serve:
		p := m.live(c, c.Peer)
		if !p.unchoked || !m.have[int(c.Req.Index)] {
			m.t.Fatalf("%v: choked, or not had", c)
		}
		m.served = append(m.served, PeerRequests(c))
	case Banned:
		if m.banned[c.Addr] {
			m.t.Fatalf("%v: twice", c)
		}
		m.banned[c.Addr] = true
	}
}

func (m *model) live(c Command, id PeerID) *modelPeer {
	m.t.Helper()
	p := m.peers[id]
	if p == nil || p.dropped {
		m.t.Fatalf("%v: no such peer", c)
	}
	return p
}

func (m *model) requested(c Request) {
	p := m.live(c, c.Peer)
	for k, q := range c.Reqs {
		owed := false
		for _, o := range m.peers {
			if _, ok := o.owes[q]; ok {
				if o == p || !c.Second[k] {
					m.t.Fatalf("%v: %d owes it already", c, o.id)
				}
				owed = true
			}
		}
		switch i := int(q.Index); {
		case c.Second[k] && !owed:
			m.t.Fatalf("%v: second of none", c)
		case p.chokes || !p.has.Has(i) || m.have[i] || m.verifying[i]:
			m.t.Fatalf("%v: useless", c)
		case p.withdrawn[q]:
			m.t.Fatalf("%v: its last answer is still to come", c)
		case m.banned[p.addr]:
			m.t.Fatalf("%v: banned", c)
		}
		p.owes[q] = c.Second[k]
	}
}

// compare checks the swarm's view against the book.
func (m *model) compare() {
	m.t.Helper()
	live := 0
	for _, p := range m.peers {
		if !p.dropped {
			live++
		}
	}
	views := m.Peers()
	if len(views) != live || m.Dialling() != len(m.dials) {
		m.t.Fatalf("%d peers and %d dials, want %d and %d", len(views), m.Dialling(), live, len(m.dials))
	}
	for _, v := range views {
		p := m.peers[v.ID]
		if v.Owes != len(p.owes) || v.ChokesUs != p.chokes || v.WeChoke == p.unchoked || v.Pieces != p.has.Count() {
			m.t.Fatalf("%+v, want %+v", v, p)
		}
	}
	if m.Count() != len(m.have) {
		m.t.Fatalf("%d pieces, want %d", m.Count(), len(m.have))
	}
	serving := int64(0)
	for _, s := range m.served {
		serving += int64(s.Req.Length)
	}
	if serving != m.seeding.serving {
		m.t.Fatalf("%d bytes on the way, want %d", m.seeding.serving, serving)
	}
	if st := m.Stats(); st.Downloaded+st.Wasted != m.received || st.Bans != len(m.banned) {
		m.t.Fatalf("%+v of %d bytes, %d bans", st, m.received, len(m.banned))
	}
}

// some returns any connected peer, dropped ones among them, nil without.
func (m *model) some() *modelPeer {
	if len(m.peers) == 0 {
		return nil
	}
	ids := make([]PeerID, 0, len(m.peers))
	for id := range m.peers {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return m.peers[ids[m.rnd.IntN(len(ids))]]
}

func (m *model) randomAddr() netip.AddrPort {
	return netip.AddrPortFrom(addr(PeerID(1+m.rnd.IntN(8))).Addr(), uint16(m.rnd.IntN(4)))
}

func (m *model) connect(a netip.AddrPort, outgoing bool) {
	m.last++
	p := &modelPeer{
		id: m.last, addr: a, fast: m.rnd.IntN(2) == 0, poison: m.rnd.IntN(4) == 0, has: bitfield.New(m.n), chokes: true,
		owes: map[wire.Request]bool{}, withdrawn: map[wire.Request]bool{},
	}
	m.peers[p.id] = p
	m.tell(PeerConnected{Peer: p.id, Addr: a, Outgoing: outgoing, Fast: p.fast, Remote: remoteID(PeerID(m.rnd.IntN(20)))})
	set := bitfield.New(m.n)
	for i := range m.n {
		if m.rnd.IntN(4) > 0 {
			set.Add(i)
		}
	}
	p.has = set.Clone()
	m.tellPeer(p, PeerHasSet{p.id, set})
	m.unchoke(p)
}

// tellPeer is tell; what a dropped peer says changes nothing.
func (m *model) tellPeer(_ *modelPeer, ev Event) { m.t.Helper(); m.tell(ev) }

func (m *model) unchoke(p *modelPeer) {
	p.chokes = false
	m.tellPeer(p, PeerChokes{p.id, false})
}

func (m *model) choke(p *modelPeer) {
	p.chokes = true
	m.tellPeer(p, PeerChokes{p.id, true})
	if !p.fast { // BEP 3: what was asked for is forgotten
		for _, q := range sorted(p.owes) {
			delete(p.owes, q)
			m.tell(BlockRejected{p.id, q})
		}
	}
}

func sorted(set map[wire.Request]bool) []wire.Request {
	var list []wire.Request
	for q := range set {
		list = append(list, q)
	}
	slices.SortFunc(list, func(a, b wire.Request) int {
		return int(a.Index)<<20 + int(a.Begin) - int(b.Index)<<20 - int(b.Begin)
	})
	return list
}

// answer has a peer answer something that it owes or was withdrawn.
func (m *model) answer(p *modelPeer) {
	reject := m.rnd.IntN(8) == 0
	if list := sorted(p.withdrawn); len(list) > 0 && m.rnd.IntN(2) == 0 {
		q := list[m.rnd.IntN(len(list))]
		delete(p.withdrawn, q)
		if reject {
			m.tell(BlockRejected{p.id, q})
		} else {
			m.received += int64(q.Length)
			m.tell(BlockWasted{Peer: p.id, Req: q})
		}
		return
	}
	list := sorted(p.owes)
	if len(list) == 0 {
		return
	}
	q := list[m.rnd.IntN(len(list))]
	delete(p.owes, q)
	if reject {
		m.tell(BlockRejected{p.id, q})
		return
	}
	m.received += int64(q.Length)
	m.tell(BlockReceived{p.id, q})
}

func (m *model) judge() {
	for i := range m.n {
		if !m.verifying[i] {
			continue
		}
		delete(m.verifying, i)
		sums := make([]uint64, (m.cfg.Picker.PieceSize(i)+blockSize-1)/blockSize)
		bad := false
		for k, id := range m.pick.Sources(i) {
			if p := m.peers[id]; p != nil && p.poison && m.rnd.IntN(2) == 0 {
				sums[k], bad = m.rnd.Uint64(), true
			}
		}
		switch {
		case bad:
			m.tell(PieceFailed{i, sums})
		case m.rnd.IntN(10) == 0:
			m.tell(PieceDropped{i})
		default:
			m.have[i] = true
			m.tell(PieceVerified{i, sums})
		}
		return
	}
}

func (m *model) demand() {
	d := picker.Demand{Fill: m.rnd.IntN(2) == 0}
	for range m.rnd.IntN(3) {
		d.Urgent = append(d.Urgent, m.rnd.IntN(m.n))
		first := m.rnd.IntN(m.n)
		d.Readahead = append(d.Readahead, picker.Range{First: first, Last: first + m.rnd.IntN(m.n-first)})
	}
	m.tell(Wanted{d})
}

func (m *model) dialled() {
	if len(m.dials) == 0 {
		return
	}
	a := m.dials[0]
	m.dials = m.dials[1:]
	if m.rnd.IntN(3) == 0 {
		m.tell(DialFailed{Addr: a, Self: m.rnd.IntN(20) == 0, Full: m.rnd.IntN(4) == 0})
		return
	}
	m.connect(a, true)
}

func (m *model) leave(p *modelPeer) {
	delete(m.peers, p.id)
	m.tell(PeerGone{Peer: p.id, Broke: m.rnd.IntN(3) == 0, Flood: m.rnd.IntN(30) == 0})
}

func (m *model) step() {
	m.now = m.now.Add(time.Duration(m.rnd.IntN(400)) * time.Millisecond)
	p := m.some()
	op := m.rnd.IntN(32)
	if p == nil && op > 3 {
		op = 0
	}
	switch op {
	case 0:
		m.tell(PeersFound{Addrs: []netip.AddrPort{m.randomAddr(), m.randomAddr()}, Source: FromPEX, By: 1})
		m.tell(PeersDropped{Addrs: []netip.AddrPort{m.randomAddr()}, By: PeerID(m.rnd.IntN(2))})
	case 1, 2:
		m.dialled()
	case 3:
		if a := netip.AddrPortFrom(m.randomAddr().Addr(), uint16(40000+m.last)); len(m.peers) < 8 {
			m.connect(a, false)
		}
	case 4:
		m.leave(p)
	case 5:
		m.choke(p)
	case 6, 7, 8:
		m.unchoke(p)
	case 9:
		i := m.rnd.IntN(m.n)
		p.has.Add(i)
		m.tellPeer(p, PeerHas{p.id, i})
	case 10, 11:
		m.demand()
	case 12:
		p.interested = !p.interested
		m.tellPeer(p, PeerInterested{p.id, p.interested})
	case 13:
		m.tellPeer(p, PeerRequests{p.id, m.wire(picker.Block{Piece: m.rnd.IntN(m.n)})})
	case 14:
		m.tellPeer(p, PeerCancels{p.id, m.wire(picker.Block{Piece: m.rnd.IntN(m.n)})})
	case 15:
		if len(m.served) > 0 {
			s := m.served[0]
			m.served = m.served[1:]
			m.tell(BlockServed{s.Peer, s.Req, m.rnd.IntN(4) > 0})
		}
	case 16:
		if i := m.rnd.IntN(m.n); m.have[i] {
			delete(m.have, i)
			m.tell(PieceLost{i})
		}
	case 17:
		m.now = m.now.Add(time.Duration(m.rnd.IntN(20)) * time.Second)
		if m.rnd.IntN(4) == 0 {
			m.tell(NetworkChanged{m.rnd.IntN(2) == 0})
		}
		m.tell(Tick{})
		m.now = m.now.Add(tickEvery)
		m.tell(Tick{})
	case 18, 19, 20:
		m.judge()
	case 21:
		if m.rnd.IntN(8) == 0 {
			m.tell(Share{1 + m.rnd.IntN(8), Need(m.rnd.IntN(3))})
		}
	default:
		m.answer(p)
	}
}

func TestRandomEventsAgainstModel(t *testing.T) {
	for seed := range uint64(150) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			m := newModel(t, seed)
			for range 800 {
				m.step()
			}
		})
	}
}
