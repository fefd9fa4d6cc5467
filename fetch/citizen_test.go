package fetch

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/cache"
	"github.com/qqbtfs/qqbtfs/cache/memstore"
	"github.com/qqbtfs/qqbtfs/fetch/swarm"
	"github.com/qqbtfs/qqbtfs/peerconn"
	"github.com/qqbtfs/qqbtfs/peerconn/extension"
	"github.com/qqbtfs/qqbtfs/peerconn/proto"
	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// A peer hears over a real connection that a seed wants nothing (BEP 21), then that it
// has lost a piece (BEP 54) and wants that.
func TestPeersAreToldWhatChanges(t *testing.T) {
	c := makeContent(t, 100_000, 16<<10)
	seeds := newSession(t, Config{})
	seed := add(t, seeds, TorrentConfig{Meta: c.meta, Store: c.full(t)})
	heard := make(chan string, 100)
	leeches := newSession(t, Config{Trace: func(_ netip.AddrPort, in bool, m wire.Message) {
		if m, ok := m.(wire.Extended); ok && in {
			heard <- summary(m)
		}
	}})
	add(t, leeches, TorrentConfig{Meta: c.meta, Store: memstore.New(Geometry(c.meta)), Peers: seeds.Addrs()})
	expect := func(want ...string) {
		t.Helper()
		for len(want) > 0 {
			select {
			case got := <-heard:
				want = slices.DeleteFunc(want, func(w string) bool { return w == got })
			case <-time.After(20 * time.Second):
				t.Fatalf("never heard %q", want)
			}
		}
	}
	expect("upload only")
	for len(seed.Status().Peers) == 0 { // what is lost before is not even in the greeting
	}
	seed.Lost(2, cache.ErrEvicted)
	expect("lacks 2", "upload_only 00")
}

// summary says in words what an extended message tells.
func summary(m wire.Extended) string {
	switch m.ID {
	case ourExtensions[dontHaveName]:
		return fmt.Sprint("lacks ", m.Payload[3])
	case ourExtensions[extension.UploadOnly]:
		return fmt.Sprintf("upload_only %x", m.Payload)
	}
	h, err := extension.ParseHandshake(m.Payload)
	switch {
	case m.ID != extension.HandshakeID || err != nil || h.UploadOnly == nil:
		return "something else"
	case *h.UploadOnly:
		return "upload only"
	default:
		return "downloads"
	}
}

// extConn is a connection to a peer that may know the extension upload_only.
type extConn struct {
	peerconn.Conn
	knows bool
	told  []string
}

func (c *extConn) State() proto.State {
	return proto.State{Ext: extension.Handshake{M: map[string]uint8{}}}
}

func (c *extConn) SendExtension(name string, payload []byte) bool {
	if c.knows {
		c.told = append(c.told, fmt.Sprintf("%s %x", name, payload))
	}
	return c.knows
}

func (c *extConn) Send(msgs ...wire.Message) {
	for _, m := range msgs {
		c.told = append(c.told, summary(m.(wire.Extended)))
	}
}

// What changes is told once, in the way that the peer knows.
func TestUploadOnlyIsToldInTheWayThatIsKnown(t *testing.T) {
	for knows, want := range map[bool][]string{
		true:  {"upload_only 01", "upload_only 00"},
		false: {"upload only", "downloads"},
	} {
		c := &extConn{knows: knows}
		p := &peer{t: &Torrent{}, conn: c}
		for _, on := range []bool{false, true, true, false} {
			p.t.uploadOnly.Store(on)
			p.tellUploadOnly()
		}
		if !slices.Equal(c.told, want) {
			t.Errorf("told %q, want %q", c.told, want)
		}
	}
}

func TestBadDontHavesAreIgnored(t *testing.T) {
	c := makeContent(t, 100_000, 16<<10) // 7 pieces
	for _, tc := range []struct {
		payload string
		want    []swarm.Event
	}{
		{"", nil},
		{"\x00\x00\x01", nil},
		{"\x00\x00\x00\x01\x00", nil},
		{"\x00\x00\x00\x07", nil},
		{"\xff\xff\xff\xff", nil},
		{"\x00\x00\x00\x06", []swarm.Event{swarm.PeerLacks{Peer: 3, Piece: 6}}},
	} {
		p := &peer{t: &Torrent{lay: Layout(c.meta)}, id: 3}
		p.extension(nil, proto.ExtMessage{Name: dontHaveName, Payload: []byte(tc.payload)})
		if !slices.Equal(p.evs, tc.want) {
			t.Errorf("%x: %v, want %v", tc.payload, p.evs, tc.want)
		}
	}
}
