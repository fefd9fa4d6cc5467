package fetch

import (
	"encoding/binary"

	"github.com/qqbtfs/qqbtfs/fetch/metadata"
	"github.com/qqbtfs/qqbtfs/fetch/pex"
	"github.com/qqbtfs/qqbtfs/fetch/swarm"
	"github.com/qqbtfs/qqbtfs/peerconn"
	"github.com/qqbtfs/qqbtfs/peerconn/extension"
	"github.com/qqbtfs/qqbtfs/peerconn/proto"
	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// dontHaveName names the extension by which peers take back a have (BEP 54).
const dontHaveName = "lt_donthave"

// ourExtensions are the extensions that we support, with the ids that we want their
// messages to have (BEP 10), privateExtensions those for private torrents (BEP 27). They
// are never changed.
var (
	ourExtensions     = map[string]uint8{metadata.Extension: idMetadata, dontHaveName: 7, extension.UploadOnly: 3, pex.Name: idPEX}
	privateExtensions = map[string]uint8{metadata.Extension: idMetadata, dontHaveName: 7, extension.UploadOnly: 3}
)

// extension takes in a message of one of our extensions.
func (p *peer) extension(c peerconn.Conn, m proto.ExtMessage) {
	switch m.Name {
	case metadata.Extension:
		p.giveMetadata(c, m.Payload)
	case pex.Name:
		p.hearPeers(m.Payload)
	case dontHaveName:
		p.hearLack(m.Payload)
	}
}

// hearLack takes back that a peer has a piece (BEP 54).
func (p *peer) hearLack(payload []byte) {
	if len(payload) != 4 {
		return
	}
	if i := binary.BigEndian.Uint32(payload); int64(i) < int64(p.t.lay.NumPieces()) {
		p.post(swarm.PeerLacks{Peer: p.id, Piece: int(i)})
	}
}

// dontHave tells a peer that a piece is not here any more (BEP 54: the payload of the
// message is the piece's index in four bytes).
func (t *Torrent) dontHave(c swarm.DontHave) {
	if p := t.conns[c.Peer]; p != nil {
		p.conn.SendExtension(dontHaveName, binary.BigEndian.AppendUint32(nil, uint32(c.Piece)))
	}
}

// sayUploadOnly has the first extension handshake tell it (BEP 21).
func (p *peer) sayUploadOnly(cfg *proto.Config) {
	if on := p.t.uploadOnly.Load(); on {
		p.told = true
		cfg.Extension.UploadOnly = &on
	}
}

// setUploadOnly has all peers told whether we want nothing any more.
func (t *Torrent) setUploadOnly(on bool) {
	t.uploadOnly.Store(on)
	for _, p := range t.conns {
		p.tellUploadOnly()
	}
}

// tellUploadOnly tells what has changed since our extension handshake, once the peer's has
// come: by a message of its own where that is known, else by the handshake again (BEP 10:
// "It is valid to send the handshake message more than once during the lifetime of a
// connection").
func (p *peer) tellUploadOnly() {
	on := p.t.uploadOnly.Load()
	if on == p.told || p.conn.State().Ext.M == nil {
		return
	}
	p.told = on
	b := []byte{0}
	if on {
		b[0] = 1
	}
	if p.conn.SendExtension(extension.UploadOnly, b) {
		return
	}
	p.conn.Send(wire.Extended{ID: extension.HandshakeID, Payload: extension.Handshake{UploadOnly: &on}.Append(nil)})
}

// seedingEnded tells that the seeding has reached its goal.
func (t *Torrent) seedingEnded(why string) {
	t.log.Info("seeding ended", "why", why)
	close(t.seeded)
}
