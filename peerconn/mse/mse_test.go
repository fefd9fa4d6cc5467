package mse_test

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/qqbtfs/qqbtfs/peerconn/mse"
)

var ours = [20]byte{1, 2, 3}

func torrents() [][20]byte { return [][20]byte{{9}, ours, {8}} }

// talk carries what two sides say to each other, in parts of random sizes, until both
// have nothing to say.
func talk(rnd *mrand.Rand, a, b *mse.Handshake) error {
	for quiet := false; !quiet; {
		quiet = true
		for _, way := range [][2]*mse.Handshake{{a, b}, {b, a}} {
			out := way[0].Output()
			for len(out) > 0 {
				quiet = false
				n := 1 + rnd.IntN(len(out))
				if err := way[1].Feed(out[:n]); err != nil {
					return err
				}
				out = out[n:]
			}
		}
	}
	return nil
}

func TestNegotiation(t *testing.T) {
	rnd := mrand.New(mrand.NewPCG(1, 2))
	both := mse.Plaintext | mse.RC4
	for _, test := range []struct{ offer, accept, prefer, want mse.Method }{
		{both, both, mse.RC4, mse.RC4},
		{both, both, mse.Plaintext, mse.Plaintext},
		{mse.Plaintext, both, mse.RC4, mse.Plaintext},
		{mse.RC4, both, mse.Plaintext, mse.RC4},
		{both, mse.RC4, mse.RC4, mse.RC4},
		{mse.Plaintext, mse.RC4, mse.RC4, 0},
		{mse.RC4, mse.Plaintext, mse.Plaintext, 0},
	} {
		for _, payload := range []string{"", "the handshake"} {
			t.Run(fmt.Sprintf("%v of %v/%v/%d", test.offer, test.accept, test.prefer, len(payload)), func(t *testing.T) {
				a := mse.Initiate(rand.Reader, ours, test.offer, []byte(payload))
				b := mse.Respond(rand.Reader, slices.Values(torrents()), test.accept, test.prefer)
				if err := talk(rnd, a, b); test.want == 0 {
					if !errors.Is(err, mse.ErrMethod) {
						t.Errorf("ended with %v", err)
					}
					return
				} else if err != nil {
					t.Fatal(err)
				}
				checkResult(t, a, b, test.want, payload)
			})
		}
	}
}

func checkResult(t *testing.T, a, b *mse.Handshake, want mse.Method, payload string) {
	t.Helper()
	ra, oka := a.Result()
	rb, okb := b.Result()
	if !oka || !okb || ra.Method != want || rb.Method != want || rb.SKey != ours {
		t.Fatalf("%v %v, %v %v", ra, oka, rb, okb)
	}
	if string(rb.Early) != payload || len(ra.Early) != 0 {
		t.Errorf("early %q and %q", ra.Early, rb.Early)
	}
	if want == mse.Plaintext {
		if ra.In != nil || ra.Out != nil || rb.In != nil || rb.Out != nil {
			t.Error("ciphers for plaintext")
		}
		return
	}
	for _, way := range [][2]mse.Result{{ra, rb}, {rb, ra}} {
		msg := []byte("some more of the stream")
		b := bytes.Clone(msg)
		way[0].Out.XORKeyStream(b, b)
		if bytes.Equal(b, msg) {
			t.Error("not encrypted")
		}
		if way[1].In.XORKeyStream(b, b); !bytes.Equal(b, msg) {
			t.Errorf("came as %q", b)
		}
	}
}

// Without the info-hash there is nothing to see: neither in what goes over the line, nor
// in how a torrent that is not ours is answered.
func TestOtherTorrent(t *testing.T) {
	rnd := mrand.New(mrand.NewPCG(3, 4))
	a := mse.Initiate(rand.Reader, [20]byte{7}, mse.RC4, nil)
	b := mse.Respond(rand.Reader, slices.Values(torrents()), mse.RC4, mse.RC4)
	if err := talk(rnd, a, b); !errors.Is(err, mse.ErrUnknown) {
		t.Errorf("ended with %v", err)
	}
	if out := b.Output(); len(out) > 0 {
		t.Errorf("answered with %d bytes", len(out))
	}
}

// The stream may follow at once.
func TestEarly(t *testing.T) {
	for _, method := range []mse.Method{mse.Plaintext, mse.RC4} {
		a := mse.Initiate(rand.Reader, ours, method, []byte("payload"))
		b := mse.Respond(rand.Reader, slices.Values(torrents()), method, method)
		feed(t, b, a.Output())
		feed(t, a, b.Output())
		feed(t, b, a.Output())
		last := b.Output()
		rb, _ := b.Result()
		more := []byte("and more")
		if rb.Out != nil {
			rb.Out.XORKeyStream(more, more)
		}
		feed(t, a, append(last, more...))
		if ra, ok := a.Result(); !ok || string(ra.Early) != "and more" {
			t.Errorf("%v: early %q, %v", method, ra.Early, ok)
		}
	}
}

func feed(t *testing.T, h *mse.Handshake, b []byte) {
	t.Helper()
	if err := h.Feed(b); err != nil {
		t.Fatal(err)
	}
}

func TestHostile(t *testing.T) {
	zeros := make([]byte, mse.KeyLen)
	oneKey := append(make([]byte, mse.KeyLen-1), 1)
	ones := bytes.Repeat([]byte{0xff}, mse.KeyLen)
	endless := append(bytes.Repeat([]byte{0x55}, mse.KeyLen), make([]byte, 600)...)
	for name, test := range map[string]struct {
		b    []byte
		want error
	}{
		"key 0":           {zeros, mse.ErrKey},
		"key 1":           {oneKey, mse.ErrKey},
		"key too large":   {ones, mse.ErrKey},
		"endless padding": {endless, mse.ErrNoSync},
	} {
		sides := map[string]*mse.Handshake{
			"initiator": mse.Initiate(rand.Reader, ours, mse.RC4, nil),
			"responder": mse.Respond(rand.Reader, slices.Values(torrents()), mse.RC4, mse.RC4),
		}
		for side, h := range sides {
			if err := h.Feed(test.b); !errors.Is(err, test.want) {
				t.Errorf("%s to the %s: %v, want %v", name, side, err, test.want)
			}
			if _, ok := h.Result(); ok {
				t.Errorf("%s to the %s: agreed", name, side)
			}
			if err := h.Feed(zeros); !errors.Is(err, test.want) {
				t.Errorf("%s to the %s: goes on with %v", name, side, err)
			}
		}
	}
	h := mse.Initiate(rand.Reader, ours, mse.RC4, nil)
	feed(t, h, endless[:mse.KeyLen+519])
	if err := h.Feed(zeros[:1]); !errors.Is(err, mse.ErrNoSync) {
		t.Errorf("520 bytes and no constant: %v", err)
	}
}

func TestNoRandomness(t *testing.T) {
	h := mse.Initiate(bytes.NewReader(nil), ours, mse.RC4, nil)
	if err := h.Feed(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("%v", err)
	}
}

// fixed is a side of ours that is always the same.
func fixed(initiate bool, method mse.Method) *mse.Handshake {
	if initiate {
		return mse.Initiate(mrand.NewChaCha8([32]byte{1}), ours, method, []byte("hi"))
	}
	return mse.Respond(mrand.NewChaCha8([32]byte{2}), slices.Values(torrents()), method, method)
}

// Recordings of what the implementation of somebody else said to our fixed sides, with
// "ho" as its initial payload and "yo" as the beginning of its stream.
func TestRecordings(t *testing.T) {
	for _, method := range []mse.Method{mse.Plaintext, mse.RC4} {
		for _, test := range []struct {
			they     string
			initiate bool
			early    string
		}{{"responder", true, "yo"}, {"initiator", false, "hoyo"}} {
			name := fmt.Sprintf("%v-%s", method, test.they)
			text, err := os.ReadFile("testdata/" + name + ".hex")
			if err != nil {
				t.Fatal(err)
			}
			b, err := hex.DecodeString(strings.TrimSpace(string(text)))
			if err != nil {
				t.Fatal(err)
			}
			h := fixed(test.initiate, method)
			feed(t, h, b)
			if r, ok := h.Result(); !ok || r.Method != method || string(r.Early) != test.early {
				t.Errorf("%s: %v, early %q, %v", name, r.Method, r.Early, ok)
			}
		}
	}
}

// Neither side may panic, or take in more than the protocol allows, whatever comes.
func FuzzFeed(f *testing.F) {
	sides := func() (a, b *mse.Handshake) {
		// The same randomness as in the seeds, so that mutants come far.
		return mse.After(mrand.NewChaCha8([32]byte{1}), ours, slices.Values(torrents()), mse.RC4, []byte("payload"))
	}
	a, b := sides()
	fromA := a.Output()
	if err := b.Feed(fromA); err != nil {
		f.Fatal(err)
	}
	f.Add(fromA, 100)
	f.Add(b.Output(), 7)
	f.Add(make([]byte, 700), 1)
	f.Fuzz(func(t *testing.T, stream []byte, size int) {
		a, b := sides()
		for _, h := range []*mse.Handshake{a, b} {
			for part := range slices.Chunk(stream, max(1, size%1000)) {
				if h.Feed(part) != nil {
					break
				}
				h.Output()
			}
			if r, ok := h.Result(); ok && (r.Method != mse.RC4 || len(r.Early) > len(stream)) {
				t.Errorf("agreed on %v, with %d bytes of %d", r.Method, len(r.Early), len(stream))
			}
		}
	})
}

func BenchmarkNegotiation(b *testing.B) {
	rnd := mrand.New(mrand.NewPCG(1, 2))
	for b.Loop() {
		x := mse.Initiate(rand.Reader, ours, mse.RC4, nil)
		y := mse.Respond(rand.Reader, slices.Values(torrents()), mse.RC4, mse.RC4)
		if err := talk(rnd, x, y); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRC4(b *testing.B) {
	x := mse.Initiate(rand.Reader, ours, mse.RC4, nil)
	y := mse.Respond(rand.Reader, slices.Values(torrents()), mse.RC4, mse.RC4)
	if err := talk(mrand.New(mrand.NewPCG(1, 2)), x, y); err != nil {
		b.Fatal(err)
	}
	r, _ := x.Result()
	buf := make([]byte, 256<<10)
	b.SetBytes(int64(len(buf)))
	for b.Loop() {
		r.Out.XORKeyStream(buf, buf)
	}
}
