package proto

import (
	"errors"
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// Messages that are of no use end the connection: all at once, or twice as fast for long
// as they may come. At half the speed they never do.
func TestFlood(t *testing.T) {
	for _, tt := range []struct {
		name  string
		price int // of each
		ms    []wire.Message
	}{
		{"keep-alive", 1, []wire.Message{wire.KeepAlive{}}},
		{"have", 1, []wire.Message{wire.Have{Index: 1}}},
		{"choke", 1, []wire.Message{wire.Choke{}, wire.Unchoke{}}},
		{"interest", 1, []wire.Message{wire.Interested{}, wire.NotInterested{}}},
		{"bitfield", 1, []wire.Message{wire.Bitfield{Bits: []byte{0xe0}}}},
		{"have all", 1, []wire.Message{wire.HaveAll{}}},
		{"request while choked", 1, []wire.Message{block(0, 0)}},
		{"cancel of nothing", 1, []wire.Message{wire.Cancel(block(0, 0))}},
		{"reject of nothing", 1, []wire.Message{wire.Reject(block(0, 0))}},
		{"piece unasked", 1, []wire.Message{answer(block(0, 0))}},
		{"suggest", 1, []wire.Message{wire.Suggest{Index: 1}}},
		{"allowed fast", 1, []wire.Message{wire.AllowedFast{Index: 1}}},
		{"port", 100, []wire.Message{wire.Port{Port: 1}}},
		{"handshake of extensions", 100, []wire.Message{wire.Extended{Payload: []byte("de")}}},
		{"extension", 5, []wire.Message{wire.Extended{ID: 3, Payload: []byte("d1:ai1ee")}}},
		{"lost piece", 1, []wire.Message{wire.Extended{ID: 3, Payload: make([]byte, 4)}}},
		{"large extension", 13, []wire.Message{wire.Extended{ID: 3, Payload: make([]byte, 32<<10)}}},
		{"large unknown", 9, []wire.Message{wire.Unknown{ID: 99, Payload: make([]byte, 32<<10)}}},
		{"hash request", 1, []wire.Message{query(8, 0)}},
		{"hash reject of nothing", 1, []wire.Message{wire.HashReject(query(8, 0))}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			const times = 10 // in each Feed
			var b []byte
			for range times {
				for _, m := range tt.ms {
					b = m.Append(b)
				}
			}
			cost := time.Duration(times*tt.price*len(tt.ms)) * messageTime
			atOnce := int(maxBurst*messageTime/cost) + 10
			if n := flooded(t, b, 0, atOnce); n < atOnce/2 || n == atOnce {
				t.Errorf("ends after %d of %d at once", n, atOnce)
			}
			if n := flooded(t, b, cost/2, 3*atOnce); n == 3*atOnce {
				t.Error("twice as fast as allowed for long")
			}
			if n := flooded(t, b, 2*cost, 3*atOnce); n < 3*atOnce {
				t.Errorf("half as fast as allowed ends after %d", n)
			}
		})
	}
}

// flooded feeds b up to n times, every so often, and returns how often until the end.
func flooded(t *testing.T, b []byte, every time.Duration, n int) int {
	p, remote := raw(t, fast, extended, v2)
	p.feedBytes(remote.Append(nil))
	for k := range n {
		p.now = p.now.Add(every)
		if err := p.Feed(p.now, b); err != nil {
			if _, ok := err.(*ProtocolError); !ok || !errors.Is(err, ErrFlood) {
				t.Fatalf("ended with %v", err)
			}
			return k
		}
		p.AppendEvents(nil)
		p.Output()
	}
	return n
}

// However much is transferred at one moment, and whatever is rejected, is no flood, nor are
// the haves of a whole torrent.
func TestTransferIsNoFlood(t *testing.T) {
	p := serving(t, fast)
	p.feed(wire.Unchoke{})
	r := wire.Request{Length: 1}
	data := answer(r)
	both, reject := r.Append(data.Append(nil)), wire.Reject(r).Append(nil)
	for range 2 * maxBurst {
		p.request(r)
		p.feedBytes(both)
		p.SendPiece(data, 0)
		p.request(r)
		p.feedBytes(reject)
		p.AppendEvents(nil)
		p.Output()
	}

	const pieces = 5 * maxBurst
	p = connect(t, func(c *Config, _ *wire.Handshake) { c.NumPieces, c.Total = pieces, pieces*pieceLength })
	var haves []byte
	for i := range uint32(pieces) {
		haves = wire.Have{Index: i}.Append(haves)
	}
	p.feedBytes(haves)
}
