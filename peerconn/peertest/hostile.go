package peertest

import (
	"encoding/binary"
	"time"

	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// A Liar claims every piece, lets everybody ask, and sends nothing.
type Liar struct{}

// Run implements Script.
func (Liar) Run(s *Session) error {
	if err := s.Handshake(); err != nil {
		return err
	}
	if err := s.Write(announcement(s, nil), wire.Unchoke{}); err != nil {
		return err
	}
	return s.Drain()
}

// A Staller says nothing after the handshake.
type Staller struct{}

// Run implements Script.
func (Staller) Run(s *Session) error { return Says(nil).Run(s) }

// Says shakes hands, sends these messages and listens from then on.
type Says []wire.Message

// Run implements Script.
func (ms Says) Run(s *Session) error {
	if err := s.Handshake(); err != nil {
		return err
	}
	if err := s.Write(ms...); err != nil {
		return err
	}
	return s.Drain()
}

// SaysBytes shakes hands, sends these bytes, whatever they are, and listens from then
// on.
type SaysBytes []byte

// Run implements Script.
func (b SaysBytes) Run(s *Session) error {
	if err := s.Handshake(); err != nil {
		return err
	}
	if err := s.WriteBytes(b); err != nil {
		return err
	}
	return s.Drain()
}

// A Dripper answers requests, but byte by byte.
type Dripper struct {
	Every time.Duration // zero: a second
}

// Run implements Script.
func (d Dripper) Run(s *Session) error {
	if err := s.Handshake(); err != nil {
		return err
	}
	if err := s.Write(announcement(s, nil), wire.Unchoke{}); err != nil {
		return err
	}
	for {
		m, err := s.Read()
		if err != nil {
			return nil
		}
		r, ok := m.(wire.Request)
		if !ok {
			continue
		}
		data, _ := s.Torrent.Block(r)
		if err := drip(s, wire.Piece{Index: r.Index, Begin: r.Begin, Data: data}.Append(nil), d.Every); err != nil {
			return err
		}
	}
}

func drip(s *Session, b []byte, every time.Duration) error {
	if every == 0 {
		every = time.Second
	}
	for i := range b {
		if err := s.WriteBytes(b[i : i+1]); err != nil {
			return err
		}
		if !s.Wait(every) {
			return nil
		}
	}
	return nil
}

// A Slowloris sends its handshake byte by byte.
type Slowloris struct {
	Every time.Duration // zero: a second
}

// Run implements Script.
func (l Slowloris) Run(s *Session) error {
	if err := drip(s, s.Us.Append(nil), l.Every); err != nil {
		return err
	}
	return s.Drain()
}

// A Flooder sends the same messages over and over, as fast as it can, and reads
// nothing. With no messages it asks for all blocks.
type Flooder []wire.Message

// Run implements Script.
func (f Flooder) Run(s *Session) error {
	if err := s.Handshake(); err != nil {
		return err
	}
	var b []byte
	for len(b) < 64<<10 {
		for _, m := range f {
			b = m.Append(b)
		}
		if len(f) == 0 {
			for _, r := range s.Torrent.Requests() {
				b = r.Append(b)
			}
		}
	}
	if err := s.Write(wire.Interested{}); err != nil {
		return err
	}
	for {
		if err := s.WriteBytes(b); err != nil {
			return err
		}
	}
}

// Deaf asks for all blocks once it may, and reads nothing from then on.
type Deaf struct{}

// Run implements Script.
func (Deaf) Run(s *Session) error {
	if err := s.conn.SetReadBuffer(64 << 10); err != nil { // else the kernel takes it all
		return err
	}
	if err := s.Handshake(); err != nil {
		return err
	}
	if err := s.Write(wire.Interested{}); err != nil {
		return err
	}
	for m := wire.Message(nil); m != (wire.Unchoke{}); {
		var err error
		if m, err = s.Read(); err != nil {
			return err
		}
	}
	var b []byte
	for _, r := range s.Torrent.Requests() {
		b = r.Append(b)
	}
	if err := s.WriteBytes(b); err != nil {
		return err
	}
	s.Wait(time.Hour)
	return nil
}

// A Poisoner serves like a Seeder, but wrong bytes.
type Poisoner struct {
	Seeder
	Bad func(wire.Request) bool // which blocks; nil: all
}

// Run implements Script.
func (p Poisoner) Run(s *Session) error {
	p.Seeder.corrupt = p.Bad
	if p.Bad == nil {
		p.Seeder.corrupt = func(wire.Request) bool { return true }
	}
	return p.Seeder.Run(s)
}

// A Pusher sends all content without being asked.
type Pusher struct{}

// Run implements Script.
func (Pusher) Run(s *Session) error {
	if err := s.Handshake(); err != nil {
		return err
	}
	for _, r := range s.Torrent.Requests() {
		data, _ := s.Torrent.Block(r)
		if err := s.Write(wire.Piece{Index: r.Index, Begin: r.Begin, Data: data}); err != nil {
			return err
		}
	}
	return s.Drain()
}

// An Oversizer announces a message of that size in bytes and starts to send it.
type Oversizer struct {
	Size uint32 // zero: one more than wire.MaxMessage
	ID   byte
}

// Run implements Script.
func (o Oversizer) Run(s *Session) error {
	if o.Size == 0 {
		o.Size = wire.MaxMessage + 1
	}
	return SaysBytes(append(binary.BigEndian.AppendUint32(nil, o.Size), o.ID, 0, 0, 0, 0)).Run(s)
}

// A WrongInfoHash is about another torrent.
type WrongInfoHash struct{}

// Run implements Script.
func (WrongInfoHash) Run(s *Session) error {
	s.Us.InfoHash[0] ^= 1
	return Liar{}.Run(s)
}

// An Impostor repeats the handshake of whoever connects to it, peer id included, as
// if that had connected to itself.
type Impostor struct{}

// Run implements Script.
func (Impostor) Run(s *Session) error {
	b := make([]byte, wire.HandshakeLen)
	if err := s.ReadFull(b); err != nil {
		return err
	}
	if err := s.WriteBytes(b); err != nil {
		return err
	}
	return s.Drain()
}

// Garbage speaks another protocol.
type Garbage struct{}

// Run implements Script.
func (Garbage) Run(s *Session) error {
	if err := s.WriteBytes([]byte("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")); err != nil {
		return err
	}
	return s.Drain()
}

// A State is how far a connection has come.
type State int

// The states at which a Resetter can reset.
const (
	Accepted      State = iota // nothing was sent
	HalfHandshake              // half of the handshake was sent
	Handshaken                 // the handshake was sent
	Announced                  // have all was sent
	Unchoked                   // unchoke was sent
	Asked                      // a request came
	HalfBlock                  // half of the answer was sent
	numStates
)

// States are all of them.
func States() (all []State) {
	for s := range numStates {
		all = append(all, s)
	}
	return all
}

func (s State) String() string {
	return [...]string{"accepted", "half handshake", "handshaken", "announced", "unchoked", "asked", "half block"}[s]
}

// A Resetter seeds and resets the connection in a certain state.
type Resetter struct {
	At     State
	Polite bool // end it properly instead
}

// Run implements Script.
func (r Resetter) Run(s *Session) error {
	if err := r.play(s); err != nil {
		return err
	}
	if !r.Polite {
		return s.Reset()
	}
	if err := s.conn.CloseWrite(); err != nil {
		return err
	}
	return s.Drain()
}

func (r Resetter) play(s *Session) error {
	hs := s.Us.Append(nil)
	switch r.At {
	case Accepted:
		return nil
	case HalfHandshake:
		return s.WriteBytes(hs[:len(hs)/2])
	}
	if err := s.Handshake(); err != nil || r.At == Handshaken {
		return err
	}
	if err := s.Write(announcement(s, nil)); err != nil || r.At == Announced {
		return err
	}
	if err := s.Write(wire.Unchoke{}); err != nil || r.At == Unchoked {
		return err
	}
	for {
		m, err := s.Read()
		if err != nil {
			return err
		}
		req, ok := m.(wire.Request)
		if !ok {
			continue
		}
		if r.At == Asked {
			return nil
		}
		data, _ := s.Torrent.Block(req)
		b := wire.Piece{Index: req.Index, Begin: req.Begin, Data: data}.Append(nil)
		return s.WriteBytes(b[:len(b)/2])
	}
}
