package cache_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/qqbtfs/qqbtfs/cache"
	"github.com/qqbtfs/qqbtfs/cache/cachetest"
	"github.com/qqbtfs/qqbtfs/cache/memstore"
)

// readSize is what a reader asks for at once, a FUSE request.
const readSize = 128 << 10

var benchTorrent = cachetest.NewTorrent(256, 256<<10, 256<<10)

func BenchmarkPut(b *testing.B) {
	tor := benchTorrent
	b.SetBytes(int64(len(tor.Data)))
	var ps []cache.Piece
	for i := range tor.NumPieces() {
		ps = append(ps, tor.Piece(b, nil, i))
	}
	for b.Loop() {
		c := cache.New(cache.Config{Geometry: tor.Geometry(), Disk: memstore.New(tor.Geometry()), RAM: 16 << 20})
		for _, p := range ps {
			if err := c.Put(context.Background(), p.Retain()); err != nil {
				b.Fatal(err)
			}
		}
		if err := c.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReadHot reads from the RAM tier, with one reader per core.
func BenchmarkReadHot(b *testing.B) {
	tor := benchTorrent
	c := cache.New(cache.Config{Geometry: tor.Geometry()})
	defer c.Close()
	const pieces = 64
	for i := range pieces {
		if err := c.Put(context.Background(), tor.Piece(b, nil, i)); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(readSize)
	b.RunParallel(func(pb *testing.PB) {
		dst := make([]byte, readSize)
		for k := 0; pb.Next(); k++ {
			if err := c.ReadAt(dst, k/2%pieces, k%2*readSize); err != nil {
				b.Error(err)
			}
		}
	})
}

// BenchmarkReadCold reads all in sequence, the first time after an open.
func BenchmarkReadCold(b *testing.B) {
	for _, size := range []int{16 << 10, 256 << 10, 4 << 20, 32 << 20} {
		tor := cachetest.FromData(size, benchTorrent.Data)
		disk := memstore.New(tor.Geometry())
		for i := range tor.NumPieces() {
			if err := disk.Put(context.Background(), tor.Piece(b, nil, i)); err != nil {
				b.Fatal(err)
			}
		}
		b.Run(fmt.Sprintf("piece=%dKiB", size>>10), func(b *testing.B) {
			pool := cache.NewPool(size, (64<<20)/size)
			b.SetBytes(int64(len(tor.Data)))
			for b.Loop() {
				c := cache.New(cache.Config{Geometry: tor.Geometry(), Disk: unclosed{disk}, Pool: pool})
				readAll(b, c, tor)
				if err := c.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func readAll(b *testing.B, c *cache.Cache, tor *cachetest.Torrent) {
	dst := make([]byte, min(readSize, tor.PieceLength))
	for off := 0; off < len(tor.Data); off += len(dst) {
		if err := c.ReadAt(dst, off/tor.PieceLength, off%tor.PieceLength); err != nil {
			b.Fatal(err)
		}
	}
}
