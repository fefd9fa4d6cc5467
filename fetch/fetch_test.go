package fetch

import (
	"bytes"
	"context"
	"crypto/sha1"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/anacrolix/torrent/bencode"

	"github.com/qqbtfs/qqbtfs/cache"
	"github.com/qqbtfs/qqbtfs/cache/memstore"
	"github.com/qqbtfs/qqbtfs/fetch/layout"
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
	got := make([]byte, len(c.data))
	if err := readAt(context.Background(), r, got, 0); err != nil || !bytes.Equal(got, c.data) {
		t.Fatalf("read: %v, same: %t", err, bytes.Equal(got, c.data))
	}
}

// readAt fills p by one Read.
func readAt(ctx context.Context, r *Reader, p []byte, off int64) error {
	d, err := r.Read(ctx, make([]byte, len(p)), off)
	copy(p, slices.Concat(d.Parts...))
	d.Release()
	return err
}

// What is in memory is lent, and given back.
func TestReadBorrows(t *testing.T) {
	c := makeContent(t, 4*layout.BlockSize, layout.BlockSize)
	pool := cache.NewPool(layout.BlockSize, 0)
	st := cache.New(cache.Config{Geometry: Geometry(c.meta), Pool: pool})
	tor := add(t, newSession(t, Config{}), TorrentConfig{Meta: c.meta, Store: st})
	for i := range 4 {
		buf := pool.Get(layout.BlockSize)
		copy(buf.Bytes(), c.data[i*layout.BlockSize:])
		p, err := cache.Verify(i, Geometry(c.meta).Sum(i), buf)
		if err != nil || st.Put(t.Context(), p) != nil {
			t.Fatal("put: ", err)
		}
	}
	r := tor.NewReader(0)
	defer r.Close()
	buf := make([]byte, 3*layout.BlockSize)
	d, err := r.Read(t.Context(), buf, 1000)
	if err != nil {
		t.Fatal(err)
	}
	if got := slices.Concat(d.Parts...); !bytes.Equal(got, c.data[1000:][:len(buf)]) || slices.Max(buf) != 0 {
		t.Errorf("%d bytes in %d parts, right: %t, copied: %t", len(got), len(d.Parts), bytes.Equal(got, c.data[1000:][:len(buf)]), slices.Max(buf) != 0)
	}
	st.Close()
	if n := pool.InUse(); n != 4 {
		t.Errorf("%d pieces are kept while they are lent", n)
	}
	d.Release()
	if n := pool.InUse(); n != 0 {
		t.Errorf("%d pieces are not given back", n)
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
		p := make([]byte, min(n, len(c.data)-off))
		if err := readAt(context.Background(), r, p, int64(off)); err != nil || !bytes.Equal(p, c.data[off:][:len(p)]) {
			t.Fatalf("%d bytes at %d: %v", n, off, err)
		}
		for i := off >> 16; len(p) > 0 && i <= (off+len(p)-1)>>16; i++ {
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
	err := readAt(context.Background(), r, make([]byte, 10), 0)
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
	err := readAt(context.Background(), r, make([]byte, 10), 0)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("got %v, want a deadline error", err)
	}
}

// forgetful is a store that claims to have every piece and reads none.
type forgetful struct{ cache.Store }

func (forgetful) ReadAt([]byte, int, int) error { return cache.ErrMiss }

// Who ends a session has no read wait in a torrent that comes at the last moment.
func TestFailReadsIsForGood(t *testing.T) {
	c := makeContent(t, 1<<20, 64<<10)
	s := newSession(t, Config{})
	s.FailReads()
	r := add(t, s, TorrentConfig{Meta: c.meta, Store: memstore.New(Geometry(c.meta))}).NewReader(0)
	defer r.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := readAt(ctx, r, make([]byte, 10), 0); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
}

func TestCloseFailsReads(t *testing.T) {
	c := makeContent(t, 1<<20, 64<<10)
	s := newSession(t, Config{})
	tor := add(t, s, TorrentConfig{Meta: c.meta, Store: memstore.New(Geometry(c.meta))})
	r := tor.NewReader(0)
	failed := make(chan error)
	go func() {
		err := readAt(context.Background(), r, make([]byte, 10), 0)
		failed <- err
	}()
	for len(tor.Status().Waiting) == 0 {
	}
	tor.Close(context.Background())
	if err := <-failed; !errors.Is(err, ErrClosed) {
		t.Fatalf("got %v, want ErrClosed", err)
	}
}
