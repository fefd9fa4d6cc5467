package proto

import (
	"strings"
	"testing"

	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// v2 makes both sides speak BitTorrent v2.
func v2(c *Config, remote *wire.Handshake) {
	c.V2Hash = [20]byte{'2'}
	c.Handshake.InfoHash, remote.InfoHash = c.V2Hash, c.V2Hash
	c.Handshake.Reserved.SetV2()
	remote.Reserved.SetV2()
}

func connectV2(t *testing.T) *peer {
	p, remote := raw(t, v2)
	p.feedBytes(remote.Append(nil))
	if e, _ := p.Next(); e != (Handshaken{remote, true}) {
		t.Fatalf("%v", e)
	}
	p.output()
	p.in = p.in[wire.HandshakeLen:]
	return p
}

func query(length, proof uint32) wire.HashRequest {
	return wire.HashRequest{Root: [32]byte{'r'}, Index: 8, Length: length, Proof: proof}
}

func answerHashes(r wire.HashRequest, n int) wire.Hashes {
	return wire.Hashes{HashRequest: r, Hashes: []byte(strings.Repeat("h", 32*n))}
}

// BEP 52, Upgrade Path: "The remote peer may then respond with the new infohash to
// upgrade the connect to the new format."
func TestUpgradeToV2(t *testing.T) {
	one, two := [20]byte{'1'}, [20]byte{'2'}
	for _, tt := range []struct {
		name         string
		ours, theirs [20]byte
		bit, inbound bool
		ok, v2       bool
	}{
		{"v1", one, one, true, false, true, false},
		{"v2", two, two, false, false, true, true},
		{"they upgrade", one, two, true, false, true, true},
		{"we upgrade", two, one, true, true, true, true},
		{"we upgrade who did not offer it", two, one, false, true, false, false},
		{"they take v1 for v2", two, one, true, false, false, false},
		{"another torrent", one, [20]byte{'x'}, true, true, false, false},
	} {
		cfg, remote := configs(nil)
		cfg.V2Hash = two
		cfg.Handshake.InfoHash, remote.InfoHash = tt.ours, tt.theirs
		if tt.bit {
			remote.Reserved.SetV2()
		}
		var c *Conn
		var err error
		if tt.inbound {
			cfg.Remote = &remote
			c = New(epoch, cfg)
			err = c.Tick(epoch)
		} else {
			c = New(epoch, cfg)
			err = c.Feed(epoch, remote.Append(nil))
		}
		e, _ := c.Next()
		if (err == nil) != tt.ok || tt.ok && e != (Handshaken{remote, tt.v2}) {
			t.Errorf("%s: %v, %v", tt.name, e, err)
		}
	}
	cfg, remote := configs(nil)
	remote.InfoHash = [20]byte{'2'}
	if err := New(epoch, cfg).Feed(epoch, remote.Append(nil)); err == nil {
		t.Error("a torrent without v2 takes another hash")
	}
}

func TestHashesAreAskedFor(t *testing.T) {
	p := connectV2(t)
	p.Send(query(4, 3))
	p.Send(query(4, 3))
	p.Send(query(2, 0))
	p.wantSent(query(4, 3).String(), query(2, 0).String())
	p.feed(answerHashes(query(4, 3), 4+2)) // the uncle of the whole range, and one above
	p.feed(wire.HashReject(query(2, 0)), wire.HashReject(query(2, 0)))
	p.wantEvents(
		HashesReceived{query(4, 3), nil}.String(),
		HashesRejected{query(2, 0)}.String(),
	)
	p.Send(query(8, 2))
	p.feed(answerHashes(query(8, 2), 8)) // all its proof layers are implied
	p.wantEvents(HashesReceived{query(8, 2), nil}.String())
}

func TestHashRequestsHaveALimit(t *testing.T) {
	p := connectV2(t)
	for i := range uint32(maxHashRequests + 1) {
		p.Send(wire.HashRequest{Index: 2 * i, Length: 2})
	}
	p.wantEvents(HashesRejected{wire.HashRequest{Index: 2 * maxHashRequests, Length: 2}}.String())

	p = connectV2(t)
	for i := range uint32(maxHashRequests + 1) {
		p.feed(wire.HashRequest{Index: 2 * i, Length: 2})
	}
	p.wantSent(wire.HashReject{Index: 2 * maxHashRequests, Length: 2}.String())
}

func TestHashesAreAnsweredOnce(t *testing.T) {
	p := connectV2(t)
	p.feed(query(4, 3), query(4, 3), query(2, 0), query(1024, 0), query(0, 0))
	p.wantSent(wire.HashReject(query(1024, 0)).String(), wire.HashReject(query(0, 0)).String())
	p.wantEvents(PeerHashRequest{query(4, 3)}.String(), PeerHashRequest{query(2, 0)}.String())
	m := answerHashes(query(4, 3), 6)
	p.Send(m)
	p.Send(m)
	p.Send(wire.HashReject(query(4, 3)))
	p.Send(wire.HashReject(query(2, 0)))
	p.wantSent(m.String(), wire.HashReject(query(2, 0)).String())
}

func TestBadHashes(t *testing.T) {
	huge := wire.HashRequest{Length: 1<<32 - 1, Proof: 1<<32 - 1}
	for name, m := range map[string]wire.Message{
		"not asked for":   answerHashes(query(2, 0), 2),
		"too few":         answerHashes(query(4, 3), 5),
		"too many":        answerHashes(query(4, 3), 7),
		"none":            answerHashes(query(4, 3), 0),
		"other proof":     answerHashes(query(4, 2), 6),
		"hostile lengths": answerHashes(huge, 6),
		"half a hash":     wire.Hashes{HashRequest: query(4, 3), Hashes: make([]byte, 6*32-1)},
		"1 MB":            wire.Hashes{HashRequest: query(4, 3), Hashes: make([]byte, 30_000*32)},
	} {
		t.Run(name, func(t *testing.T) {
			p := connectV2(t)
			p.Send(query(4, 3))
			p.broken(m.Append(nil))
		})
	}
	for _, m := range []wire.Message{query(4, 3), answerHashes(query(4, 3), 6), wire.HashReject(query(4, 3))} {
		connect(t).broken(m.Append(nil))
	}
	p := connect(t)
	p.Send(query(4, 3))
	p.wantEvents(HashesRejected{query(4, 3)}.String())
	p.wantSent()
}
