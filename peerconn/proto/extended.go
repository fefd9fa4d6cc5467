package proto

import (
	"bytes"

	"github.com/qqbtfs/qqbtfs/peerconn/extension"
	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// maxExtensions is how many extensions of a peer are remembered.
const maxExtensions = 64

// receiveExtended takes a message of an extension. One of an id that we did not
// give out is ignored, as is everything if BEP 10 was not agreed on.
func (c *Conn) receiveExtended(m wire.Extended) error {
	if !c.extended {
		return nil
	}
	if m.ID == extension.HandshakeID {
		return c.receiveExtHandshake(m.Payload)
	}
	switch name, ok := c.extNames[m.ID]; {
	case !ok:
	case name == extension.UploadOnly:
		c.receiveUploadOnly(m.Payload)
	default:
		c.emit(ExtMessage{Name: name, Payload: bytes.Clone(m.Payload)})
	}
	return nil
}

// receiveUploadOnly takes in what a repeated extension handshake could say as well. Before
// the first one it is ignored: there is nothing to be changed.
func (c *Conn) receiveUploadOnly(payload []byte) {
	if len(payload) == 1 && c.remoteExt.M != nil {
		on := payload[0] != 0
		c.learn(extension.Handshake{UploadOnly: &on})
	}
}

// receiveExtHandshake merges an extension handshake with those before it. (BEP
// 10: "It is valid to send the handshake message more than once during the
// lifetime of a connection", and "the m dictionary is additive")
func (c *Conn) receiveExtHandshake(payload []byte) error {
	h, err := extension.ParseHandshake(payload)
	if err != nil {
		return &ProtocolError{err}
	}
	c.learn(h)
	return nil
}

func (c *Conn) learn(h extension.Handshake) {
	c.remoteExt = mergeExt(c.remoteExt, h)
	c.emit(ExtHandshaken{mergeExt(extension.Handshake{}, c.remoteExt)})
}

// mergeExt returns what was known, with what h says on top, in memory of its own.
func mergeExt(known, h extension.Handshake) extension.Handshake {
	m := make(map[string]uint8, len(known.M))
	for name, id := range known.M {
		m[name] = id
	}
	for name, id := range h.M {
		_, old := m[name]
		switch {
		case id == 0:
			delete(m, name)
		case old || len(m) < maxExtensions:
			m[name] = id
		}
	}
	h.M = m
	keep(&h.V, known.V)
	keep(&h.ReqQ, known.ReqQ)
	keep(&h.Port, known.Port)
	keep(&h.YourIP, known.YourIP)
	keep(&h.MetadataSize, known.MetadataSize)
	keep(&h.UploadOnly, known.UploadOnly)
	keep(&h.IPv4, known.IPv4)
	keep(&h.IPv6, known.IPv6)
	return h
}

// keep sets a value that was not sent to the one known before.
func keep[T comparable](v *T, known T) {
	if *v == *new(T) {
		*v = known
	}
}
