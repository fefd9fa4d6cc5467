package proto

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/qqbtfs/qqbtfs/peerconn/extension"
	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

func equal(a, b []string) bool { return slices.Equal(a, b) }

// outcome is all that comes of a stream of bytes.
type outcome struct {
	events []string
	err    string
	sent   []byte
	dsts   [][]byte
}

// run feeds a stream to a Conn with requests in flight, cut as cut says: given
// the bytes that are left it answers how many to feed next.
func run(t testing.TB, cfg Config, stream []byte, cut func(left int) int) outcome {
	c := New(epoch, cfg)
	c.Send(wire.Unchoke{})
	if c.handshaken {
		c.receiveUnchoke()
	}
	var out outcome
	c.Send(query(4, 3))
	for _, r := range []wire.Request{block(0, 0), block(0, 1), block(1, 0), block(2, 0)} {
		dst := make([]byte, r.Length)
		c.Request(epoch, r, dst)
		out.dsts = append(out.dsts, dst)
	}
	c.Abandon(block(1, 0))
	for len(stream) > 0 {
		n := cut(len(stream))
		fed := bytes.Clone(stream[:n])
		err := c.Feed(epoch, fed)
		clear(fed) // it is the driver's again
		check(t, c)
		if err != nil {
			out.err = err.Error()
			break
		}
		stream = stream[n:]
	}
	for _, e := range c.AppendEvents(nil) {
		out.events = append(out.events, describe(e))
	}
	out.sent = bytes.Clone(c.Output())
	return out
}

// describe is String with the contents of payloads.
func describe(e Event) string {
	switch e := e.(type) {
	case ExtMessage:
		return e.String() + string(e.Payload)
	case HasSet:
		return e.String() + string(e.Set.Wire())
	default:
		return e.String()
	}
}

func (o outcome) compare(t testing.TB, other outcome) {
	t.Helper()
	if !slices.Equal(o.events, other.events) || o.err != other.err {
		t.Fatalf("events\n %q %s, or\n %q %s", o.events, o.err, other.events, other.err)
	}
	if !bytes.Equal(o.sent, other.sent) {
		t.Fatalf("sent\n %x, or\n %x", o.sent, other.sent)
	}
	for i := range o.dsts {
		if o.err == "" && !bytes.Equal(o.dsts[i], other.dsts[i]) {
			t.Fatalf("dst %d differs", i)
		}
	}
}

// randomMessage returns a message that a peer could send, mostly.
func randomMessage(rng *rand.Rand, fast bool) wire.Message {
	r := block(rng.Uint32N(3), rng.Uint32N(2))
	always := []wire.Message{
		wire.KeepAlive{}, wire.Unchoke{}, wire.Interested{}, wire.NotInterested{},
		wire.Have{Index: r.Index}, r, wire.Cancel(r), wire.Port{Port: 9}, answer(r), answer(r), answer(r),
		wire.Extended{ID: uint8(rng.IntN(4)), Payload: extension.Handshake{V: "x", ReqQ: rng.IntN(9)}.Append(nil)},
		wire.Unknown{ID: uint8(30 + rng.IntN(100)), Payload: make([]byte, rng.IntN(3000))},
	}
	if rng.IntN(20) == 0 {
		always = []wire.Message{wire.Choke{}}
	}
	if fast && rng.IntN(4) == 0 {
		always = []wire.Message{wire.Suggest{Index: r.Index}, wire.AllowedFast{Index: r.Index}, wire.Reject(r)}
	}
	if rng.IntN(20) == 0 {
		always = []wire.Message{query(2, 1), query(4, 3), query(4, 2), wire.HashReject(query(4, 3)), wire.HashReject(query(2, 0)), answerHashes(query(4, 3), 6)}
	}
	if rng.IntN(200) == 0 {
		always = []wire.Message{wire.Have{Index: 3}, wire.Bitfield{}, wire.Unknown{ID: wire.IDHave}}
	}
	return always[rng.IntN(len(always))]
}

func randomStream(rng *rand.Rand, remote *wire.Handshake, fast bool, messages int) []byte {
	var stream []byte
	if remote != nil {
		stream = remote.Append(stream)
	}
	if rng.IntN(2) == 0 {
		stream = wire.Bitfield{Bits: []byte{0xa0}}.Append(stream)
	}
	for range 1 + rng.IntN(messages) {
		stream = randomMessage(rng, fast).Append(stream)
	}
	return stream[:len(stream)-rng.IntN(min(len(stream), 10))]
}

// TestAnySplitGivesTheSameEvents holds the promise of the package comment.
func TestAnySplitGivesTheSameEvents(t *testing.T) {
	for seed := range uint64(100) {
		rng := rand.New(rand.NewPCG(seed, 1))
		opts := []option{extended}
		withFast := rng.IntN(2) == 0
		if withFast {
			opts = append(opts, fast)
		}
		if rng.IntN(2) == 0 {
			opts = append(opts, v2)
		}
		cfg, remote := configs(opts)
		first := &remote
		if rng.IntN(3) > 0 { // else the handshake is part of the stream
			cfg.Remote, first = &remote, nil
		}
		stream := randomStream(rng, first, withFast, 40)
		whole := run(t, cfg, stream, func(left int) int { return left })
		if len(stream) < 10000 {
			whole.compare(t, run(t, cfg, stream, func(int) int { return 1 }))
		}
		for _, most := range []int{50, 1000, 20000} {
			whole.compare(t, run(t, cfg, stream, func(left int) int { return 1 + rng.IntN(min(left, most)) }))
		}
	}
}

// FuzzFeed looks for a stream that panics, breaks an invariant, or means
// something else when it is cut in another way.
func FuzzFeed(f *testing.F) {
	cfg, remote := configs(nil)
	f.Add(remote.Append(nil), uint64(1), uint8(0))
	f.Add(append(remote.Append(nil), wire.HaveAll{}.Append(nil)...), uint64(2), uint8(1))
	for seed := range uint64(6) {
		rng := rand.New(rand.NewPCG(seed, 2))
		f.Add(randomStream(rng, nil, seed%2 == 0, 4), seed, uint8(2+seed))
	}
	f.Add(answerHashes(query(4, 3), 6).Append(query(2, 1).Append(nil)), uint64(5), uint8(130))
	f.Add(answerHashes(query(4, 3), 7).Append(wire.HashReject(query(2, 1)).Append(nil)), uint64(6), uint8(130))
	f.Add(prefix(9, wire.IDPiece, 0, 0, 0, 0, 0, 0, 0, 0), uint64(3), uint8(3))
	f.Add(prefix(wire.MaxMessage, 99, 1, 2), uint64(3), uint8(7))
	f.Add(wire.Extended{Payload: []byte("d1:md6:ut_pexi1eee")}.Append(nil), uint64(4), uint8(2))
	f.Fuzz(func(t *testing.T, stream []byte, seed uint64, mode uint8) {
		opts := []option{extended}
		if mode&1 != 0 {
			opts = append(opts, fast)
		}
		if mode&128 != 0 {
			opts = append(opts, v2)
		}
		cfg, remote = configs(opts)
		if mode&2 != 0 {
			cfg.Remote = &remote
		}
		rng := rand.New(rand.NewPCG(seed, 3))
		most := 1 << (mode / 4 % 16)
		whole := run(t, cfg, stream, func(left int) int { return left })
		whole.compare(t, run(t, cfg, stream, func(left int) int { return 1 + rng.IntN(min(left, most)) }))
	})
}
