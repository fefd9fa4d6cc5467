package tracker

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"time"
)

const (
	udpProtocolID = 0x41727101980 // BEP 15, connect request

	udpConnect  = 0
	udpAnnounce = 1
	udpError    = 3

	// udpIDLife is how long a client may use a connection id (BEP 15, UDP
	// connections / spoofing).
	udpIDLife = time.Minute
	// maxURLData keeps a request well within a datagram.
	maxURLData = 1024
)

// udpStep is what an incoming packet did to an exchange.
type udpStep int

const (
	udpIgnored   udpStep = iota // not an answer to us: keep waiting
	udpConnected                // the connect was answered: send the announce
	udpDone                     // the announce was answered
)

// udpExchange is the state of one announce over UDP. It does no I/O: packet
// says what to send, answer takes what came.
type udpExchange struct {
	request Request
	urlData string // path and query, for BEP 41
	family  family

	action    uint32 // of the packet that waits for an answer
	tid       uint32 // its transaction id
	sent      bool   // there is such a packet
	connID    uint64
	connUntil time.Time // zero: no connection id
}

func newUDPExchange(r Request, urlData string, f family) *udpExchange {
	return &udpExchange{request: r, urlData: urlData[:min(len(urlData), maxURLData)], family: f}
}

// packet returns the next packet to send, or the last one again if it was not
// answered. It asks for a new connection id when the old one has expired.
func (x *udpExchange) packet(now time.Time) []byte {
	action := uint32(udpConnect)
	if now.Before(x.connUntil) {
		action = udpAnnounce
	}
	// A retransmission keeps its transaction id, so that a late answer to the
	// first copy counts.
	if !x.sent || action != x.action {
		x.action, x.tid, x.sent = action, randomID(), true
	}
	if action == udpAnnounce {
		return x.announcePacket()
	}
	b := binary.BigEndian.AppendUint64(nil, udpProtocolID)
	b = binary.BigEndian.AppendUint32(b, udpConnect)
	return binary.BigEndian.AppendUint32(b, x.tid)
}

func (x *udpExchange) announcePacket() []byte {
	r := x.request
	be := binary.BigEndian
	b := make([]byte, 0, 98+len(x.urlData)+8)
	b = be.AppendUint64(b, x.connID)
	b = be.AppendUint32(b, udpAnnounce)
	b = be.AppendUint32(b, x.tid)
	b = append(b, r.InfoHash[:]...)
	b = append(b, r.PeerID[:]...)
	b = be.AppendUint64(b, uint64(r.Downloaded))
	b = be.AppendUint64(b, uint64(r.left()))
	b = be.AppendUint64(b, uint64(r.Uploaded))
	b = be.AppendUint32(b, uint32(r.Event.udp()))
	b = be.AppendUint32(b, 0) // IP address: the sender's
	b = be.AppendUint32(b, r.Key)
	b = be.AppendUint32(b, uint32(r.numWant()))
	b = be.AppendUint16(b, r.Port)
	return appendURLData(b, x.urlData)
}

// appendURLData appends BEP 41's URLData options (type 2), each of at most 255
// bytes, and EndOfOptions (type 0).
func appendURLData(b []byte, data string) []byte {
	if data == "" || data == "/" {
		return b
	}
	for len(data) > 0 {
		n := min(len(data), 255)
		b = append(b, 2, byte(n))
		b = append(b, data[:n]...)
		data = data[n:]
	}
	return append(b, 0)
}

// answer takes a packet from the tracker. Packets that do not belong to the
// request that waits are ignored, since anyone may send them; one that does
// belong but is broken ends the exchange.
func (x *udpExchange) answer(now time.Time, b []byte) (udpStep, Response, error) {
	if len(b) < 8 || !x.sent || binary.BigEndian.Uint32(b[4:]) != x.tid {
		return udpIgnored, Response{}, nil
	}
	action, body := binary.BigEndian.Uint32(b), b[8:]
	switch {
	case action == udpError:
		reason := Printable(string(body[:min(len(body), 1024)]))
		if reason == "" {
			reason = "no reason given"
		}
		return udpDone, Response{}, &FailureError{Reason: reason}
	case action != x.action:
		return udpIgnored, Response{}, nil
	case action == udpConnect:
		if len(body) < 8 {
			return udpDone, Response{}, errors.New("UDP connect answer without a connection id")
		}
		x.connID, x.connUntil = binary.BigEndian.Uint64(body), now.Add(udpIDLife)
		return udpConnected, Response{}, nil
	}
	resp, err := parseUDPAnnounce(body, x.family)
	return udpDone, resp, err
}

// randomID returns a transaction id that nobody can guess.
func randomID() uint32 {
	var b [4]byte
	rand.Read(b[:]) // never fails
	return binary.BigEndian.Uint32(b[:])
}
