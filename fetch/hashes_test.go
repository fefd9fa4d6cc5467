package fetch

import (
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/cache"
	"github.com/qqbtfs/qqbtfs/peerconn"
	"github.com/qqbtfs/qqbtfs/peerconn/proto"
	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// held is a store that waits before it reads the first block of a piece.
type held struct {
	cache.Store
	release chan struct{}
	pieces  atomic.Int32 // begun
}

func (h *held) ReadAt(dst []byte, index, off int) error {
	if off == 0 {
		h.pieces.Add(1)
		<-h.release
	}
	return h.Store.ReadAt(dst, index, off)
}

// sent is a connection that passes on what it is to send.
type sent struct {
	peerconn.Conn
	messages chan wire.Message
}

func (s sent) Send(ms ...wire.Message) {
	for _, m := range ms {
		s.messages <- m
	}
}

// A peer that asks for the leaves of many pieces takes one worker, and nothing is hashed
// for it once it is gone.
func TestHashRequestsOfOnePeer(t *testing.T) {
	const pieces = 8
	f := makeFiles(t, "v2", 64<<10, pieces*64<<10)
	store := &held{Store: f.store(t), release: make(chan struct{})}
	s := newSession(t, Config{})
	tor := add(t, s, TorrentConfig{Meta: f.meta, Store: store})
	p := tor.newPeer(netip.MustParseAddrPort("127.0.0.1:9"), false)
	c := sent{messages: make(chan wire.Message, pieces)}
	for i := range uint32(pieces) {
		p.translate(c, proto.PeerHashRequest{Req: wire.HashRequest{Root: f.meta.Info.Files[0].Root, Index: 4 * i, Length: 4}})
	}
	done := make(chan struct{})
	s.serving.do(func() { close(done) })
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Error("one peer takes all workers")
	}
	store.release <- struct{}{}
	if m, ok := (<-c.messages).(wire.Hashes); !ok || m.Index != 0 {
		t.Errorf("%v, want the first hashes", m)
	}
	store.release <- struct{}{} // the second is begun with
	p.Closed(c, nil)
	close(store.release)
	if err := tor.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := store.pieces.Load(); n > 3 {
		t.Errorf("%d pieces read for a peer that was gone at the second", n)
	}
}
