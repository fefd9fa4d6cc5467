package mse

import (
	"io"
	"iter"
)

// After are both sides behind the exchange of their keys, which takes too long to be
// fuzzed. What A has said is its output, what B will have heard is not fed.
func After(rand io.Reader, skey [20]byte, skeys iter.Seq[[20]byte], method Method, payload []byte) (a, b *Handshake) {
	a = &Handshake{rand: rand, skey: skey, initiator: initiator{offer: method, payload: payload}}
	b = &Handshake{rand: rand, responder: responder{skeys: skeys, accept: method, chosen: method}, step: (*Handshake).awaitSync}
	if err := a.begin(); err != nil {
		panic(err)
	}
	return a, b
}
