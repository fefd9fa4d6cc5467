package fetchtest

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
)

const (
	kb  = 1e3
	mb  = 1e6
	kib = 1 << 10
	mib = 1 << 20
)

// seeded returns a world with a client that knows eight seeds, as DESIGN.md
// measures with: a rate each, 50 ms round trip, pieces of 256 KiB.
func seeded(seed uint64, total int64, rate float64) (*World, *Client) {
	w := NewWorld(seed, Torrent{PieceLength: 256 * kib, Total: total, Seed: seed})
	var addrs []netip.AddrPort
	for k := range 8 {
		addrs = append(addrs, w.AddPeer(fmt.Sprintf("seed%d", k), "", Link{Up: rate, Delay: 25 * time.Millisecond}, Behavior{Fast: true}))
	}
	c := w.AddClient("client", Link{}, ClientConfig{Fast: true})
	c.Know(addrs...)
	return w, c
}

func percentile(list []time.Duration, p float64) float64 {
	slices.Sort(list)
	return float64(list[int(float64(len(list)-1)*p)].Microseconds()) / 1000
}

// seek reads 64 KiB at 20 random places, with 200 ms between, two seconds into
// a fill.
func seek(w *World, c *Client) (first time.Duration, all []time.Duration, err error) {
	const n = 64 * kib
	h := c.Open(32 * mib)
	rnd := rand.New(rand.NewPCG(w.rnd.Uint64(), 7))
	var next func(took time.Duration)
	next = func(took time.Duration) {
		all = append(all, took)
		if len(all) < 20 {
			w.After(200*time.Millisecond, func() { h.ReadAt(rnd.Int64N(w.torrent.Total-n)&^4095, n, next) })
		}
	}
	h.ReadAt(0, n, func(took time.Duration) {
		first = took
		w.After(2*time.Second, func() { h.ReadAt(rnd.Int64N(w.torrent.Total-n)&^4095, n, next) })
	})
	err = w.Run(10*time.Minute, func() bool { return len(all) == 20 })
	return first, all, err
}

func BenchmarkSeek(b *testing.B) {
	for _, fill := range []bool{true, false} {
		b.Run(fmt.Sprintf("fill=%t", fill), func(b *testing.B) {
			var firsts, all []time.Duration
			for n := range b.N {
				for seed := range uint64(10) {
					w, c := seeded(seed+uint64(n)*1000, 512*mib, 500*kb)
					c.Fill(fill)
					first, list, err := seek(w, c)
					if err != nil {
						b.Fatal(err)
					}
					firsts, all = append(firsts, first), append(all, list...)
				}
			}
			b.ReportMetric(percentile(firsts, .5), "first-ms")
			b.ReportMetric(percentile(all, .5), "p50-ms")
			b.ReportMetric(percentile(all, .95), "p95-ms")
			b.ReportMetric(percentile(all, 1), "max-ms")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func BenchmarkPlay(b *testing.B) {
	for _, fill := range []bool{true, false} {
		b.Run(fmt.Sprintf("fill=%t", fill), func(b *testing.B) {
			var starts, stalled, reseeks []time.Duration
			for n := range b.N {
				for seed := range uint64(10) {
					w, c := seeded(seed+uint64(n)*1000, 64*mib, 190*kb)
					c.Fill(fill)
					p := play(w, c)
					if err := w.Run(10*time.Minute, func() bool { return p.ended }); err != nil {
						b.Fatal(err)
					}
					starts, stalled, reseeks = append(starts, p.start), append(stalled, p.stalled), append(reseeks, p.reseek)
				}
			}
			b.ReportMetric(percentile(starts, .5), "start-ms")
			b.ReportMetric(percentile(stalled, .5), "stalled-p50-ms")
			b.ReportMetric(percentile(stalled, 1), "stalled-max-ms")
			b.ReportMetric(percentile(reseeks, .5), "reseek-ms")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkFill measures how much of what the seeds can send a fill makes use
// of, and what it wastes.
func BenchmarkFill(b *testing.B) {
	for _, tc := range []struct {
		name  string
		rates []float64
	}{
		{"8x500kB", []float64{500, 500, 500, 500, 500, 500, 500, 500}},
		{"8x5MB", []float64{5000, 5000, 5000, 5000, 5000, 5000, 5000, 5000}},
		{"uneven", []float64{20, 50, 100, 200, 500, 1000, 2000, 5000}},
	} {
		b.Run(tc.name, func(b *testing.B) {
			var efficiency, waste float64
			for n := range b.N {
				w := NewWorld(uint64(n), Torrent{PieceLength: 256 * kib, Total: 64 * mib, Seed: 1})
				c := w.AddClient("client", Link{}, ClientConfig{Fast: true})
				var sum float64
				for k, r := range tc.rates {
					sum += r * kb
					c.Know(w.AddPeer(fmt.Sprintf("seed%d", k), "", Link{Up: r * kb, Delay: 25 * time.Millisecond}, Behavior{Fast: true}))
				}
				c.Fill(true)
				if err := w.Run(10*time.Minute, c.Complete); err != nil {
					b.Fatal(err)
				}
				efficiency += 64 * mib / w.Now().Seconds() / sum
				waste += float64(w.Sent())/(64*mib) - 1
			}
			b.ReportMetric(100*efficiency/float64(b.N), "%of-rate")
			b.ReportMetric(100*waste/float64(b.N), "%wasted")
			b.ReportMetric(0, "ns/op")
		})
	}
}
