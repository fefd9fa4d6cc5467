package fetch

import (
	"bytes"
	"context"
	"crypto/sha1"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/anacrolix/torrent/bencode"

	"github.com/qqbtfs/qqbtfs/cache"
	"github.com/qqbtfs/qqbtfs/cache/memstore"
	"github.com/qqbtfs/qqbtfs/fetch/metainfo"
)

// content is a torrent of one file with its bytes.
type content struct {
	meta *metainfo.MetaInfo
	data []byte
}

func makeContent(t testing.TB, size, pieceLength int) content {
	t.Helper()
	data := make([]byte, size)
	rnd := rand.New(rand.NewPCG(uint64(size), uint64(pieceLength)))
	for i := range data {
		data[i] = byte(rnd.Uint32())
	}
	var pieces []byte
	for at := 0; at < size; at += pieceLength {
		sum := sha1.Sum(data[at:min(at+pieceLength, size)])
		pieces = append(pieces, sum[:]...)
	}
	return content{parsed(t, map[string]any{"info": map[string]any{
		"name": "data.bin", "length": size, "piece length": pieceLength, "pieces": string(pieces),
	}}), data}
}

// parsed is the torrent of these keys.
func parsed(t testing.TB, keys map[string]any) *metainfo.MetaInfo {
	t.Helper()
	raw, err := bencode.Marshal(keys)
	if err != nil {
		t.Fatal(err)
	}
	m, err := metainfo.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// full returns a store that has everything.
func (c content) full(t testing.TB) cache.Store {
	t.Helper()
	g := Geometry(c.meta)
	st := memstore.New(g)
	for i := range g.NumPieces {
		at := i * int(c.meta.Info.PieceLength)
		buf := cache.NewBuffer(bytes.Clone(c.data[at : at+g.PieceSize(i)]))
		p, err := cache.Verify(i, g.Sum(i), buf)
		if err != nil {
			t.Fatal(err)
		}
		if err := st.Put(context.Background(), p); err != nil {
			t.Fatal(err)
		}
	}
	return st
}

func newSession(t testing.TB, cfg Config) *Session {
	t.Helper()
	cfg.Listen = []string{"127.0.0.1:0"}
	s, err := NewSession(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		s.Close(ctx)
	})
	return s
}

func add(t testing.TB, s *Session, cfg TorrentConfig) *Torrent {
	t.Helper()
	tor, err := s.Add(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return tor
}

// seeders starts n sessions that have the content.
func (c content) seeders(t testing.TB, n int) (addrs []netip.AddrPort) {
	for range n {
		s := newSession(t, Config{})
		add(t, s, TorrentConfig{Meta: c.meta, Store: c.full(t)})
		addrs = append(addrs, s.Addrs()[0])
	}
	return addrs
}

func TestFillCompletes(t *testing.T) {
	for _, pieceLength := range []int{16 << 10, 100_000, 1 << 20, 16 << 20} {
		t.Run(fmt.Sprint(pieceLength), func(t *testing.T) {
			c := makeContent(t, 5_000_001, pieceLength)
			st := memstore.New(Geometry(c.meta))
			tor := add(t, newSession(t, Config{}), TorrentConfig{Meta: c.meta, Store: st, Fill: true, Peers: c.seeders(t, 3)})
			select {
			case <-tor.Done():
			case <-time.After(20 * time.Second):
				t.Fatalf("not complete: %+v", tor.Status())
			}
			checkRead(t, tor, c)
			if s := tor.Status(); s.Wasted > s.Bytes/50 || !s.Complete || s.HashFailures != 0 {
				t.Errorf("status after the fill: %+v", s)
			}
		})
	}
}

func checkRead(t *testing.T, tor *Torrent, c content) {
	t.Helper()
	r := tor.NewReader(0)
	defer r.Close()
	got := make([]byte, len(c.data)+10)
	n, err := r.ReadAt(context.Background(), got, 0)
	if n != len(c.data) || !errors.Is(err, io.EOF) || !bytes.Equal(got[:n], c.data) {
		t.Fatalf("read %d bytes, %v; want %d and EOF", n, err, len(c.data))
	}
}

func TestReadFetchesOnlyWhatItNeeds(t *testing.T) {
	c := makeContent(t, 8<<20, 64<<10)
	st := memstore.New(Geometry(c.meta))
	tor := add(t, newSession(t, Config{}), TorrentConfig{Meta: c.meta, Store: st, Peers: c.seeders(t, 2)})
	r := tor.NewReader(0)
	defer r.Close()
	rnd := rand.New(rand.NewPCG(1, 2))
	touched := map[int]bool{}
	for _, k := range rnd.Perm(7) { // far enough apart to be no run
		off, n := k*1_200_000+rnd.IntN(60_000), rnd.IntN(70_000)
		p := make([]byte, n)
		k, err := r.ReadAt(context.Background(), p, int64(off))
		want := c.data[off:min(off+n, len(c.data))]
		if k != len(want) || !bytes.Equal(p[:k], want) || (err != nil) != (k < n) {
			t.Fatalf("ReadAt(%d bytes, %d) = %d, %v", n, off, k, err)
		}
		for i := off >> 16; k > 0 && i <= (off+k-1)>>16; i++ {
			touched[i] = true
		}
	}
	if have := st.Stats().Pieces; have != len(touched) {
		t.Errorf("%d pieces fetched for reads of %d", have, len(touched))
	}
}

func TestReadTimesOutAndSaysWhy(t *testing.T) {
	c := makeContent(t, 1<<20, 64<<10)
	tor := add(t, newSession(t, Config{ReadTimeout: 50 * time.Millisecond}), TorrentConfig{Meta: c.meta, Store: memstore.New(Geometry(c.meta))})
	r := tor.NewReader(0)
	defer r.Close()
	_, err := r.ReadAt(context.Background(), make([]byte, 10), 0)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("got %v, want a deadline error", err)
	}
}

// A piece that is had when the read begins and found damaged by it has the same
// deadline as one that was never here.
func TestLostPieceTimesOut(t *testing.T) {
	c := makeContent(t, 1<<20, 64<<10)
	st := &forgetful{Store: c.full(t)}
	tor := add(t, newSession(t, Config{ReadTimeout: 50 * time.Millisecond}), TorrentConfig{Meta: c.meta, Store: st})
	r := tor.NewReader(0)
	defer r.Close()
	_, err := r.ReadAt(context.Background(), make([]byte, 10), 0)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("got %v, want a deadline error", err)
	}
}

// forgetful is a store that claims to have every piece and reads none.
type forgetful struct{ cache.Store }

func (forgetful) ReadAt([]byte, int, int) error { return cache.ErrMiss }

func TestCloseFailsReads(t *testing.T) {
	c := makeContent(t, 1<<20, 64<<10)
	s := newSession(t, Config{})
	tor := add(t, s, TorrentConfig{Meta: c.meta, Store: memstore.New(Geometry(c.meta))})
	r := tor.NewReader(0)
	failed := make(chan error)
	go func() {
		_, err := r.ReadAt(context.Background(), make([]byte, 10), 0)
		failed <- err
	}()
	for len(tor.Status().Waiting) == 0 {
	}
	tor.Close(context.Background())
	if err := <-failed; !errors.Is(err, ErrClosed) {
		t.Fatalf("got %v, want ErrClosed", err)
	}
}
