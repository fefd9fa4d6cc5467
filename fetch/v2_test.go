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
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/cache"
	"github.com/qqbtfs/qqbtfs/cache/memstore"
	"github.com/qqbtfs/qqbtfs/cache/merkle"
	"github.com/qqbtfs/qqbtfs/fetch/metainfo"
	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// files is a torrent of files with their bytes, in the order of the torrent.
type files struct {
	meta *metainfo.MetaInfo
	data map[string][]byte
}

// makeFiles makes a torrent of a version of files of these sizes.
func makeFiles(t testing.TB, version string, pieceLength int64, sizes ...int) files {
	t.Helper()
	f := files{data: map[string][]byte{}}
	var src []metainfo.SourceFile
	var pieces []byte
	var stream []byte
	for i, size := range sizes {
		name := fmt.Sprintf("%02d.bin", i)
		data := make([]byte, size)
		rand.NewChaCha8([32]byte{byte(i), byte(size), byte(size >> 8)}).Read(data)
		f.data[name] = data
		s := metainfo.SourceFile{Path: []string{name}, Length: int64(size)}
		height := merkle.Height(merkle.Blocks(min(int64(size), pieceLength)))
		if size == 0 {
			height = 0
		}
		for at := int64(0); at < int64(size); at += pieceLength {
			var tree merkle.Stack
			tree.Write(data[at:min(at+pieceLength, int64(size))])
			s.Layer = append(s.Layer, tree.Root(0, height))
		}
		src = append(src, s)
		if size > 0 {
			stream = append(stream, make([]byte, -int64(len(stream))&(pieceLength-1))...)
		}
		stream = append(stream, data...)
	}
	for at := 0; at < len(stream); at += int(pieceLength) {
		sum := sha1.Sum(stream[at:min(at+int(pieceLength), len(stream))])
		pieces = append(pieces, sum[:]...)
	}
	b := metainfo.Builder{Name: "dir", PieceLength: pieceLength, V1: version == "hybrid", V2: true}
	raw, err := b.Build(src, false, pieces)
	if err != nil {
		t.Fatal(err)
	}
	if f.meta, err = metainfo.Parse(raw); err != nil {
		t.Fatal(err)
	}
	return f
}

// store returns a store that has everything.
func (f files) store(t testing.TB) cache.Store {
	t.Helper()
	g, lay := Geometry(f.meta), Layout(f.meta)
	st := memstore.New(g)
	for i := range g.NumPieces {
		var data []byte
		for file, c := range lay.PieceFiles(i) {
			data = append(data, f.data[f.meta.Info.Files[file].Path[0]][c.FileOff:][:c.Length]...)
		}
		p, err := cache.Verify(i, g.Sum(i), cache.NewBuffer(data))
		if err != nil {
			t.Fatalf("piece %d: %v", i, err)
		}
		if err := st.Put(context.Background(), p); err != nil {
			t.Fatal(err)
		}
	}
	return st
}

// seed starts a session that has the files.
func (f files) seed(t testing.TB, cfg Config) (*Torrent, netip.AddrPort) {
	s := newSession(t, cfg)
	return add(t, s, TorrentConfig{Meta: f.meta, Store: f.store(t)}), s.Addrs()[0]
}

// check reads all files whole.
func (f files) check(t *testing.T, tor *Torrent) {
	t.Helper()
	for i, file := range f.meta.Info.Files {
		want := f.data[file.Path[0]]
		if file.Pad || len(want) == 0 {
			continue
		}
		r := tor.NewReader(i)
		got := make([]byte, len(want))
		if err := readAt(t.Context(), r, got, 0); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v, same: %t", file.Path, err, bytes.Equal(got, want))
		}
		r.Close()
	}
}

// Torrents of v2 and hybrids are filled and read, whatever the sizes of their files.
func TestV2(t *testing.T) {
	for _, version := range []string{"v2", "hybrid"} {
		for _, pieceLength := range []int64{16 << 10, 64 << 10, 1 << 20} {
			t.Run(fmt.Sprint(version, pieceLength), func(t *testing.T) {
				f := makeFiles(t, version, pieceLength, 1, 0, 700_000, 16<<10, 64<<10, 3<<20+5, 0, 65_537)
				_, addr := f.seed(t, Config{})
				st := memstore.New(Geometry(f.meta))
				tor := add(t, newSession(t, Config{}), TorrentConfig{Meta: f.meta, Store: st, Fill: true, Peers: []netip.AddrPort{addr}})
				f.check(t, tor)
				select {
				case <-tor.Done():
				case <-time.After(20 * time.Second):
					t.Fatalf("not complete: %+v", tor.Status())
				}
				if s := tor.Status(); s.HashFailures != 0 || s.BytesHave != s.Bytes || s.Banned != 0 {
					t.Errorf("%+v", s)
				}
				f.check(t, tor)
			})
		}
	}
}

// slow is a seeder's rate in bytes a second at which a piece of 16 MiB takes 8 s.
const slow = 2 << 20

// firstByte returns how long the first 16 KiB take that are read in the middle of a
// piece of 16 MiB.
func firstByte(t testing.TB, tor *Torrent, want []byte) time.Duration {
	r := tor.NewReader(0)
	defer r.Close()
	start := time.Now()
	got := make([]byte, 16<<10)
	const off = 9<<20 + 300
	if err := readAt(t.Context(), r, got, off); err != nil || !bytes.Equal(got, want[off:off+len(got)]) {
		t.Errorf("read: %v, same: %t", err, bytes.Equal(got, want[off:off+len(got)]))
	}
	return time.Since(start)
}

// A read of a v2 file is served as soon as its blocks are here and proven by their own
// hashes, long before the piece is complete.
func TestReadOfIncompletePiece(t *testing.T) {
	f := makeFiles(t, "v2", 16<<20, 20<<20)
	_, addr := f.seed(t, Config{UploadLimit: slow})
	tor := add(t, newSession(t, Config{}), TorrentConfig{Meta: f.meta, Store: memstore.New(Geometry(f.meta)), Peers: []netip.AddrPort{addr}})
	took := firstByte(t, tor, f.data["00.bin"])
	if st := tor.Status(); st.PiecesHave != 0 || took > 4*time.Second {
		t.Errorf("%v, with %d pieces complete", took, st.PiecesHave)
	}
	t.Logf("first 16 KiB of a 16 MiB piece at %d B/s: %v", slow, took)
}

// Peers that have no hashes, or wrong ones, cost nothing but the whole piece.
func TestReadWithoutHashes(t *testing.T) {
	for name, spoil := range map[string]func(h *hashServer){
		"rejected": func(h *hashServer) { h.byRoot = nil },
		"wrong": func(h *hashServer) {
			h.kept = []keptTree{{piece: 0, tree: merkle.NewTree(make([]merkle.Hash, 64), 0, 6)}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := makeFiles(t, "v2", 1<<20, 3<<20)
			bad, addr := f.seed(t, Config{})
			bad.mu.Lock() // which every connection takes later on
			spoil(bad.hashServer)
			bad.mu.Unlock()
			_, good := f.seed(t, Config{UploadLimit: 1 << 20})
			tor := add(t, newSession(t, Config{}), TorrentConfig{Meta: f.meta, Store: memstore.New(Geometry(f.meta)), Peers: []netip.AddrPort{addr, good}})
			f.check(t, tor)
		})
	}
}

// Hashes count only if they lead to the root of their piece.
func TestHashesAreProven(t *testing.T) {
	f := makeFiles(t, "v2", 4<<20, 9<<20)
	seed, _ := f.seed(t, Config{})
	tor := add(t, newSession(t, Config{}), TorrentConfig{Meta: f.meta, Store: memstore.New(Geometry(f.meta))})
	for piece := range 3 {
		tor.ask(func() {
			v := tor.prover
			p := &proof{leaves: make([]merkle.Hash, tor.lay.NumBlocks(piece)), tested: make([]bool, tor.lay.NumBlocks(piece))}
			for first := 0; first < len(p.leaves); first += proveAtOnce {
				r := v.request(piece, first)
				right := seed.hashServer.hashes(r)
				for at := 0; at < len(right); at += 32 {
					wrong := bytes.Clone(right)
					wrong[at] ^= 1
					v.pieces[piece], v.asked[r] = p, &hashQuery{piece: piece, first: first}
					if v.received(9, r, wrong); p.leaves[first] != (merkle.Hash{}) {
						t.Fatalf("piece %d: wrong hash %d is taken", piece, at/32)
					}
				}
				v.pieces[piece] = p // nobody waits for it, so it was forgotten
				v.asked[r] = &hashQuery{piece: piece, first: first}
				v.received(9, r, right)
				for k := first; k < min(first+proveAtOnce, len(p.leaves)); k++ {
					off := piece<<22 + k<<14
					if data := f.data["00.bin"]; p.leaves[k] != merkle.Leaf(data[off:min(off+1<<14, len(data))]) {
						t.Fatalf("piece %d: the hash of block %d is wrong", piece, k)
					}
				}
			}
		})
	}
}

// rotten is a store that gives wrong bytes.
type rotten struct{ cache.Store }

func (r rotten) ReadAt(dst []byte, index, off int) error {
	err := r.Store.ReadAt(dst, index, off)
	if len(dst) > 0 && off/wire.BlockSize%5 == 3 {
		dst[len(dst)/2] ^= 1
	}
	return err
}

// poisoner has the files, right hashes, and some wrong blocks.
func (f files) poisoner(t *testing.T, cfg Config) netip.AddrPort {
	s := newSession(t, cfg)
	bad := add(t, s, TorrentConfig{Meta: f.meta, Store: rotten{f.store(t)}})
	right := newHashServer(add(t, newSession(t, Config{}), TorrentConfig{Meta: f.meta, Store: f.store(t)}), f.meta)
	bad.mu.Lock() // before any peer is let in, which takes the lock as well
	bad.hashServer = right
	bad.mu.Unlock()
	return s.Addrs()[0]
}

// Of a piece that is not complete the good blocks are read, and the bad ones never.
func TestReadOfBadBlock(t *testing.T) {
	f := makeFiles(t, "v2", 4<<20, 5<<20)
	addr := f.poisoner(t, Config{UploadLimit: 1 << 20}) // the piece takes longer than the timeout
	tor := add(t, newSession(t, Config{ReadTimeout: 2 * time.Second}), TorrentConfig{Meta: f.meta, Store: memstore.New(Geometry(f.meta)), Peers: []netip.AddrPort{addr}})
	r := tor.NewReader(0)
	defer r.Close()
	p := make([]byte, wire.BlockSize)
	if err := readAt(t.Context(), r, p, 3*wire.BlockSize); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a bad block: %v, want that it is not there", err)
	}
	if err := readAt(t.Context(), r, p, 4*wire.BlockSize); err != nil || !bytes.Equal(p, f.data["00.bin"][4*wire.BlockSize:][:len(p)]) {
		t.Errorf("a good block: %v", err)
	}
}

// With an honest peer beside the poisoner all is read.
func TestReadFromPoisoner(t *testing.T) {
	f := makeFiles(t, "v2", 1<<20, 4<<20)
	_, good := f.seed(t, Config{UploadLimit: 2 << 20})
	tor := add(t, newSession(t, Config{}), TorrentConfig{Meta: f.meta, Store: memstore.New(Geometry(f.meta)), Peers: []netip.AddrPort{f.poisoner(t, Config{}), good}})
	f.check(t, tor)
}

// Everything that can be asked of a complete torrent is answered with hashes that
// prove themselves.
func TestHashServer(t *testing.T) {
	for _, size := range []int{1, 16 << 10, 100_000, 300_000, 1_000_000} {
		f := makeFiles(t, "v2", 64<<10, size)
		tor, _ := f.seed(t, Config{})
		meta := f.meta
		layers, height := meta.Layers(0), meta.Height(0)
		for base := 0; base <= layers; base++ {
			for length := 2; length <= 1<<(layers-base); length *= 2 {
				for index := 0; index < 1<<(layers-base); index += length {
					rng := merkle.Range{Base: base, Index: index, Length: length}
					proof := layers - base - 1
					r := wire.HashRequest{Root: meta.Info.Files[0].Root, Base: uint32(base), Index: uint32(index), Length: uint32(length), Proof: uint32(proof)}
					got := tor.hashServer.hashes(r)
					if base > 0 && base < height {
						if got != nil {
							t.Fatalf("%v: answered between the layers", r)
						}
						continue
					}
					if got == nil {
						t.Fatalf("%d bytes: %v: no answer", size, r)
					}
					list := hashesOf(got)
					if n := length + merkle.NumUncles(length, proof); len(list) != n {
						t.Fatalf("%v: %d hashes, want %d", r, len(list), n)
					}
					if merkle.Climb(rng, list[:length], list[length:]) != meta.Info.Files[0].Root {
						t.Fatalf("%d bytes: %v is not proven", size, r)
					}
				}
			}
		}
	}
}

func TestHashServerRefuses(t *testing.T) {
	f := makeFiles(t, "v2", 64<<10, 300_000)
	tor, _ := f.seed(t, Config{})
	empty := add(t, newSession(t, Config{}), TorrentConfig{Meta: f.meta, Store: memstore.New(Geometry(f.meta))})
	root := f.meta.Info.Files[0].Root
	good := wire.HashRequest{Root: root, Length: 2, Proof: 3}
	if tor.hashServer.hashes(good) == nil {
		t.Fatal("a good request is refused")
	}
	if empty.hashServer.hashes(good) != nil {
		t.Error("leaves of a piece that is not here")
	}
	if empty.hashServer.hashes(wire.HashRequest{Root: root, Base: 2, Length: 8}) == nil {
		t.Error("no piece layer without pieces")
	}
	for _, r := range []wire.HashRequest{
		{Root: [32]byte{1}, Length: 2},
		{Root: root, Length: 3},
		{Root: root, Length: 2, Index: 1},
		{Root: root, Length: 2, Index: 32},
		{Root: root, Length: 64},
		{Root: root, Length: 2, Proof: 5},
		{Root: root, Length: 2, Proof: 1<<32 - 1},
		{Root: root, Length: 1 << 31, Index: 1 << 31},
		{Root: root, Length: 2, Base: 1<<32 - 1},
		{Root: root, Length: 2, Base: 6},
	} {
		if tor.hashServer.hashes(r) != nil {
			t.Errorf("%v is answered", r)
		}
	}
}

// BenchmarkFirstByte is how long a reader waits for the first 16 KiB that it wants, in
// the middle of a piece of 16 MiB, from one peer that uploads 4 MiB/s.
func BenchmarkFirstByte(b *testing.B) {
	const rate = 4 << 20
	f := makeFiles(b, "v2", 16<<20, 20<<20)
	v1 := content{data: f.data["00.bin"]}
	v1.meta = v1Of(b, v1.data, 16<<20)
	for name, c := range map[string]struct {
		meta  *metainfo.MetaInfo
		store func() cache.Store
	}{
		"v1": {v1.meta, func() cache.Store { return v1.full(b) }},
		"v2": {f.meta, func() cache.Store { return f.store(b) }},
	} {
		b.Run(name, func(b *testing.B) {
			var took time.Duration
			for b.Loop() {
				s := newSession(b, Config{UploadLimit: rate})
				add(b, s, TorrentConfig{Meta: c.meta, Store: c.store()})
				tor := add(b, newSession(b, Config{}), TorrentConfig{Meta: c.meta, Store: memstore.New(Geometry(c.meta)), Peers: s.Addrs()})
				took += firstByte(b, tor, v1.data)
			}
			b.ReportMetric(float64(took.Milliseconds())/float64(b.N), "ms/first-byte")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// v1Of makes a v1 torrent of one file.
func v1Of(t testing.TB, data []byte, pieceLength int) *metainfo.MetaInfo {
	t.Helper()
	var pieces []byte
	for at := 0; at < len(data); at += pieceLength {
		sum := sha1.Sum(data[at:min(at+pieceLength, len(data))])
		pieces = append(pieces, sum[:]...)
	}
	raw, err := metainfo.Builder{Name: "00.bin", PieceLength: int64(pieceLength)}.Build([]metainfo.SourceFile{{Length: int64(len(data))}}, true, pieces)
	if err != nil {
		t.Fatal(err)
	}
	m, err := metainfo.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return m
}
