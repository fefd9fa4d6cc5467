package mse

import (
	"encoding/binary"
	"io"
)

// initiator is what only the side has that begins.
type initiator struct {
	offer   Method
	payload []byte
	vc      []byte // as it comes encrypted
	padD    int
}

// Initiate begins a negotiation about the torrent skey, with a set of methods to choose
// from. The payload is sent as soon as it can be and belongs to the stream; clients that
// are careful take no more in it than a BitTorrent handshake.
func Initiate(rand io.Reader, skey [20]byte, offer Method, payload []byte) *Handshake {
	if len(payload) > maxPayload {
		panic("BUG: initial payload too long")
	}
	h := newHandshake(rand)
	h.skey = skey
	h.initiator = initiator{offer: offer, payload: payload}
	h.step = (*Handshake).answerKey
	if h.err == nil {
		h.err = h.sendKey()
	}
	return h
}

func (h *Handshake) answerKey() (bool, error) {
	if ok, err := h.takeKey(); !ok || err != nil {
		return ok, err
	}
	return true, h.begin()
}

// begin says what it is about.
func (h *Handshake) begin() error {
	h.send = stream("keyA", h.secret[:], h.skey[:])
	h.get = stream("keyB", h.secret[:], h.skey[:])
	h.vc = make([]byte, vcLen)
	h.get.XORKeyStream(h.vc, h.vc)

	sync := hash("req1", h.secret[:])
	about := xor(hash("req2", h.skey[:]), hash("req3", h.secret[:]))
	h.out = append(append(h.out, sync[:]...), about[:]...)
	b, err := h.appendPadded(binary.BigEndian.AppendUint32(make([]byte, vcLen), uint32(h.offer)))
	if err != nil {
		return err
	}
	b = binary.BigEndian.AppendUint16(b, uint16(len(h.payload)))
	h.sendSecret(append(b, h.payload...))
	h.step = (*Handshake).awaitConstant
	return nil
}

func (h *Handshake) awaitConstant() (bool, error) {
	ok, err := h.skipTo(h.vc)
	if ok {
		h.step = (*Handshake).takeChoice
	}
	return ok, err
}

func (h *Handshake) takeChoice() (bool, error) {
	b := h.takeSecret(4 + 2)
	if b == nil {
		return false, nil
	}
	h.method = Method(binary.BigEndian.Uint32(b))
	h.padD = int(binary.BigEndian.Uint16(b[4:]))
	switch {
	case h.method&h.offer == 0 || h.method != Plaintext && h.method != RC4:
		return false, ErrMethod
	case h.padD > maxPad:
		return false, ErrPadding
	}
	h.step = (*Handshake).skipPadD
	return true, nil
}

func (h *Handshake) skipPadD() (bool, error) {
	if h.takeSecret(h.padD) == nil && h.padD > 0 {
		return false, nil
	}
	h.finish(nil)
	return false, nil
}
