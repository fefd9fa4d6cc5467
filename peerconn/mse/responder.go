package mse

import (
	"encoding/binary"
	"io"
	"iter"
)

// responder is what only the side has that is connected to.
type responder struct {
	skeys  iter.Seq[[20]byte]
	accept Method
	chosen Method
	padC   int
	lenIA  int
}

// Respond answers a negotiation about one of the torrents skeys. prefer is chosen if it
// is offered, else what else of accept is. Nothing that h says before it knows that the
// peer knows one of the skeys depends on them.
func Respond(rand io.Reader, skeys iter.Seq[[20]byte], accept, prefer Method) *Handshake {
	h := newHandshake(rand)
	h.responder = responder{skeys: skeys, accept: accept, chosen: prefer}
	h.step = (*Handshake).returnKey
	return h
}

func (h *Handshake) returnKey() (bool, error) {
	if ok, err := h.takeKey(); !ok || err != nil {
		return ok, err
	}
	h.step = (*Handshake).awaitSync
	return true, h.sendKey()
}

func (h *Handshake) awaitSync() (bool, error) {
	mark := hash("req1", h.secret[:])
	ok, err := h.skipTo(mark[:])
	if ok {
		h.step = (*Handshake).takeAbout
	}
	return ok, err
}

func (h *Handshake) takeAbout() (bool, error) {
	b := h.take(20)
	if b == nil {
		return false, nil
	}
	want := xor([20]byte(b), hash("req3", h.secret[:]))
	for skey := range h.skeys {
		if hash("req2", skey[:]) == want {
			h.skey = skey
			h.get = stream("keyA", h.secret[:], skey[:])
			h.send = stream("keyB", h.secret[:], skey[:])
			h.step = (*Handshake).takeOffer
			return true, nil
		}
	}
	return false, ErrUnknown
}

func (h *Handshake) takeOffer() (bool, error) {
	b := h.takeSecret(vcLen + 4 + 2)
	if b == nil {
		return false, nil
	}
	offer := Method(binary.BigEndian.Uint32(b[vcLen:])) & h.accept
	h.padC = int(binary.BigEndian.Uint16(b[vcLen+4:]))
	if h.chosen &= offer; h.chosen == 0 {
		h.chosen = offer & -offer
	}
	switch {
	case [vcLen]byte(b) != [vcLen]byte{}:
		return false, ErrConstant
	case h.padC > maxPad:
		return false, ErrPadding
	case h.chosen == 0:
		return false, ErrMethod
	}
	h.step = (*Handshake).skipPadC
	return true, nil
}

func (h *Handshake) skipPadC() (bool, error) {
	b := h.takeSecret(h.padC + 2)
	if b == nil {
		return false, nil
	}
	h.lenIA = int(binary.BigEndian.Uint16(b[h.padC:]))
	h.step = (*Handshake).takePayload
	return true, nil
}

func (h *Handshake) takePayload() (bool, error) {
	payload := h.takeSecret(h.lenIA)
	if payload == nil && h.lenIA > 0 {
		return false, nil
	}
	b, err := h.appendPadded(binary.BigEndian.AppendUint32(make([]byte, vcLen), uint32(h.chosen)))
	if err != nil {
		return false, err
	}
	h.sendSecret(b)
	h.method = h.chosen
	h.finish(payload)
	return false, nil
}
