package badgerstore

import (
	"context"
	"crypto/sha1"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/qqbtfs/qqbtfs/cache"
	"github.com/qqbtfs/qqbtfs/cache/cachetest"
)

// benchStore puts total bytes in pieces of size bytes, 4 MiB a Put as cache.Cache
// does, into a new store. The content repeats every 64 MiB.
func benchStore(b *testing.B, dir string, size, total int) (*Store, *cachetest.Torrent) {
	b.Helper()
	few := min(total, 64<<20) / size
	tor := &cachetest.Torrent{PieceLength: size, Data: make([]byte, few*size)}
	rand.NewChaCha8([32]byte{}).Read(tor.Data)
	g := cache.Geometry{NumPieces: total / size, PieceSize: func(int) int { return size }}
	return open(b, dir, g, Options{MinFree: -1}), tor
}

func fill(b *testing.B, s *Store, tor *cachetest.Torrent, size int) {
	b.Helper()
	few, batch := len(tor.Data)/size, max(1, 4<<20/size)
	sums := make([]cache.Sum, few)
	for i := range sums {
		sums[i] = cache.SHA1(sha1.Sum(tor.Data[i*size:][:size]))
	}
	pieces := make([]cache.Piece, 0, batch)
	for i := range s.geo.NumPieces {
		b.StopTimer()
		p, err := cache.Verify(i, sums[i%few], cache.NewBuffer(tor.Data[i%few*size:][:size:size]))
		b.StartTimer()
		if err != nil {
			b.Fatal(err)
		}
		if pieces = append(pieces, p); len(pieces) == batch || i == s.geo.NumPieces-1 {
			if err := s.Put(context.Background(), pieces...); err != nil {
				b.Fatal(err)
			}
			pieces = pieces[:0]
		}
	}
}

var benchSizes = []int{16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20}

func BenchmarkPut(b *testing.B) {
	for _, size := range benchSizes {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			b.SetBytes(1 << 30)
			for range b.N {
				b.StopTimer()
				dir, err := os.MkdirTemp(b.TempDir(), "")
				if err != nil {
					b.Fatal(err)
				}
				s, tor := benchStore(b, dir, size, 1<<30)
				b.StartTimer()
				fill(b, s, tor, size)
				b.StopTimer()
				b.ReportMetric(rssAnon(b), "RssAnon-MB")
				stop(s)
				os.RemoveAll(dir)
			}
		})
	}
}

func BenchmarkReadSequential(b *testing.B) {
	for _, size := range benchSizes {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			s, tor := benchStore(b, b.TempDir(), size, 256<<20)
			fill(b, s, tor, size)
			dst := make([]byte, min(size, 128<<10))
			b.SetBytes(int64(len(dst)))
			b.ResetTimer()
			per := size / len(dst)
			for n := range b.N {
				if err := s.ReadAt(dst, n/per%s.geo.NumPieces, n%per*len(dst)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	for _, c := range []struct{ pieces, size int }{{4096, 256 << 10}, {65536, 16 << 10}, {400_000, 4 << 10}} {
		b.Run(fmt.Sprintf("%d", c.pieces), func(b *testing.B) {
			dir := b.TempDir()
			s, tor := benchStore(b, dir, c.size, c.pieces*c.size)
			fill(b, s, tor, c.size)
			stop(s)
			b.ResetTimer()
			for range b.N {
				s, err := Open(dir, s.geo, Options{})
				if err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				if n, _ := s.have.size(); n != c.pieces {
					b.Fatalf("%d pieces, want %d", n, c.pieces)
				}
				stop(s)
				b.StartTimer()
			}
		})
	}
}

// rssAnon returns the anonymous memory of this process in MB.
func rssAnon(b *testing.B) float64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Skip(err)
	}
	_, rest, _ := strings.Cut(string(status), "RssAnon:")
	var kb float64
	fmt.Sscan(rest, &kb)
	return kb / 1000
}
