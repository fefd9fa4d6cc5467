// Package mse negotiates Message Stream Encryption, also called protocol encryption:
// what most BitTorrent clients speak so that networks on the way cannot tell that they
// do.
//
// A Handshake is one side of a negotiation as a state machine. Bytes of the peer go in
// by Feed, bytes for the peer come out by Output, until Result has what both sides agreed
// upon: the ciphers for the rest of the stream, or none.
//
//	A → B  Ya, padding                                 Diffie-Hellman, 768 bits
//	A ← B  Yb, padding
//	A → B  hash(req1, S), hash(req2, SKEY) ^ hash(req3, S),
//	       RC4(VC, methods offered, padding, length of IA, IA)
//	A ← B  RC4(VC, method chosen, padding), then the stream
//
// S is the common secret, SKEY the info-hash, IA the initiator's first bytes, which save
// a round trip. It hides and does not protect: RC4 is broken, nobody is authenticated,
// and whoever knows the info-hash can read along if he sits in the middle.
package mse

import (
	"crypto/rc4"
	"crypto/sha1"
	"errors"
	"fmt"
	"math/big"
)

// A Method is how the stream goes on after the negotiation, or a set of such.
type Method uint32

// The methods.
const (
	Plaintext Method = 1 << iota
	RC4
)

func (m Method) String() string {
	switch m {
	case Plaintext:
		return "plaintext"
	case RC4:
		return "RC4"
	}
	return fmt.Sprintf("methods %#x", uint32(m))
}

const (
	// KeyLen is the length of a public key, the first bytes that either side sends.
	KeyLen = 96
	// maxPad is the most padding anywhere.
	maxPad = 512
	// maxPayload is the longest initial payload.
	maxPayload = 1<<16 - 1

	privateLen = 20   // bytes of the private key
	discarded  = 1024 // bytes of each key stream
	vcLen      = 8    // the verification constant is as many zeros
)

// Errors of Feed. They mean that the peer speaks another protocol, or is about a torrent
// that is not ours.
var (
	ErrKey      = errors.New("mse: public key that makes no secret")
	ErrNoSync   = errors.New("mse: no end of the padding")
	ErrUnknown  = errors.New("mse: about none of our torrents")
	ErrPadding  = errors.New("mse: too much padding")
	ErrConstant = errors.New("mse: wrong verification constant")
	ErrMethod   = errors.New("mse: no common method")
)

var (
	prime, _ = new(big.Int).SetString("FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74"+
		"020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F1437"+
		"4FE1356D6D51C245E485B576625E7EC6F44C42E9A63A36210000000000090563", 16)
	generator = big.NewInt(2)
	one       = big.NewInt(1)
	minusOne  = new(big.Int).Sub(prime, one) // modulo prime
)

// publicKey belongs to the private key x.
func publicKey(x *big.Int) []byte {
	return new(big.Int).Exp(generator, x, prime).FillBytes(make([]byte, KeyLen))
}

// commonSecret is S of our private key and their public one. A key whose powers are few
// is refused: it would make a secret that anybody can guess.
func commonSecret(x *big.Int, public []byte) ([KeyLen]byte, error) {
	var s [KeyLen]byte
	y := new(big.Int).SetBytes(public)
	if y.Cmp(one) <= 0 || y.Cmp(minusOne) >= 0 {
		return s, ErrKey
	}
	y.Exp(y, x, prime).FillBytes(s[:])
	return s, nil
}

func hash(label string, parts ...[]byte) (sum [sha1.Size]byte) {
	h := sha1.New()
	h.Write([]byte(label))
	for _, p := range parts {
		h.Write(p)
	}
	h.Sum(sum[:0])
	return sum
}

// stream is the key stream of one direction: "keyA" from the initiator.
func stream(label string, secret, skey []byte) *rc4.Cipher {
	key := hash(label, secret, skey)
	c, err := rc4.NewCipher(key[:])
	if err != nil {
		panic("BUG: RC4 key: " + err.Error())
	}
	var b [discarded]byte
	c.XORKeyStream(b[:], b[:])
	return c
}

func xor(a, b [sha1.Size]byte) [sha1.Size]byte {
	for i := range a {
		a[i] ^= b[i]
	}
	return a
}
