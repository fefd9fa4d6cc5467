package metadata

import (
	"fmt"
	"net/netip"
)

// PeerID names a connected peer. It is never used twice.
type PeerID uint64

// Event is something that happened. The set is closed.
type Event interface {
	fmt.Stringer
	event()
}

type (
	// PeersFound tells addresses of peers and who named them, in words of the caller's.
	PeersFound struct {
		Addrs  []netip.AddrPort
		Source string
	}
	// DialFailed ends a Dial that made no connection. With Self we met ourselves, with
	// Full it was not tried: there are as many connections as there may be.
	DialFailed struct {
		Addr netip.AddrPort
		Self bool
		Full bool
	}
	// PeerConnected tells of a connection whose handshake is done.
	PeerConnected struct {
		Peer     PeerID
		Addr     netip.AddrPort
		Outgoing bool
	}
	// PeerOffers tells how large the metadata is by what the peer says, in bytes. Zero:
	// it has none, or cannot give any.
	PeerOffers struct {
		Peer PeerID
		Size int64
	}
	// Received is a message of the extension.
	Received struct {
		Peer    PeerID
		Payload []byte // kept
	}
	// PeerGone tells that a connection ended.
	PeerGone struct{ Peer PeerID }
	// Tick tells nothing but the time, when Deadline has come.
	Tick struct{}
)

func (e PeersFound) String() string { return fmt.Sprintf("%d peers found", len(e.Addrs)) }
func (e DialFailed) String() string { return fmt.Sprintf("dial of %v failed", e.Addr) }
func (e PeerConnected) String() string {
	return fmt.Sprintf("peer %d at %v connected", e.Peer, e.Addr)
}
func (e PeerOffers) String() string { return fmt.Sprintf("peer %d offers %d bytes", e.Peer, e.Size) }
func (e Received) String() string {
	return fmt.Sprintf("peer %d sent %d bytes", e.Peer, len(e.Payload))
}
func (e PeerGone) String() string { return fmt.Sprintf("peer %d gone", e.Peer) }
func (Tick) String() string       { return "tick" }

func (PeersFound) event()    {}
func (DialFailed) event()    {}
func (PeerConnected) event() {}
func (PeerOffers) event()    {}
func (Received) event()      {}
func (PeerGone) event()      {}
func (Tick) event()          {}

// Command is something to do. The set is closed.
type Command interface {
	fmt.Stringer
	command()
}

type (
	// Dial asks for a connection; PeerConnected or DialFailed follows.
	Dial struct{ Addr netip.AddrPort }
	// Disconnect ends a connection; PeerGone follows.
	Disconnect struct {
		Peer PeerID
		Why  string
	}
	// Send sends a message of the extension.
	Send struct {
		Peer    PeerID
		Payload []byte
	}
	// FindPeers asks for addresses.
	FindPeers struct{}
	// Found hands out the info dictionary. It is the last command.
	Found struct{ Info []byte }
)

func (c Dial) String() string       { return fmt.Sprintf("dial %v", c.Addr) }
func (c Disconnect) String() string { return fmt.Sprintf("disconnect %d: %s", c.Peer, c.Why) }
func (c Send) String() string       { return fmt.Sprintf("send %q to %d", c.Payload, c.Peer) }
func (FindPeers) String() string    { return "find peers" }
func (c Found) String() string      { return fmt.Sprintf("found, %d bytes", len(c.Info)) }

func (Dial) command()       {}
func (Disconnect) command() {}
func (Send) command()       {}
func (FindPeers) command()  {}
func (Found) command()      {}
