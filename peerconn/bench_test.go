package peerconn_test

import (
	"crypto/sha1"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/qqbtfs/qqbtfs/peerconn"
	"github.com/qqbtfs/qqbtfs/peerconn/peertest"
	"github.com/qqbtfs/qqbtfs/peerconn/proto"
	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

func open(t testing.TB, opt peerconn.Options) *peerconn.Net {
	t.Helper()
	n, err := peerconn.NewNet(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

const benchConns = 4

// BenchmarkLeech downloads over four connections, with and without the SHA-1 of every
// piece and encryption, from peers in the same process.
func BenchmarkLeech(b *testing.B) {
	tor := peertest.NewTorrent(1, 256<<20, 256<<10)
	for _, variant := range []struct{ hash, rc4 bool }{{false, false}, {true, false}, {true, true}} {
		hash := variant.hash
		b.Run(fmt.Sprintf("hash=%v/rc4=%v", hash, variant.rc4), func(b *testing.B) {
			script, opt := peertest.Script(peertest.Seeder{}), peerconn.Options{}
			if variant.rc4 {
				script, opt.Encryption = peertest.Encrypted{Script: script}, peerconn.EncryptRequire
			}
			seeder := peertest.Start(b, tor, script)
			n := open(b, opt)
			g := peertest.NewGetter(tor, 128)
			b.SetBytes(int64(len(tor.Data)))
			for b.Loop() {
				leech(b, n, g, tor, []netip.AddrPort{seeder.Addr()}, hash)
				g.Reset()
			}
		})
	}
}

func leech(b *testing.B, n *peerconn.Net, g *peertest.Getter, tor *peertest.Torrent, addrs []netip.AddrPort, hash bool) {
	perPiece := tor.PieceLength / wire.BlockSize
	got := make([]atomic.Int32, tor.NumPieces())
	var bad atomic.Int32
	g.OnBlock = func(r wire.Request, _ []byte) {
		if hash && int(got[r.Index].Add(1)) == perPiece {
			off := int(r.Index) * tor.PieceLength
			if sha1.Sum(g.Data()[off:off+tor.PieceLength]) == [20]byte{} {
				bad.Add(1)
			}
		}
	}
	var conns []peerconn.Conn
	for i := range benchConns {
		conns = append(conns, n.Dial(b.Context(), addrs[i%len(addrs)], tor.Config("get"), g))
	}
	<-g.Done()
	for _, c := range conns {
		c.Close(nil)
	}
}

// BenchmarkSeed serves four connections that ask for blocks and throw them away.
func BenchmarkSeed(b *testing.B) {
	tor := peertest.NewTorrent(1, 64<<20, 256<<10)
	n := open(b, peerconn.Options{
		Listen: []string{"127.0.0.1:0"},
		Accept: peertest.Accept(tor, "give", peertest.NewGiver(tor)),
	})
	b.SetBytes(benchConns * int64(len(tor.Data)))
	for b.Loop() {
		var wg sync.WaitGroup
		for range benchConns {
			wg.Go(func() {
				if err := sink(n.ListenAddrs()[0], tor); err != nil {
					b.Error(err)
				}
			})
		}
		wg.Wait()
	}
}

// sink asks for everything, half a megabyte at a time, and counts what comes.
func sink(addr netip.AddrPort, tor *peertest.Torrent) error {
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		return err
	}
	defer conn.Close()
	h := tor.Handshake("sink")
	h.Reserved = wire.Reserved{}
	const depth = 32
	reqs := tor.Requests()
	b := wire.Interested{}.Append(h.Append(nil))
	if _, err := conn.Write(b); err != nil {
		return err
	}
	hello := int64(wire.HandshakeLen + 5 + (tor.NumPieces()+7)/8 + 5) // bitfield and unchoke
	if _, err := io.CopyN(io.Discard, conn, hello); err != nil {
		return err
	}
	buf := make([]byte, 256<<10)
	answer := depth / 2 * (wire.PieceHeaderLen + wire.BlockSize)
	for i := 0; i < len(reqs); i += depth / 2 {
		b = b[:0]
		for _, r := range reqs[i:min(i+depth/2, len(reqs))] {
			b = r.Append(b)
		}
		if _, err := conn.Write(b); err != nil {
			return err
		}
		if i == 0 {
			continue // two halves are under way
		}
		if err := discard(conn, buf, answer); err != nil {
			return err
		}
	}
	return discard(conn, buf, answer)
}

func discard(r io.Reader, buf []byte, n int) error {
	for n > 0 {
		m, err := r.Read(buf[:min(n, len(buf))])
		if err != nil {
			return err
		}
		n -= m
	}
	return nil
}

type idleHandler struct{ shaken chan struct{} }

func (h idleHandler) Events(peerconn.Conn, []proto.Event) bool {
	h.shaken <- struct{}{}
	return true
}
func (idleHandler) Closed(peerconn.Conn, error) {}

// BenchmarkIdle makes 1,000 connections that say nothing after the handshake, and
// measures the memory for one of them.
func BenchmarkIdle(b *testing.B) {
	const conns = 1000
	tor := peertest.NewTorrent(1, 1<<20, 256<<10)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan net.Conn)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	for b.Loop() {
		before := memory()
		n := open(b, peerconn.Options{})
		h := idleHandler{make(chan struct{})}
		cfg := tor.Config("idle")
		peers := make([]net.Conn, conns)
		for i := range peers {
			n.Dial(b.Context(), l.Addr().(*net.TCPAddr).AddrPort(), cfg, h)
			peers[i] = <-accepted
			peers[i].Write(tor.Handshake("peer").Append(nil))
			<-h.shaken
		}
		b.ReportMetric(float64(memory()-before)/conns, "B/conn")
		n.Close()
		for _, p := range peers {
			p.Close()
		}
	}
}

// memory is what is in use, of heap and stacks.
func memory() int64 {
	runtime.GC()
	runtime.GC() // empties the pools
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}
