package wire

import (
	"encoding/binary"
	"fmt"
)

// A HashRequest names Length hashes, a power of two, from Index on, a multiple of
// it, in the layer Base of a tree, whose leaves are layer 0, and so many Proof
// layers above that which are to be proven.
const (
	// MaxHashes is how many hashes may be asked for at once (BEP 52: Length "SHOULD
	// NOT be greater than 512").
	MaxHashes = 512
	// maxUncles is more than any tree has layers.
	maxUncles = 64

	hashLen        = 32
	hashRequestLen = hashLen + 4*4
)

func (m HashRequest) Append(b []byte) []byte {
	return m.appendBody(appendHeader(b, IDHashRequest, hashRequestLen))
}

func (m HashReject) Append(b []byte) []byte {
	return HashRequest(m).appendBody(appendHeader(b, IDHashReject, hashRequestLen))
}

func (m Hashes) Append(b []byte) []byte {
	b = appendHeader(b, IDHashes, hashRequestLen+len(m.Hashes))
	return append(m.HashRequest.appendBody(b), m.Hashes...)
}

func (m HashRequest) appendBody(b []byte) []byte {
	b = append(b, m.Root[:]...)
	for _, v := range []uint32{m.Base, m.Index, m.Length, m.Proof} {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	return b
}

func parseHashRequest(b []byte) (m HashRequest) {
	b = b[copy(m.Root[:], b):]
	for i, v := range []*uint32{&m.Base, &m.Index, &m.Length, &m.Proof} {
		*v = binary.BigEndian.Uint32(b[4*i:])
	}
	return m
}

// checkHashes tells whether Hashes may have a body of n bytes.
func checkHashes(n int) error {
	switch n -= hashRequestLen; {
	case n < 0, n%hashLen != 0:
		return fmt.Errorf("wire: message %d with a body of %d bytes, no whole number of hashes", IDHashes, n+hashRequestLen)
	case n/hashLen > MaxHashes+maxUncles:
		return fmt.Errorf("wire: message %d of %d hashes, more than are ever asked for", IDHashes, n/hashLen)
	}
	return nil
}

func (m HashRequest) String() string { return "hash request " + m.span() }
func (m HashReject) String() string  { return "hash reject " + HashRequest(m).span() }
func (m Hashes) String() string {
	return fmt.Sprintf("%d hashes %s", len(m.Hashes)/hashLen, m.span())
}

// span describes the hashes as "root/layer:index+length^proof".
func (m HashRequest) span() string {
	return fmt.Sprintf("%x/%d:%d+%d^%d", m.Root[:4], m.Base, m.Index, m.Length, m.Proof)
}

func (HashRequest) message() {}
func (Hashes) message()      {}
func (HashReject) message()  {}
