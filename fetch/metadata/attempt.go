package metadata

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

const (
	// deepest is how many requests a peer has to answer at once: 512 KiB cover 50 ms
	// at 10 MB/s, and other programs keep as many waiting.
	deepest = 32
	// late is how long one peer alone is asked for a piece, and patience when nothing
	// more is expected of it. With each late more others may be asked too.
	late     = 2 * time.Second
	others   = 3
	patience = 10 * time.Second
	// penance is how long a peer that rejects or lets wait is left alone at first, and
	// forgiven how often.
	penance  = time.Second
	forgiven = 5
)

// peer is a connected peer.
type peer struct {
	id       PeerID
	addr     netip.AddrPort
	outgoing bool
	ending   bool // disconnected by us
	liar     bool
	size     int64     // of the metadata that it offers; zero: none
	useless  time.Time // since when it has been in no attempt

	at       *attempt          // nil: none
	asked    map[int]time.Time // pieces that it owes
	depth    int               // most that it may owe
	next     time.Time         // ask it nothing before
	refusals int               // in a row
	rounds   int               // turns that it has used up
}

// answered takes piece i off what p owes and reports whether it did.
func (p *peer) answered(i int) bool {
	if _, ok := p.asked[i]; !ok {
		return false
	}
	delete(p.asked, i)
	p.at.owed[i]--
	return true
}

// attempt is metadata of one size on its way.
type attempt struct {
	size    int64
	solo    *peer    // the only source; nil: all who claim the size
	pieces  [][]byte // nil: missing
	from    []PeerID
	owed    []int       // how many peers owe a piece
	asked   []time.Time // when it was first asked for
	missing int
	began   time.Time
	turn    time.Duration
}

func (f *Fetch) begin(size int64, rounds int) *attempt {
	n := pieces(size)
	a := &attempt{
		size: size, pieces: make([][]byte, n), from: make([]PeerID, n), owed: make([]int, n), asked: make([]time.Time, n), missing: n,
		began: f.now, turn: turn << min(rounds, 10),
	}
	f.attempts = append(f.attempts, a)
	return a
}

// members are the peers of an attempt.
func (f *Fetch) members(a *attempt) (list []*peer) {
	for _, p := range f.peers {
		if p.at == a {
			list = append(list, p)
		}
	}
	return list
}

// leave takes a peer out of its attempt. One that is the only source ends with it.
func (f *Fetch) leave(p *peer) {
	a := p.at
	if a == nil {
		return
	}
	for i := range p.asked {
		a.owed[i]--
	}
	p.at, p.asked, p.useless = nil, nil, f.now
	if a.solo == p {
		f.drop(a)
	}
}

// drop ends an attempt.
func (f *Fetch) drop(a *attempt) {
	i := slices.Index(f.attempts, a)
	if i < 0 {
		return
	}
	f.attempts = slices.Delete(f.attempts, i, i+1)
	for _, b := range a.pieces {
		f.held -= len(b)
	}
	for _, p := range f.members(a) {
		f.leave(p)
	}
}

// displace ends an attempt in favour of others: its peers go to the end of the line.
func (f *Fetch) displace(a *attempt) {
	for _, p := range f.members(a) {
		p.rounds++
	}
	f.drop(a)
}

// largest is the attempt that holds most bytes.
func (f *Fetch) largest() *attempt {
	return slices.MaxFunc(f.attempts, func(a, b *attempt) int {
		return cmp.Compare(len(a.pieces)-a.missing, len(b.pieces)-b.missing)
	})
}

// rejected takes a reject. (BEP 9: "the peer doesn't have the piece of metadata that
// was requested"; others say so to whoever asks for much at once.)
func (f *Fetch) rejected(p *peer, piece int) {
	if p.answered(piece) {
		p.depth = max(p.depth/2, 1)
		f.refused(p)
	}
}

// refused leaves a peer alone for a while, which gets longer, or for good.
func (f *Fetch) refused(p *peer) {
	if f.now.Before(p.next) {
		return // one of many
	}
	p.next = f.now.Add(penance << p.refusals)
	if p.refusals++; p.refusals > forgiven {
		f.disconnect(p, false, "gives no metadata")
	}
}

// expire gives up on what takes too long.
func (f *Fetch) expire() {
	for _, p := range slices.Clone(f.peers) {
		switch {
		case p.ending:
		case p.size == 0 && f.now.Sub(p.useless) >= idleFor:
			f.disconnect(p, false, "has no metadata")
		case p.overdue(f.now):
			f.leave(p)
			p.rounds++
			f.refused(p)
		}
	}
	for _, a := range slices.Clone(f.attempts) {
		if f.now.Sub(a.began) >= a.turn && f.crowded() && slices.Contains(f.attempts, a) {
			f.displace(a)
		}
	}
}

func (p *peer) overdue(now time.Time) bool {
	for _, at := range p.asked {
		if now.Sub(at) >= patience {
			return true
		}
	}
	return false
}

// crowded reports whether a peer waits for the place of an attempt.
func (f *Fetch) crowded() bool {
	return len(f.attempts) >= maxAttempts && slices.ContainsFunc(f.peers, f.waits)
}

// waits reports whether p could be asked and is in no attempt.
func (f *Fetch) waits(p *peer) bool {
	return p.at == nil && p.size > 0 && !p.ending && !f.now.Before(p.next)
}

// schedule gives every peer that waits an attempt, and work to all.
func (f *Fetch) schedule() {
	var line []*peer
	for _, p := range f.peers {
		if f.waits(p) {
			line = append(line, p)
		}
	}
	slices.SortStableFunc(line, func(a, b *peer) int { return cmp.Compare(a.rounds, b.rounds) })
	for _, p := range line {
		p.at = f.place(p)
	}
	for _, p := range f.peers {
		f.ask(p)
	}
}

// place finds or makes the attempt for a peer; nil: there is no room.
func (f *Fetch) place(p *peer) *attempt {
	if !f.doubtful[p.size] {
		for _, a := range f.attempts {
			if a.solo == nil && a.size == p.size {
				return a
			}
		}
	}
	if len(f.attempts) >= maxAttempts && !f.dropOrphan() {
		return nil
	}
	a := f.begin(p.size, p.rounds)
	if f.doubtful[p.size] {
		a.solo = p
	}
	return a
}

// dropOrphan ends an attempt that no peer is left of.
func (f *Fetch) dropOrphan() bool {
	for _, a := range f.attempts {
		if len(f.members(a)) == 0 {
			f.drop(a)
			return true
		}
	}
	return false
}

// ask asks a peer for pieces that nobody was asked for, or not in time.
func (f *Fetch) ask(p *peer) {
	if p.at == nil || f.now.Before(p.next) || len(p.asked) >= p.depth {
		return
	}
	for i, piece := range p.at.pieces {
		if len(p.asked) >= p.depth {
			return
		}
		if piece != nil || !p.at.mayAsk(p, i, f.now) {
			continue
		}
		if p.asked == nil {
			p.asked = map[int]time.Time{}
		}
		p.asked[i] = f.now
		if p.at.owed[i]++; p.at.asked[i].IsZero() {
			p.at.asked[i] = f.now
		}
		f.say(Send{p.id, Message{Kind: Request, Piece: i}.Append(nil)})
	}
}

// mayAsk reports whether p may be asked for piece i: nobody owes it, or too few for
// the time since it was first asked for.
func (a *attempt) mayAsk(p *peer, i int, now time.Time) bool {
	if a.owed[i] == 0 {
		return true
	}
	_, owes := p.asked[i]
	return !owes && a.owed[i] <= others*int(now.Sub(a.asked[i])/late)
}
