package peertest

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// A Script is what a peer does on one connection, from the first byte on. The
// connection is closed when Run returns. A Script is used for all connections of its
// peer at once, so it keeps no state of theirs.
type Script interface {
	Run(s *Session) error
}

// A Peer runs a Script on each connection that it accepts or makes.
type Peer struct {
	torrent *Torrent
	script  Script
	l       net.Listener
	ctx     context.Context
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	ended   chan error

	accepted atomic.Int64
	payload  atomic.Int64
}

// Start runs a peer on a loopback address until the end of the test.
func Start(t testing.TB, torrent *Torrent, script Script) *Peer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Peer{torrent: torrent, script: script, l: l, ended: make(chan error, 64)}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.wg.Go(p.accept)
	t.Cleanup(p.Close)
	return p
}

// Addr is where the peer listens.
func (p *Peer) Addr() netip.AddrPort { return p.l.Addr().(*net.TCPAddr).AddrPort() }

// Accepted is how many connections were made to the peer.
func (p *Peer) Accepted() int { return int(p.accepted.Load()) }

// Payload is how many bytes of blocks the peer has written, on all connections.
func (p *Peer) Payload() int64 { return p.payload.Load() }

// Ended has for each connection, once it ended, what the Script made of it. Results
// that nobody takes are dropped, beyond the first 64.
func (p *Peer) Ended() <-chan error { return p.ended }

// Close ends all connections and waits for that.
func (p *Peer) Close() {
	p.cancel()
	p.l.Close()
	p.wg.Wait()
}

func (p *Peer) accept() {
	for {
		conn, err := p.l.Accept()
		if err != nil {
			return
		}
		p.accepted.Add(1)
		p.wg.Go(func() { p.run(conn, false) })
	}
}

// Connect has the peer connect to addr and run its Script there. It returns once
// connected; an error comes from Ended.
func (p *Peer) Connect(addr netip.AddrPort) {
	var d net.Dialer
	conn, err := d.DialContext(p.ctx, "tcp", addr.String())
	if err != nil {
		p.report(err)
		return
	}
	p.wg.Go(func() { p.run(conn, true) })
}

func (p *Peer) run(conn net.Conn, dialled bool) {
	defer conn.Close()
	defer context.AfterFunc(p.ctx, func() { conn.Close() })()
	s := &Session{
		Torrent: p.torrent,
		Us:      p.torrent.Handshake("peertest"),
		peer:    p,
		Dialled: dialled,
		conn:    conn.(*net.TCPConn),
		w:       conn,
		r:       bufio.NewReaderSize(conn, 64<<10),
	}
	p.report(p.script.Run(s))
}

func (p *Peer) report(err error) {
	select {
	case p.ended <- err:
	default:
	}
}

// A Session is one connection of a Peer, as its Script sees it. One goroutine may
// read while another writes.
type Session struct {
	Torrent  *Torrent
	Us, Them wire.Handshake // Them once Handshake has returned
	Dialled  bool           // the peer made the connection
	peer     *Peer
	conn     *net.TCPConn
	r        *bufio.Reader
	w        io.Writer
}

// Context ends with the peer.
func (s *Session) Context() context.Context { return s.peer.ctx }

// Handshake sends Us and reads Them.
func (s *Session) Handshake() error {
	if err := s.WriteBytes(s.Us.Append(nil)); err != nil {
		return err
	}
	var b [wire.HandshakeLen]byte
	if _, err := io.ReadFull(s.r, b[:]); err != nil {
		return err
	}
	var err error
	s.Them, err = wire.ParseHandshake(b[:])
	return err
}

// Fast reports whether both sides have the fast extension.
func (s *Session) Fast() bool { return s.Us.Reserved.HasFast() && s.Them.Reserved.HasFast() }

// Read reads one message.
func (s *Session) Read() (wire.Message, error) {
	var prefix [4]byte
	if _, err := io.ReadFull(s.r, prefix[:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(prefix[:])
	switch {
	case size == 0:
		return wire.KeepAlive{}, nil
	case size > wire.MaxMessage:
		return nil, fmt.Errorf("peertest: message of %d bytes", size)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(s.r, body); err != nil {
		return nil, err
	}
	return wire.Parse(body[0], body[1:])
}

// ReadFull reads len(b) bytes as they are.
func (s *Session) ReadFull(b []byte) error {
	_, err := io.ReadFull(s.r, b)
	return err
}

// Write sends messages at once.
func (s *Session) Write(ms ...wire.Message) error {
	var bufs net.Buffers
	var payload int64
	for _, m := range ms {
		if p, ok := m.(wire.Piece); ok {
			bufs = append(bufs, p.AppendHeader(nil), p.Data)
			payload += int64(len(p.Data))
		} else {
			bufs = append(bufs, m.Append(nil))
		}
	}
	_, err := bufs.WriteTo(s.w)
	if err == nil {
		s.peer.payload.Add(payload)
	}
	return err
}

// WriteBytes sends b as it is.
func (s *Session) WriteBytes(b []byte) error {
	_, err := s.w.Write(b)
	return err
}

// Drain reads and forgets until the other side ends the connection. Its error is nil
// then.
func (s *Session) Drain() error {
	_, err := io.Copy(io.Discard, s.r)
	return err
}

// Reset makes the end of the connection a reset instead of a proper one.
func (s *Session) Reset() error {
	return errors.Join(s.conn.SetLinger(0), s.conn.Close())
}

// Wait waits for d. It is false when the peer ends before that.
func (s *Session) Wait(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.peer.ctx.Done():
		return false
	}
}
