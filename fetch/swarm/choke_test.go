package swarm

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

func (r *rig) unchoked() (ids []PeerID) {
	for _, id := range r.order {
		if !r.peers[id].weChoke {
			ids = append(ids, id)
		}
	}
	return ids
}

func (r *rig) wantUnchoked(ids ...PeerID) {
	r.t.Helper()
	if got := r.unchoked(); fmt.Sprint(got) != fmt.Sprint(ids) {
		r.t.Fatalf("unchoked %v, want %v", got, ids)
	}
}

// take has an unchoked peer take n bytes.
func (r *rig) takes(id PeerID, n int) *rig {
	for ; n > 0 && !r.peers[id].weChoke; n -= blockSize {
		r.do(PeerRequests{id, req(0, 0)}, BlockServed{id, req(0, 0), true})
	}
	r.said = r.said[:0]
	return r
}

func TestSlots(t *testing.T) {
	r := server(t, 2, 1, 2, 3)
	r.wantUnchoked(1, 2)
	r.do(PeerInterested{1, false}).wantUnchoked(2, 3)
	r.do(PeerInterested{1, true}).wantUnchoked(2, 3)
	r.do(PeerGone{Peer: 2}).wantUnchoked(1, 3)
	r.do(PeerInterested{3, false}).wait(time.Minute).wantUnchoked(1, 3) // nobody waits for the slot
	server(t, -1, 1, 2).wait(time.Minute).wantUnchoked()
}

func TestSlotsFollowTheRate(t *testing.T) {
	for _, tc := range []struct {
		limit int64
		peak  float64
		want  int
	}{
		{0, 0, 8}, {0, 50e3, 8}, {0, 1e6, 10}, {0, 10e6, 25}, {0, 1e9, mostSlots},
		{20e3, 0, 4}, {100e3, 1e6, 5}, {1e6, 0, 10}, {1e9, 0, mostSlots},
	} {
		r := rigOf(t, Config{UploadLimit: tc.limit}, 1)
		r.choker.peak = tc.peak
		if got := r.slots(); got != tc.want {
			t.Errorf("limit %d, seen %g: %d slots, want %d", tc.limit, tc.peak, got, tc.want)
		}
	}
	r := server(t, 0, 1)
	for range 10 {
		for range 8 { // 16 MiB in 10 s
			r.takes(1, 2<<20)
		}
		r.wait(rechokeEvery)
	}
	if got := r.slots(); got != slotsFor(1.6*(1<<20)) || got <= usualSlots {
		t.Errorf("%d slots at 1.6 MiB/s", got)
	}
}

// A peer that only waits gets a slot in the end, and who had it longest gives
// it.
func TestTurns(t *testing.T) {
	r := server(t, 2, 1, 2, 3, 4, 5)
	turns := map[PeerID]int{}
	before := map[PeerID]bool{1: true, 2: true}
	for range 40 {
		for _, id := range r.unchoked() {
			r.takes(id, blockSize)
		}
		r.wait(rechokeEvery)
		now := map[PeerID]bool{}
		for _, id := range r.unchoked() {
			now[id] = true
			if !before[id] {
				turns[id]++
			}
		}
		if len(now) != 2 {
			t.Fatalf("%d unchoked", len(now))
		}
		before = now
	}
	for id := range PeerID(5) {
		if n := turns[id+1]; n < 7 || n > 8 {
			t.Errorf("peer %d had %d turns of 40 for five", id+1, n)
		}
	}
	r = server(t, 2, 1, 2)
	r.take()
	r.wait(time.Minute).want()
}

// A turn is so many bytes for who takes them fast, and is lost by who takes none.
func TestTurnEnds(t *testing.T) {
	for _, tc := range []struct {
		bytes int
		over  time.Duration
	}{{0, rechokeEvery}, {seedTurn - blockSize, seedTerm}, {blockSize, seedTerm}} {
		r := server(t, 1, 1, 2).takes(1, tc.bytes)
		r.wait(tc.over - time.Second).wantUnchoked(1)
		r.wait(time.Second).wantUnchoked(2)
	}
	r := server(t, 1, 1, 2).takes(1, seedTurn)
	r.wantUnchoked(2)
	r.do(PeerInterested{1, false}).takes(2, 2*seedTurn).wantUnchoked(2) // nobody waits
}

// leecher returns a swarm that lacks piece 1 with peers that want to be served.
func leecher(t *testing.T, slots int, ids ...PeerID) *rig {
	r := rigOf(t, Config{UploadSlots: slots}, 2, 0)
	for _, id := range ids {
		r.join(id).do(PeerInterested{id, true})
	}
	return r
}

// round lets the time between two decisions pass in which peers give blocks.
func (r *rig) round(blocks map[PeerID]int) *rig {
	for id, n := range blocks {
		for range n {
			r.do(BlockReceived{id, req(1, 0)})
		}
	}
	return r.wait(rechokeEvery)
}

// BEP 3: "Reciprocation and number of uploads capping is managed by unchoking the
// four peers which have the best upload rate and are interested."
func TestWhoGivesIsGivenTo(t *testing.T) {
	ids := []PeerID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	r := leecher(t, 4, ids...)
	gifts := map[PeerID]int{8: 10, 9: 30, 10: 20}
	for range 20 {
		r.round(gifts)
		for id := range gifts {
			if r.now.Sub(epoch) > trialTerm && r.peers[id].weChoke {
				t.Fatalf("%v: peer %d gives and is choked", r.now.Sub(epoch), id)
			}
		}
	}
	// One slot was left, and everyone else had it in turn.
	for _, id := range ids {
		if r.peers[id].turn == 0 {
			t.Errorf("peer %d was never tried out", id)
		}
	}
	// Not even givers get that one for good.
	for id := range PeerID(6) {
		gifts[id+1] = 5
	}
	gifts[1] = 1
	before := r.peers[1].turn
	for range 30 {
		r.round(gifts)
	}
	if r.peers[1].turn == before {
		t.Error("nobody is tried out while many give")
	}
	gifts[7], gifts[8] = 40, 0
	for range 6 {
		r.round(gifts)
	}
	if r.peers[7].weChoke || !r.peers[8].weChoke && r.now.Sub(r.peers[8].unchoked) > trialTerm {
		t.Errorf("unchoked %v after 7 began to give and 8 ended", r.unchoked())
	}
}

// BEP 3, anti-snubbing: "assumes it is 'snubbed' by that peer and doesn't upload to
// it except as an optimistic unchoke".
func TestSnubbingEndsReciprocity(t *testing.T) {
	r := leecher(t, 2, 1, 2, 3)
	for range 8 {
		r.round(map[PeerID]int{1: 30})
	}
	if r.peers[1].weChoke {
		t.Fatal("the giver is choked")
	}
	for range 4 {
		r.do(BlockReceived{1, req(1, 0)})
		r.peers[1].snubbed = true
		r.wait(rechokeEvery)
	}
	if !r.peers[1].weChoke {
		t.Error("a peer that snubs us is still served before others")
	}
}

// A read waits for a piece of a peer that chokes us: we are good to it first, so that
// it may return that.
func TestUploadsHelpAWaitingRead(t *testing.T) {
	r := newRig(t, 4, 0)
	r.cfg.UploadSlots = 1
	for id := range PeerID(6) {
		has := []int{2}
		if id == 5 {
			has = []int{3}
		}
		r.join(id+1, has...).do(PeerInterested{id + 1, true})
	}
	r.urgent(3).wait(trialTerm).wantUnchoked(6)
}

// A host that comes back on a new connection does not begin a new turn before those
// that wait.
func TestReconnectingGetsNoTurn(t *testing.T) {
	r := server(t, 1, 1, 2, 3)
	r.takes(1, seedTurn).wantUnchoked(2)
	r.do(PeerGone{Peer: 1})
	r.do(PeerConnected{Peer: 9, Addr: addr(1), Remote: remoteID(9)}, PeerInterested{9, true})
	r.takes(2, seedTurn).wantUnchoked(3)
	r.takes(3, seedTurn).wantUnchoked(9) // its turn was the first
	r.do(PeerGone{Peer: 9})              // 2 is next
	r.do(PeerConnected{Peer: 10, Addr: addr(1), Remote: remoteID(10)}, PeerInterested{10, true})
	r.takes(2, seedTurn).wantUnchoked(3)
}

// Among a thousand peers everyone is served, and alike: who takes fast gets as much as
// who takes slowly, a turn; who comes late waits for no second turn of others.
func TestThousandPeersAreServedAlike(t *testing.T) {
	const n = 1000
	r := server(t, 20)
	for id := range PeerID(n) {
		r.do(PeerConnected{Peer: id + 1, Addr: addr(id + 1), Fast: true, Remote: remoteID(id + 1)}, PeerInterested{id + 1, true})
	}
	got := map[PeerID]int64{}
	second := func() {
		for _, p := range slices.Clone(r.choker.holders) {
			size := 1 + seedTurn/5/(1+int64(p.id%3)) // some are slower
			got[p.id] += size
			r.served(p, size)
		}
		r.now = r.now.Add(time.Second)
		r.Step(r.now, Tick{})
	}
	for range 1000 { // turns are of 5 to 15 s
		second()
	}
	r.check()
	if len(got) != n {
		t.Fatalf("%d of %d were served", len(got), n)
	}
	least, most := int64(1<<62), int64(0)
	for _, b := range got {
		least, most = min(least, b), max(most, b)
	}
	if most-least >= 2*seedTurn { // one that has begun its turn counts as having had it
		t.Errorf("from %d to %d bytes each: a turn and more between them", least, most)
	}
	r.do(PeerConnected{Peer: n + 1, Addr: addr(n + 1), Remote: remoteID(n + 1)}, PeerInterested{n + 1, true})
	for range seedTerm / time.Second {
		second()
	}
	if r.peers[n+1].turn == 0 {
		t.Error("a new peer waits for those that had their turn")
	}
}

func BenchmarkRechoke(b *testing.B) {
	r := rigOf(nil, Config{}, 2, 0)
	for id := range PeerID(1000) {
		r.Step(r.now, PeerConnected{Peer: id + 1, Addr: addr(id + 1), Fast: true, Remote: remoteID(id + 1)})
		r.Step(r.now, PeerInterested{id + 1, true})
	}
	b.ReportAllocs()
	for b.Loop() {
		r.now = r.now.Add(rechokeEvery)
		r.rechoke()
		r.out = r.out[:0]
	}
}
