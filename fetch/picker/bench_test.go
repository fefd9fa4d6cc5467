package picker

import (
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/peerconn/bitfield"
)

// large is the picker of a 100 GiB torrent with 400,000 pieces and 200 sources,
// half of them seeds.
func large() (*Picker, *rand.Rand) {
	const pieces, sources = 400_000, 200
	rnd := rand.New(rand.NewPCG(1, 1))
	p := New(Config{NumPieces: pieces, PieceSize: func(int) int { return 256 << 10 }, Seed: 1})
	for id := range SourceID(sources) {
		p.Attach(id, false)
		set := bitfield.New(pieces)
		if id%2 == 0 {
			set.Fill()
		} else {
			for i := range pieces {
				if rnd.IntN(2) == 0 {
					set.Add(i)
				}
			}
		}
		p.SetHas(id, set)
		p.SetOpen(id, true)
	}
	p.SetDemand(Demand{Fill: true})
	return p, rnd
}

func BenchmarkPlan(b *testing.B) {
	p, rnd := large()
	now := time.Unix(1e9, 0)
	p.Plan(now)
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(time.Millisecond)
		s := p.sources[SourceID(rnd.IntN(200))]
		if len(s.out) > 0 {
			blk := s.out[0]
			if p.Received(now, s.id, blk).Done {
				p.Complete(blk.Piece)
			}
		}
		p.Plan(now)
	}
}

func BenchmarkPlanUrgent(b *testing.B) {
	p, rnd := large()
	now := time.Unix(1e9, 0)
	p.Plan(now)
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(time.Millisecond)
		i := rnd.IntN(400_000)
		p.SetDemand(Demand{Urgent: []int{i}, Readahead: []Range{{i, min(i+100, 399_999)}}, Fill: true})
		p.Plan(now)
		b.StopTimer()
		for _, id := range p.ids {
			p.Release(id)
		}
		b.StartTimer()
	}
}

func BenchmarkHave(b *testing.B) {
	p, rnd := large()
	b.ReportAllocs()
	for b.Loop() {
		id := SourceID(rnd.IntN(100)*2 + 1)
		i := rnd.IntN(400_000)
		if !p.HasPiece(id, i) {
			p.Have(id, i)
		}
	}
}

func BenchmarkMemory(b *testing.B) {
	var before, after runtime.MemStats
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		p, _ := large()
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1e6, "MB")
		runtime.KeepAlive(p)
	}
}
