package peertest

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/rc4"
	"errors"
	"io"
	"iter"
	"net"

	"github.com/qqbtfs/qqbtfs/peerconn/mse"
	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// Encrypted runs another Script on an encrypted connection. Who does not want one is
// refused.
type Encrypted struct {
	Script
	Method mse.Method // zero: RC4
}

// ErrPlain is the end of an Encrypted script that was greeted plainly.
var ErrPlain = errors.New("peertest: not encrypted")

// Run implements Script.
func (e Encrypted) Run(s *Session) error {
	if e.Method == 0 {
		e.Method = mse.RC4
	}
	h := mse.Initiate(rand.Reader, s.Torrent.InfoHash, e.Method, nil)
	if !s.Dialled {
		h = mse.Respond(rand.Reader, one(s.Torrent.InfoHash), e.Method, e.Method)
		if b, err := s.r.Peek(wire.HandshakeLen); err == nil && wire.CouldBeHandshake(b) {
			return ErrPlain
		}
	}
	r, err := s.negotiate(h)
	if err != nil {
		return err
	}
	s.r = bufio.NewReaderSize(io.MultiReader(bytes.NewReader(r.Early), &cipherReader{s.r, r.In}), 64<<10)
	s.w = &cipherWriter{s.conn, r.Out}
	return e.Script.Run(s)
}

func one(key [20]byte) iter.Seq[[20]byte] { return func(yield func([20]byte) bool) { yield(key) } }

func (s *Session) negotiate(h *mse.Handshake) (mse.Result, error) {
	for buf := make([]byte, 4096); ; {
		if err := s.WriteBytes(h.Output()); err != nil {
			return mse.Result{}, err
		}
		if r, ok := h.Result(); ok {
			return r, nil
		}
		n, err := s.r.Read(buf)
		if err != nil {
			return mse.Result{}, err
		}
		if err := h.Feed(buf[:n]); err != nil {
			return mse.Result{}, err
		}
	}
}

type cipherReader struct {
	r io.Reader
	c *rc4.Cipher // nil: none
}

func (r *cipherReader) Read(b []byte) (int, error) {
	n, err := r.r.Read(b)
	if r.c != nil {
		r.c.XORKeyStream(b[:n], b[:n])
	}
	return n, err
}

type cipherWriter struct {
	conn net.Conn
	c    *rc4.Cipher // nil: none
}

func (w *cipherWriter) Write(b []byte) (int, error) {
	if w.c != nil {
		b = bytes.Clone(b)
		w.c.XORKeyStream(b, b)
	}
	return w.conn.Write(b)
}

// BadKey answers a negotiation with a key that makes no secret.
type BadKey struct{}

// Run implements Script.
func (BadKey) Run(s *Session) error {
	if err := s.WriteBytes(make([]byte, mse.KeyLen)); err != nil {
		return err
	}
	return s.Drain()
}

// Padder sends a key and then padding without end.
type Padder struct{}

// Run implements Script.
func (Padder) Run(s *Session) error {
	for b := bytes.Repeat([]byte{0x55}, 4096); ; {
		if err := s.WriteBytes(b); err != nil {
			return err
		}
	}
}

// WrongConstant negotiates up to the point where the connection is encrypted, wrongly.
type WrongConstant struct{}

// Run implements Script.
func (WrongConstant) Run(s *Session) error {
	h, at := mse.Initiate(rand.Reader, s.Torrent.InfoHash, mse.RC4, nil), 2*20 // behind two hashes
	if !s.Dialled {
		h, at = mse.Respond(rand.Reader, one(s.Torrent.InfoHash), mse.RC4, mse.RC4), 0
	}
	buf := make([]byte, 4096)
	for said := 0; ; {
		out := h.Output()
		if said > 0 && len(out) > 0 {
			out[at]++
		}
		if err := s.WriteBytes(out); err != nil {
			return err
		}
		said += len(out)
		n, err := s.r.Read(buf)
		if err != nil {
			return err
		}
		if err := h.Feed(buf[:n]); err != nil {
			return s.Drain()
		}
	}
}

// A Recorder keeps silent and passes on what it hears.
type Recorder struct{ Heard chan<- []byte }

// Run implements Script.
func (r Recorder) Run(s *Session) error {
	b, err := io.ReadAll(s.r)
	r.Heard <- b
	return err
}
