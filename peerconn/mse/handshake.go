package mse

import (
	"bytes"
	"crypto/rc4"
	"encoding/binary"
	"io"
	"math/big"
)

// A Handshake is one side of a negotiation. It is not safe for concurrent use.
type Handshake struct {
	rand io.Reader
	x    *big.Int // private key

	in   []byte // what has come and was not used
	out  []byte
	err  error // for good
	step step  // what to do with in; nil: done

	secret    [KeyLen]byte
	skey      [20]byte
	send, get *rc4.Cipher
	method    Method
	early     []byte

	initiator // of one side only
	responder
}

// A step uses bytes of in, or none when it needs more: false.
type step func(h *Handshake) (bool, error)

// A Result is what a negotiation came to.
type Result struct {
	Method Method
	SKey   [20]byte // the info-hash
	// In and Out are for the rest of the stream from and to the peer; nil means that it
	// is as it is.
	In, Out *rc4.Cipher
	// Early is what the peer has sent already behind the negotiation, decrypted.
	Early []byte
}

func newHandshake(rand io.Reader) *Handshake {
	h := &Handshake{rand: rand}
	var key [privateLen]byte
	_, h.err = io.ReadFull(rand, key[:])
	h.x = new(big.Int).SetBytes(key[:])
	return h
}

// Feed takes bytes of the peer. It keeps no reference to b, and of b no more than the
// protocol allows to come. After an error there is nothing to be had of h.
func (h *Handshake) Feed(b []byte) error {
	h.in = append(h.in, b...)
	for h.err == nil && h.step != nil {
		more, err := h.step(h)
		if h.err = err; !more {
			break
		}
	}
	return h.err
}

// Output returns the bytes to send to the peer, which h forgets.
func (h *Handshake) Output() []byte {
	out := h.out
	h.out = nil
	return out
}

// Result reports what came out, once all is said. Output may still have the last word.
func (h *Handshake) Result() (Result, bool) {
	if h.err != nil || h.step != nil {
		return Result{}, false
	}
	r := Result{Method: h.method, SKey: h.skey, Early: h.early}
	if h.method == RC4 {
		r.In, r.Out = h.get, h.send
	}
	return r, true
}

// finish ends the negotiation. What is left of in belongs to the stream.
func (h *Handshake) finish(payload []byte) {
	if h.method == RC4 {
		h.get.XORKeyStream(h.in, h.in)
	}
	h.early = append(payload, h.in...)
	h.in, h.step = nil, nil
}

// take removes n bytes from in; nil: they have not come.
func (h *Handshake) take(n int) []byte {
	if len(h.in) < n {
		return nil
	}
	b := h.in[:n:n]
	h.in = h.in[n:]
	return b
}

// takeSecret is take, decrypted.
func (h *Handshake) takeSecret(n int) []byte {
	b := h.take(n)
	if b != nil {
		h.get.XORKeyStream(b, b)
	}
	return b
}

// sendKey queues our public key and padding.
func (h *Handshake) sendKey() error {
	h.out = append(h.out, publicKey(h.x)...)
	pad, err := h.padding()
	h.out = append(h.out, pad...)
	return err
}

// takeKey makes the secret of the peer's public key.
func (h *Handshake) takeKey() (bool, error) {
	b := h.take(KeyLen)
	if b == nil {
		return false, nil
	}
	var err error
	h.secret, err = commonSecret(h.x, b)
	return true, err
}

// skipTo drops padding up to and with mark.
func (h *Handshake) skipTo(mark []byte) (bool, error) {
	window := h.in[:min(len(h.in), maxPad+len(mark))]
	if i := bytes.Index(window, mark); i >= 0 {
		h.in = h.in[i+len(mark):]
		return true, nil
	}
	if len(window) == maxPad+len(mark) {
		return false, ErrNoSync
	}
	return false, nil
}

// padding is random, of random length.
func (h *Handshake) padding() ([]byte, error) {
	var b [2 + maxPad]byte
	_, err := io.ReadFull(h.rand, b[:])
	return b[2 : 2+binary.BigEndian.Uint16(b[:])%(maxPad+1)], err
}

// appendPadded appends padding with its length in front.
func (h *Handshake) appendPadded(b []byte) ([]byte, error) {
	pad, err := h.padding()
	return append(binary.BigEndian.AppendUint16(b, uint16(len(pad))), pad...), err
}

// sendSecret queues b, encrypted in place.
func (h *Handshake) sendSecret(b []byte) {
	h.send.XORKeyStream(b, b)
	h.out = append(h.out, b...)
}
