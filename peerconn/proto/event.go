package proto

import (
	"fmt"

	"github.com/qqbtfs/qqbtfs/peerconn/bitfield"
	"github.com/qqbtfs/qqbtfs/peerconn/extension"
	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// Event is something that happened on a connection. The set of types is closed:
// those of this package.
type Event interface {
	// String describes the event in one short line.
	String() string
	event()
}

type (
	// Handshaken is the first event: the peer's handshake was right. What is to
	// be the first message, a bitfield, can be sent from here on. With V2 hashes can
	// be asked for (BEP 52).
	Handshaken struct {
		Remote wire.Handshake
		V2     bool
	}
	// ExtHandshaken carries the peer's extension handshake (BEP 10), merged with
	// those before it. A peer may send it more than once.
	ExtHandshaken struct{ Ext extension.Handshake }
	// Choked tells that the peer serves no requests from here on. Without the
	// fast extension a Rejected for each request in flight follows.
	Choked struct{}
	// Unchoked tells that the peer serves requests from here on.
	Unchoked struct{}
	// PeerInterested tells that the peer's interest changed.
	PeerInterested struct{ Interested bool }
	// Has tells that the peer has a piece.
	Has struct{ Index int }
	// HasSet tells the set of pieces that the peer has, from a bitfield,
	// have_all or have_none. It replaces what was told before. The Set is the
	// receiver's.
	HasSet struct{ Set bitfield.Set }
	// Block tells that a request was answered and its dst is filled. Unverified.
	Block struct{ Req wire.Request }
	// Rejected tells that a request will not be answered: the peer said so, it
	// choked us without the fast extension (BEP 6: with it, "choke no longer
	// implicitly rejects all pending requests"), or it could not be sent in the first place.
	Rejected struct{ Req wire.Request }
	// Discarded tells that an abandoned request was answered; the data is gone.
	Discarded struct{ Req wire.Request }
	// Unsolicited tells that the peer sent a block that is not in flight, and it
	// was skipped. Without the fast extension these are also answers to requests
	// that were cancelled, or rejected by a choke; nothing tells them apart.
	Unsolicited struct{ Req wire.Request }
	// PeerRequest tells that the peer asks for a block and may have it.
	PeerRequest struct{ Req wire.Request }
	// PeerCancel tells that the peer took a request back. It is done with.
	PeerCancel struct{ Req wire.Request }
	// Suggested tells that the peer advises a piece (BEP 6, Suggest Piece).
	Suggested struct{ Index int }
	// AllowedFast tells that a piece may be requested while choked (BEP 6).
	AllowedFast struct{ Index int }
	// ExtMessage is a message of one of our extensions (BEP 10). The Payload is
	// the receiver's.
	ExtMessage struct {
		Name    string
		Payload []byte
	}
	// PeerHashRequest tells that the peer asks for hashes. It waits until a
	// wire.Hashes or a wire.HashReject is sent (BEP 52).
	PeerHashRequest struct{ Req wire.HashRequest }
	// HashesReceived answers a wire.HashRequest that was sent: as many hashes as were
	// asked for, unverified. They are the receiver's.
	HashesReceived struct {
		Req    wire.HashRequest
		Hashes []byte
	}
	// HashesRejected tells that a wire.HashRequest will not be answered, or could not
	// be sent.
	HashesRejected struct{ Req wire.HashRequest }
	// PeerPort tells the UDP port of the peer's DHT node (BEP 5).
	PeerPort struct{ Port uint16 }
)

func (e Handshaken) String() string { return fmt.Sprintf("handshaken with %q", e.Remote.PeerID[:]) }
func (e ExtHandshaken) String() string {
	return fmt.Sprintf("extension handshake of %q, reqq %d", e.Ext.V, e.Ext.ReqQ)
}
func (Choked) String() string   { return "choked" }
func (Unchoked) String() string { return "unchoked" }
func (e PeerInterested) String() string {
	if e.Interested {
		return "peer interested"
	}
	return "peer not interested"
}
func (e Has) String() string             { return fmt.Sprintf("has %d", e.Index) }
func (e HasSet) String() string          { return "has set " + e.Set.String() }
func (e Block) String() string           { return "block for " + e.Req.String() }
func (e Rejected) String() string        { return "rejected: " + e.Req.String() }
func (e Discarded) String() string       { return "discarded answer to " + e.Req.String() }
func (e Unsolicited) String() string     { return "unsolicited answer to " + e.Req.String() }
func (e PeerRequest) String() string     { return "peer: " + e.Req.String() }
func (e PeerCancel) String() string      { return "peer cancelled " + e.Req.String() }
func (e Suggested) String() string       { return fmt.Sprintf("suggested %d", e.Index) }
func (e AllowedFast) String() string     { return fmt.Sprintf("allowed fast %d", e.Index) }
func (e ExtMessage) String() string      { return fmt.Sprintf("%s, %d bytes", e.Name, len(e.Payload)) }
func (e PeerHashRequest) String() string { return "peer: " + e.Req.String() }
func (e HashesReceived) String() string  { return "hashes for " + e.Req.String() }
func (e HashesRejected) String() string  { return "rejected: " + e.Req.String() }
func (e PeerPort) String() string        { return fmt.Sprintf("peer's DHT port %d", e.Port) }

func (Handshaken) event()      {}
func (ExtHandshaken) event()   {}
func (Choked) event()          {}
func (Unchoked) event()        {}
func (PeerInterested) event()  {}
func (Has) event()             {}
func (HasSet) event()          {}
func (Block) event()           {}
func (Rejected) event()        {}
func (Discarded) event()       {}
func (Unsolicited) event()     {}
func (PeerRequest) event()     {}
func (PeerCancel) event()      {}
func (Suggested) event()       {}
func (AllowedFast) event()     {}
func (ExtMessage) event()      {}
func (PeerPort) event()        {}
func (PeerHashRequest) event() {}
func (HashesReceived) event()  {}
func (HashesRejected) event()  {}
