package e2e

import (
	"bufio"
	"encoding/hex"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// A seed holds a thousand connections in little memory and serves all of them.
func TestThousandPeers(t *testing.T) {
	s := newSandbox(t)
	const crowd, size = 1000, 16 << 20
	content := s.write("pub/film.bin", noise(9, size))
	torrent := s.create(content, "--piece-length", "256KiB")
	seed := s.seed(torrent, content, "--max-peers", itoa(crowd+50), "--max-connections", itoa(crowd+50))
	var hash [20]byte
	if _, err := hex.Decode(hash[:], []byte(s.info(torrent).InfoHash)); err != nil {
		t.Fatal(err)
	}
	takers := make([]*taker, crowd)
	var wg sync.WaitGroup
	for i := range takers {
		conn, err := net.Dial("tcp", seed.addr)
		if err != nil {
			t.Fatal(err)
		}
		takers[i] = &taker{conn: conn}
		takers[i].greet(t, hash, i) // at once: only so many may be silent
		wg.Go(takers[i].run)
	}
	defer wg.Wait()
	defer func() {
		for _, k := range takers {
			k.conn.Close()
		}
	}()
	unserved := func() (n int) {
		for _, k := range takers {
			if k.got.Load() == 0 {
				n++
			}
		}
		return n
	}
	began := time.Now()
	await(t, "everyone was served", func() bool { return unserved() == 0 })
	took := time.Since(began)
	anonymous := anonymousMemory(t, seed.cmd.Process.Pid)
	least, most, all := int64(1<<62), int64(0), int64(0)
	for i, k := range takers {
		if k.ended.Load() {
			t.Errorf("peer %d lost its connection", i)
		}
		n := k.got.Load()
		least, most, all = min(least, n), max(most, n), all+n
	}
	t.Logf("%d connections: %.1f MB of anonymous memory; all were served within %.1f s, %.0f MB/s, from %.1f to %.1f MB each",
		crowd, float64(anonymous)/1e6, took.Seconds(), float64(all)/1e6/took.Seconds(), float64(least)/1e6, float64(most)/1e6)
	if anonymous > 100e6 {
		t.Errorf("%d bytes of anonymous memory", anonymous)
	}
	if most > 3*4<<20 { // two turns, and what was on its way
		t.Errorf("one peer got %d bytes before another got any", most)
	}
}

// taker is a peer that takes what it can get and has nothing.
type taker struct {
	conn  net.Conn
	got   atomic.Int64 // bytes of blocks
	ended atomic.Bool
}

func (k *taker) greet(t *testing.T, hash [20]byte, i int) {
	t.Helper()
	h := wire.Handshake{InfoHash: hash}
	copy(h.PeerID[:], "-XX0001-"+itoa(1e11+i))
	h.Reserved.SetFast()
	out := wire.Interested{}.Append(wire.HaveNone{}.Append(h.Append(nil)))
	if _, err := k.conn.Write(out); err != nil {
		t.Fatal(err)
	}
}

// run takes until the connection ends.
func (k *taker) run() {
	defer k.ended.Store(true)
	in := bufio.NewReader(k.conn)
	if _, err := in.Discard(wire.HandshakeLen); err != nil {
		return
	}
	for next := uint32(0); ; {
		var head [4]byte
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return
		}
		n := int(head[0])<<24 | int(head[1])<<16 | int(head[2])<<8 | int(head[3])
		if n == 0 {
			continue
		}
		id, err := in.ReadByte()
		if err != nil {
			return
		}
		if _, err := in.Discard(n - 1); err != nil {
			return
		}
		ask := 0
		switch id {
		case idUnchoke:
			ask = 8
		case idPiece:
			k.got.Add(int64(n - 9))
			ask = 1
		}
		var reqs []byte
		for range ask {
			reqs = wire.Request{Index: next / 16 % 64, Begin: next % 16 * wire.BlockSize, Length: wire.BlockSize}.Append(reqs)
			next++
		}
		if _, err := k.conn.Write(reqs); err != nil {
			return
		}
	}
}

// Message ids (BEP 3).
const (
	idUnchoke = 1
	idPiece   = 7
)

// anonymousMemory is what a process has in memory that belongs to no file, in bytes.
func anonymousMemory(t *testing.T, pid int) (n int64) {
	t.Helper()
	b, err := os.ReadFile("/proc/" + itoa(pid) + "/smaps_rollup")
	if err != nil {
		t.Skip(err)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); f[0] == "Anonymous:" {
			for _, c := range f[1] {
				n = 10*n + int64(c-'0')
			}
		}
	}
	return n << 10
}
