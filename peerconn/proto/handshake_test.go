package proto

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/peerconn/extension"
	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// BEP 3: "Connections start out choked and not interested."
func TestStartState(t *testing.T) {
	s := connect(t).State()
	if !s.Handshaken || !s.AmChoking || !s.PeerChoking || s.AmInterested || s.PeerInterested {
		t.Errorf("%+v", s)
	}
}

// BEP 3: "If both sides don't send the same value, they sever the connection."
func TestOtherInfoHash(t *testing.T) {
	p, remote := raw(t)
	remote.InfoHash[3]++
	p.broken(remote.Append(nil))
	p.wantEvents()
}

func TestConnectionToOurselves(t *testing.T) {
	p, remote := raw(t)
	remote.PeerID = p.cfg.Handshake.PeerID
	if err := p.broken(remote.Append(nil)); !errors.Is(err, ErrSelf) {
		t.Errorf("%v is not ErrSelf", err)
	}
}

func TestNotAHandshake(t *testing.T) {
	for _, b := range []string{"GET / HTTP/1.0\r\n\r\n", "\x13BitTorrent protocoL", "\x14"} {
		p, _ := raw(t)
		if err := p.broken([]byte(b)); !errors.Is(err, wire.ErrNotBitTorrent) {
			t.Errorf("%q: %v", b, err)
		}
	}
}

func TestInboundHandshake(t *testing.T) {
	cfg, remote := configs([]option{fast})
	cfg.Remote = &remote
	p := &peer{Conn: New(epoch, cfg), t: t, now: epoch}
	p.wantEvents(Handshaken{Remote: remote}.String())
	p.feed(wire.HaveAll{})
	p.wantEvents("has set 3/3")
	if s := p.State(); s.Remote != remote || !s.Fast {
		t.Errorf("%+v", s)
	}

	remote.InfoHash[0]++
	c := New(epoch, cfg)
	if err := c.Feed(epoch, nil); err == nil {
		t.Error("another torrent's handshake was accepted")
	}
}

// BEP 6: "The extension is enabled only if both ends of the connection set this
// bit."
func TestExtensionsNeedBothSides(t *testing.T) {
	ours := func(c *Config, _ *wire.Handshake) {
		c.Handshake.Reserved.SetFast()
		c.Handshake.Reserved.SetExtended()
	}
	theirs := func(_ *Config, h *wire.Handshake) {
		h.Reserved.SetFast()
		h.Reserved.SetExtended()
	}
	for _, o := range []option{ours, theirs} {
		p := connect(t, o)
		if s := p.State(); s.Fast || s.Extended {
			t.Errorf("%+v", s)
		}
		p.feed(wire.Extended{ID: 0, Payload: []byte("not bencode")})
		p.wantEvents()
	}
}

// BEP 10: "This message should be sent immediately after the standard bittorrent
// handshake to any peer that supports this extension protocol."
func TestExtensionHandshakeIsSent(t *testing.T) {
	p, remote := raw(t, extended, maxRequests(77))
	p.feedBytes(remote.Append(nil))
	b := p.output()[wire.HandshakeLen:]
	m := parse(t, b).(wire.Extended)
	h, err := extension.ParseHandshake(m.Payload)
	if err != nil || m.ID != 0 || h.ReqQ != 77 || h.M["ut_pex"] != 3 || h.V != "test" {
		t.Errorf("sent %+v, %v", h, err)
	}
}

func extHandshake(h extension.Handshake) wire.Message {
	return wire.Extended{ID: extension.HandshakeID, Payload: h.Append(nil)}
}

// BEP 10: "the m dictionary is additive" and "the value 0 is used to turn off an
// extension".
func TestExtensionHandshakesAreMerged(t *testing.T) {
	p := connect(t, extended)
	if p.SendExtension("ut_pex", []byte("x")) {
		t.Error("sent before the peer's handshake")
	}
	p.feed(extHandshake(extension.Handshake{M: map[string]uint8{"ut_pex": 9, "ut_metadata": 4}, V: "peer", ReqQ: 250}))
	p.feed(extHandshake(extension.Handshake{M: map[string]uint8{"ut_metadata": 0}, ReqQ: 100}))
	p.wantEvents(`extension handshake of "peer", reqq 250`, `extension handshake of "peer", reqq 100`)
	if s := p.State(); len(s.Ext.M) != 1 || s.Ext.V != "peer" || s.Ext.ReqQ != 100 {
		t.Errorf("%+v", s.Ext)
	}
	// "The IDs are local to this particular peer."
	if !p.SendExtension("ut_pex", []byte("x")) || p.SendExtension("ut_metadata", nil) {
		t.Error("SendExtension does not follow the handshakes")
	}
	p.wantSent("extended 9, 1 bytes")
}

// Whether a peer wants anything is told by a message too, when its handshake has come.
func TestUploadOnlyMessages(t *testing.T) {
	p := connect(t, extended, func(c *Config, _ *wire.Handshake) { c.Extension.M[extension.UploadOnly] = 5 })
	says := func(payload string) wire.Message { return wire.Extended{ID: 5, Payload: []byte(payload)} }
	p.feed(says("\x01"))
	p.wantEvents()
	p.feed(extHandshake(extension.Handshake{V: "peer"}))
	p.wantEvents(`extension handshake of "peer", reqq 0`)
	for _, tc := range []struct {
		payload string
		want    bool
	}{{"\x01", true}, {"\x00", false}, {"\x01", true}, {"", true}, {"\x00\x00", true}} {
		p.feed(says(tc.payload))
		if on := p.State().Ext.UploadOnly; on == nil || *on != tc.want {
			t.Errorf("after %x: %v", tc.payload, on)
		}
		if len(tc.payload) == 1 {
			p.wantEvents(`extension handshake of "peer", reqq 0`)
		}
	}
	p.wantEvents()
	p.feed(extHandshake(extension.Handshake{ReqQ: 3}))
	if on := p.State().Ext.UploadOnly; on == nil || !*on {
		t.Error("a handshake without a word of it takes it back")
	}
}

// BEP 10: "The extension message IDs are the IDs used to send the extension
// messages to the peer sending this handshake."
func TestExtensionMessages(t *testing.T) {
	p := connect(t, extended)
	payload := []byte("d1:xi1ee")
	b := wire.Extended{ID: 3, Payload: payload}.Append(nil)
	p.feedBytes(b)
	p.feed(wire.Extended{ID: 99, Payload: payload})
	clear(b)
	e, _ := p.Next()
	if m, ok := e.(ExtMessage); !ok || m.Name != "ut_pex" || string(m.Payload) != string(payload) {
		t.Errorf("got %v %+v", e, e)
	}
	p.wantEvents()
}

func TestHostileExtensionHandshakes(t *testing.T) {
	for _, payload := range []string{
		"", "i1e", "d", "d1:v9999999999:", "d1:v1:a1:v1:be",
		"d1:m" + strings.Repeat("l", 100000), strings.Repeat("d1:a", 200000),
	} {
		connect(t, extended).broken(wire.Extended{Payload: []byte(payload)}.Append(nil))
	}
}

func TestExtensionsOfAPeerAreBounded(t *testing.T) {
	p := connect(t, extended)
	for i := range 10 {
		h := extension.Handshake{M: map[string]uint8{}}
		for j := range 50 {
			h.M[strings.Repeat("x", i+1)+string(rune('A'+j))] = 1
		}
		p.feed(extHandshake(h))
	}
	if n := len(p.State().Ext.M); n != maxExtensions {
		t.Errorf("%d extensions", n)
	}
}

func TestHandshakeTimeout(t *testing.T) {
	p, remote := raw(t)
	if d := p.Deadline(); d != epoch.Add(10*time.Second) {
		t.Errorf("deadline %v", d)
	}
	b := remote.Append(nil)
	for i := range 9 { // a byte a second
		p.now = p.now.Add(time.Second)
		p.feedBytes(b[i : i+1])
		if err := p.Tick(p.now); err != nil {
			t.Fatal(err)
		}
	}
	err := p.Tick(epoch.Add(10 * time.Second))
	if !errors.Is(err, ErrTimeout) || !strings.Contains(err.Error(), "handshake") {
		t.Errorf("Tick: %v", err)
	}
	if again := p.Feed(p.now, b[9:]); again != err {
		t.Errorf("Feed after it: %v", again)
	}
}

func TestIdleTimeout(t *testing.T) {
	p := connect(t)
	p.now = epoch.Add(time.Minute)
	p.feed(wire.KeepAlive{})
	if err := p.Tick(epoch.Add(3*time.Minute + 29*time.Second)); err != nil {
		t.Fatal(err)
	}
	if err := p.Tick(epoch.Add(3*time.Minute + 30*time.Second)); !errors.Is(err, ErrTimeout) {
		t.Errorf("Tick: %v", err)
	}
}

// BEP 3: "Keepalives are generally sent once every two minutes".
func TestKeepAlive(t *testing.T) {
	p := connect(t)
	p.now = epoch.Add(60 * time.Second)
	p.feed(wire.KeepAlive{})
	p.Send(wire.Interested{})
	p.wantSent("interested")
	if d := p.Deadline(); d != epoch.Add(150*time.Second) {
		t.Errorf("deadline %v", d.Sub(epoch))
	}
	p.Tick(epoch.Add(149 * time.Second))
	p.wantSent()
	p.Tick(epoch.Add(150 * time.Second))
	p.wantSent("keep-alive")
	if d := p.Deadline(); d != epoch.Add(210*time.Second) {
		t.Errorf("next deadline %v", d.Sub(epoch))
	}
}

func TestTimeoutsCanBeOff(t *testing.T) {
	p, _ := raw(t, func(c *Config, _ *wire.Handshake) {
		c.HandshakeTimeout, c.IdleTimeout, c.KeepAlive = -1, -1, -1
	})
	if d := p.Deadline(); !d.IsZero() {
		t.Errorf("deadline %v", d)
	}
	if err := p.Tick(epoch.Add(1000 * time.Hour)); err != nil {
		t.Error(err)
	}
}

// The opening goes out before the peer has said anything, and is not said again.
func TestOpening(t *testing.T) {
	cfg, remote := configs([]option{fast})
	open := []wire.Message{wire.Bitfield{Bits: []byte{0}}, wire.Interested{}}
	cfg.Opening = open
	c := New(epoch, cfg)
	want := cfg.Handshake.Append(nil)
	for _, m := range open {
		want = m.Append(want)
	}
	if got := c.Output(); string(got) != string(want) {
		t.Fatalf("opening %x, want %x", got, want)
	}
	p := &peer{Conn: c, t: t, now: epoch}
	p.feedBytes(remote.Append(nil))
	p.Send(wire.Interested{})
	if got := p.Output(); len(got) != 0 {
		t.Errorf("said again: %x", got)
	}
}
