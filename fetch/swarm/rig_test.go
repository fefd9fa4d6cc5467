package swarm

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/fetch/picker"
	"github.com/qqbtfs/qqbtfs/peerconn/bitfield"
	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

const blockSize = picker.BlockSize

// rig is a Swarm under test with its clock and what it said.
type rig struct {
	*Swarm
	t    *testing.T
	now  time.Time
	said []Command // since the last take
}

// newRig returns the swarm of a torrent of n pieces of two blocks.
func newRig(t *testing.T, n int, have ...int) *rig {
	return rigOf(t, Config{}, n, have...)
}

func rigOf(t *testing.T, cfg Config, n int, have ...int) *rig {
	cfg.Picker.NumPieces = n
	if cfg.Picker.PieceSize == nil {
		cfg.Picker.PieceSize = func(int) int { return 2 * blockSize }
	}
	cfg.PeerID = remoteID(0)
	cfg.Have = setOf(n, have...)
	return &rig{Swarm: New(epoch, cfg), t: t, now: epoch}
}

func setOf(n int, pieces ...int) bitfield.Set {
	s := bitfield.New(n)
	for _, i := range pieces {
		s.Add(i)
	}
	return s
}

// addr is the address of peer id: each has its own host.
func addr(id PeerID) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(id >> 8), byte(id)}), 6881)
}

func remoteID(id PeerID) (b [20]byte) {
	copy(b[:], fmt.Sprintf("-QQ0001-%012d", id))
	return b
}

// block is block k of piece i, of full size.
func req(i, k int) wire.Request {
	return wire.Request{Index: uint32(i), Begin: uint32(k * blockSize), Length: blockSize}
}

// do steps the swarm through events and keeps what it says.
func (r *rig) do(evs ...Event) *rig {
	r.t.Helper()
	for _, ev := range evs {
		r.Step(r.now, ev)
		r.check()
	}
	r.said = append(r.said, r.Ready()...)
	r.check()
	return r
}

// wait lets d pass with the ticks that the swarm asks for.
func (r *rig) wait(d time.Duration) *rig {
	r.t.Helper()
	for end := r.now.Add(d); ; {
		next := r.Deadline()
		if next.After(end) {
			r.now = end
			return r
		}
		if next.After(r.now) {
			r.now = next
		} else {
			r.now = r.now.Add(time.Millisecond)
		}
		r.do(Tick{})
	}
}

// take returns what the swarm said since the last take, a line each.
func (r *rig) take() []string {
	var lines []string
	for _, c := range r.said {
		lines = append(lines, c.String())
	}
	r.said = nil
	return lines
}

// want compares what the swarm said since the last take.
func (r *rig) want(lines ...string) *rig {
	r.t.Helper()
	if got := r.take(); !slices.Equal(got, lines) {
		r.t.Fatalf("it said\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(lines, "\n\t"))
	}
	return r
}

// says fails unless a line of what it said begins with prefix. It takes all.
func (r *rig) says(prefix string) *rig {
	r.t.Helper()
	lines := r.take()
	if !slices.ContainsFunc(lines, func(s string) bool { return strings.HasPrefix(s, prefix) }) {
		r.t.Fatalf("nothing begins with %q in\n\t%s", prefix, strings.Join(lines, "\n\t"))
	}
	return r
}

// silentOn fails if a line of what it said begins with prefix. It takes all.
func (r *rig) silentOn(prefix string) *rig {
	r.t.Helper()
	for _, s := range r.take() {
		if strings.HasPrefix(s, prefix) {
			r.t.Fatalf("it said %q", s)
		}
	}
	return r
}

// join connects a peer with the fast extension that has pieces; nil means all.
func (r *rig) join(id PeerID, pieces ...int) *rig {
	r.t.Helper()
	set := setOf(r.cfg.Picker.NumPieces, pieces...)
	if pieces == nil {
		set.Fill()
	}
	return r.do(PeerConnected{Peer: id, Addr: addr(id), Fast: true, Remote: remoteID(id)}, PeerHasSet{id, set})
}

// seed connects a peer that has everything and serves us.
func (r *rig) seed(ids ...PeerID) *rig {
	r.t.Helper()
	for _, id := range ids {
		r.join(id).do(PeerChokes{id, false})
	}
	return r
}

// wanted sets the demand.
func (r *rig) urgent(pieces ...int) *rig {
	r.t.Helper()
	return r.do(Wanted{picker.Demand{Urgent: pieces}})
}

func (r *rig) fill() *rig {
	r.t.Helper()
	return r.do(Wanted{picker.Demand{Fill: true}})
}

// requests returns the blocks asked of each peer in what was said so far.
func (r *rig) requests() map[PeerID][]wire.Request {
	m := map[PeerID][]wire.Request{}
	for _, c := range r.said {
		if c, ok := c.(Request); ok {
			m[c.Peer] = append(m[c.Peer], c.Reqs...)
		}
	}
	return m
}

// check fails when the swarm's state contradicts itself.
func (r *rig) check() {
	r.t.Helper()
	s := r.Swarm
	if len(s.order) != len(s.peers) {
		r.t.Fatalf("%d peers in order, %d in all", len(s.order), len(s.peers))
	}
	unchoked, outgoing := 0, 0
	for _, id := range s.order {
		p := s.peers[id]
		if p == nil {
			r.t.Fatalf("peer %d is in order only", id)
		}
		if p.outgoing {
			outgoing++
		}
		if !p.weChoke {
			unchoked++
		} else if len(p.queue) > 0 {
			r.t.Fatalf("peer %d is choked and has %d requests queued", id, len(p.queue))
		}
		if p.serving < 0 || p.serving >= serveWindow+blockSize {
			r.t.Fatalf("peer %d has %d bytes on the way", id, p.serving)
		}
		if len(p.queue) > 0 && p.serving < serveWindow && s.mayServe() {
			r.t.Fatalf("peer %d waits for %d requests with only %d bytes on the way", id, len(p.queue), p.serving)
		}
	}
	r.checkSlots(unchoked)
	r.checkAddresses(outgoing)
	if st := s.stats; st.Downloaded < 0 || st.Wasted < 0 || st.Uploaded < 0 {
		r.t.Fatalf("counters below zero: %+v", st)
	}
}

func (r *rig) checkSlots(unchoked int) {
	r.t.Helper()
	holders := r.choker.holders
	if len(holders) != unchoked {
		r.t.Fatalf("%d peers unchoked, %d hold a slot", unchoked, len(holders))
	}
	for _, p := range holders {
		if p.weChoke || r.peers[p.id] != p {
			r.t.Fatalf("peer %d holds a slot and is choked, or gone", p.id)
		}
	}
	if r.cfg.UploadSlots != 0 && unchoked > r.slots() || unchoked > mostSlots {
		r.t.Fatalf("%d peers unchoked, %d slots", unchoked, r.slots())
	}
	if unchoked < r.slots() && r.firstWaiting() != nil {
		r.t.Fatalf("peer %d waits while %d of %d slots are taken", r.firstWaiting().id, unchoked, r.slots())
	}
}

func (r *rig) checkAddresses(outgoing int) {
	r.t.Helper()
	a := r.addrs
	if len(a.queue) != len(a.book) || len(a.book) > maxKnown {
		r.t.Fatalf("%d addresses queued, %d known", len(a.queue), len(a.book))
	}
	busy := 0
	for _, x := range a.queue {
		e := a.book[x]
		if e == nil {
			r.t.Fatalf("%v is queued and not known", x)
		}
		if e.busy {
			busy++
		}
	}
	for _, p := range r.leaving {
		if p.outgoing {
			outgoing++
		}
	}
	if busy != r.dials+outgoing || r.dials < 0 || r.dials > r.cfg.MaxDials {
		r.t.Fatalf("%d addresses busy; %d dials and %d outgoing connections", busy, r.dials, outgoing)
	}
}
