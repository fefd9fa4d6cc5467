// Package peertest has scripted peers for tests, honest and hostile, and the
// conformance suite of peerconn drivers.
//
// A peer is a Script that Start runs on loopback, against whatever real client
// connects or is connected to:
//
//	tor := peertest.NewTorrent(1, 10<<20, 256<<10)
//	good := peertest.Start(t, tor, peertest.Seeder{Rate: 500e3, Delay: 50 * time.Millisecond})
//	liar := peertest.Start(t, tor, peertest.Liar{})
//	client.AddPeers(good.Addr(), liar.Addr())
//
// The scripts speak through package wire alone, not through the state machine that
// they are there to test. They do what they are told, fast and without judgement: it
// is up to the test what the client should have made of it.
package peertest

import (
	"crypto/sha1"
	"math/rand/v2"

	"github.com/qqbtfs/qqbtfs/peerconn/bitfield"
	"github.com/qqbtfs/qqbtfs/peerconn/proto"
	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// A Torrent is content and what peers need to know of it.
type Torrent struct {
	InfoHash    [20]byte
	PieceLength int    // in bytes
	Data        []byte // of all pieces
}

// NewTorrent makes size bytes of content and an info-hash, both random but the same
// for the same seed.
func NewTorrent(seed uint64, size, pieceLength int) *Torrent {
	var key [32]byte
	key[0], key[1] = byte(seed), byte(seed>>8)
	t := &Torrent{PieceLength: pieceLength, Data: make([]byte, size)}
	rnd := rand.NewChaCha8(key)
	rnd.Read(t.InfoHash[:])
	rnd.Read(t.Data)
	return t
}

// NumPieces is the number of pieces.
func (t *Torrent) NumPieces() int { return (len(t.Data) + t.PieceLength - 1) / t.PieceLength }

// Piece is the content of piece i, a part of Data.
func (t *Torrent) Piece(i int) []byte {
	return t.Data[i*t.PieceLength : min((i+1)*t.PieceLength, len(t.Data))]
}

// Sum is the SHA-1 of piece i.
func (t *Torrent) Sum(i int) [20]byte { return sha1.Sum(t.Piece(i)) }

// Block is the content that r asks for, a part of Data. It is false if r is not in
// the torrent.
func (t *Torrent) Block(r wire.Request) ([]byte, bool) {
	if int64(r.Index) >= int64(t.NumPieces()) {
		return nil, false
	}
	p := t.Piece(int(r.Index))
	if int64(r.Begin)+int64(r.Length) > int64(len(p)) {
		return nil, false
	}
	return p[r.Begin : r.Begin+r.Length], true
}

// Requests are those for all blocks, in order.
func (t *Torrent) Requests() (reqs []wire.Request) {
	for i := range t.NumPieces() {
		size := len(t.Piece(i))
		for begin := 0; begin < size; begin += wire.BlockSize {
			reqs = append(reqs, wire.Request{
				Index: uint32(i), Begin: uint32(begin), Length: uint32(min(wire.BlockSize, size-begin)),
			})
		}
	}
	return reqs
}

// All is the set of all pieces.
func (t *Torrent) All() bitfield.Set {
	s := bitfield.New(t.NumPieces())
	s.Fill()
	return s
}

// Handshake is one for t from a peer of that name, with the fast extension and the
// extension protocol.
func (t *Torrent) Handshake(name string) wire.Handshake {
	h := wire.Handshake{InfoHash: t.InfoHash}
	copy(h.PeerID[:], "-TT0000-"+name+"------------")
	h.Reserved.SetFast()
	h.Reserved.SetExtended()
	return h
}

// Config is for a connection about t from a peer of that name.
func (t *Torrent) Config(name string) proto.Config {
	return proto.Config{
		Handshake:   t.Handshake(name),
		NumPieces:   t.NumPieces(),
		PieceLength: int64(t.PieceLength),
		Total:       int64(len(t.Data)),
	}
}
