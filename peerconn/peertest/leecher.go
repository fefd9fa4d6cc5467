package peertest

import (
	"bytes"
	"fmt"

	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// A Leecher downloads everything in order, compares it and leaves. Ended has nil if
// all was right. It asks again for what was rejected or choked away.
type Leecher struct {
	Depth  int  // requests in flight, zero: 64
	NoFast bool // do not speak the fast extension
}

// Run implements Script.
func (l Leecher) Run(s *Session) error {
	if l.NoFast {
		s.Us.Reserved = wire.Reserved{}
	}
	if l.Depth == 0 {
		l.Depth = 64
	}
	if err := s.Handshake(); err != nil {
		return err
	}
	if err := s.Write(wire.Interested{}); err != nil {
		return err
	}
	d := &download{s: s, todo: s.Torrent.Requests(), depth: l.Depth, flying: map[wire.Request]bool{}}
	for !d.complete() {
		m, err := s.Read()
		if err != nil {
			return fmt.Errorf("peertest: %d blocks missing: %w", len(d.todo)+len(d.flying), err)
		}
		if err := d.take(m); err != nil {
			return err
		}
		if err := d.ask(); err != nil {
			return err
		}
	}
	return nil
}

type download struct {
	s        *Session
	todo     []wire.Request
	flying   map[wire.Request]bool
	depth    int
	unchoked bool
}

func (d *download) complete() bool { return len(d.todo) == 0 && len(d.flying) == 0 }

func (d *download) take(m wire.Message) error {
	switch m := m.(type) {
	case wire.Unchoke:
		d.unchoked = true
	case wire.Choke:
		d.unchoked = false
		if !d.s.Fast() {
			for r := range d.flying {
				d.retry(r)
			}
		}
	case wire.Reject:
		d.retry(wire.Request(m))
	case wire.Piece:
		r := m.Request()
		want, _ := d.s.Torrent.Block(r)
		if !d.flying[r] {
			return fmt.Errorf("peertest: %v was not asked for", m)
		}
		if !bytes.Equal(m.Data, want) {
			return fmt.Errorf("peertest: %v is wrong", m)
		}
		delete(d.flying, r)
	}
	return nil
}

func (d *download) retry(r wire.Request) {
	if d.flying[r] {
		delete(d.flying, r)
		d.todo = append(d.todo, r)
	}
}

// ask fills the pipeline, once half of it is empty.
func (d *download) ask() error {
	if !d.unchoked || len(d.flying) > d.depth/2 {
		return nil
	}
	var b []byte
	for len(d.todo) > 0 && len(d.flying) < d.depth {
		r := d.todo[0]
		d.todo = d.todo[1:]
		d.flying[r] = true
		b = r.Append(b)
	}
	return d.s.WriteBytes(b)
}
