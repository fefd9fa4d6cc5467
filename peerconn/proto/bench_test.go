package proto

import (
	"fmt"
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// benchBlocks is how many blocks are in flight in the benchmarks.
const benchBlocks = 256

func benchConn() (*Conn, []wire.Request, []byte) {
	cfg, remote := configs(nil)
	cfg.NumPieces, cfg.PieceLength, cfg.Total = benchBlocks/16, 16*wire.BlockSize, benchBlocks*wire.BlockSize
	cfg.Remote = &remote
	c := New(epoch, cfg)
	c.Feed(epoch, wire.Unchoke{}.Append(nil))
	var reqs []wire.Request
	var stream []byte
	for i := range uint32(benchBlocks) {
		r := wire.Request{Index: i / 16, Begin: i % 16 * wire.BlockSize, Length: wire.BlockSize}
		reqs = append(reqs, r)
		stream = answer(r).Append(stream)
	}
	return c, reqs, stream
}

// BenchmarkFeed downloads 4 MiB: request, feed in reads of some size, take the
// events and the output.
func BenchmarkFeed(b *testing.B) {
	for _, read := range []int{1460, 16 << 10, 64 << 10, 256 << 10} {
		b.Run(fmt.Sprintf("read=%d", read), func(b *testing.B) {
			c, reqs, stream := benchConn()
			dst := make([]byte, benchBlocks*wire.BlockSize)
			var out Output
			var evs []Event
			b.SetBytes(int64(len(stream)))
			b.ReportAllocs()
			for b.Loop() {
				for i, r := range reqs {
					c.Request(epoch, r, dst[i*wire.BlockSize:][:wire.BlockSize])
				}
				c.TakeOutput(&out)
				blocks := 0
				for from := 0; from < len(stream); from += read {
					c.Feed(epoch, stream[from:min(from+read, len(stream))])
					evs = c.AppendEvents(evs[:0])
					blocks += len(evs)
				}
				if blocks < benchBlocks {
					b.Fatal(blocks)
				}
			}
		})
	}
}

// BenchmarkServe uploads 4 MiB: the peer's requests in, pieces out.
func BenchmarkServe(b *testing.B) {
	c, reqs, _ := benchConn()
	c.Send(wire.Unchoke{})
	var asks []byte
	for _, r := range reqs {
		asks = r.Append(asks)
	}
	data := make([]byte, wire.BlockSize)
	var out Output
	var evs []Event
	var bufs [][]byte
	b.SetBytes(benchBlocks * wire.BlockSize)
	b.ReportAllocs()
	for b.Loop() {
		c.Feed(epoch, asks)
		evs = c.AppendEvents(evs[:0])
		for _, e := range evs {
			if e, ok := e.(PeerRequest); ok {
				c.SendPiece(wire.Piece{Index: e.Req.Index, Begin: e.Req.Begin, Data: data}, 1)
			}
		}
		c.TakeOutput(&out)
		bufs = out.Buffers(bufs[:0])
		if len(bufs) < 2*benchBlocks {
			b.Fatal(len(bufs))
		}
	}
}

// BenchmarkHaves feeds what a busy swarm sends most.
func BenchmarkHaves(b *testing.B) {
	c, _, _ := benchConn()
	var stream []byte
	for i := range uint32(1000) {
		stream = wire.Have{Index: i % 16}.Append(stream)
	}
	var evs []Event
	b.SetBytes(int64(len(stream)))
	b.ReportAllocs()
	for now := epoch; b.Loop(); now = now.Add(time.Second) {
		c.Feed(now, stream)
		evs = c.AppendEvents(evs[:0])
	}
}
