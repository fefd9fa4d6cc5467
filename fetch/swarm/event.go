package swarm

import (
	"fmt"
	"net/netip"

	"github.com/qqbtfs/qqbtfs/fetch/picker"
	"github.com/qqbtfs/qqbtfs/peerconn/bitfield"
	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// PeerID names a connected peer. It is never used twice.
type PeerID = picker.SourceID

// Event is something that happened to a torrent. The set is closed.
type Event interface {
	fmt.Stringer
	event()
}

type (
	// PeersFound tells addresses of peers and who named them: a Source, and with
	// FromPEX the peer.
	PeersFound struct {
		Addrs  []netip.AddrPort
		Source string
		By     PeerID
	}
	// PeersDropped takes back addresses that a peer named by peer exchange (BEP 11).
	PeersDropped struct {
		Addrs []netip.AddrPort
		By    PeerID
	}
	// DialFailed ends a Dial command that made no connection. With Self we met
	// ourselves there, with Full it was not tried: all torrents together have as many
	// connections as there may be.
	DialFailed struct {
		Addr netip.AddrPort
		Self bool
		Full bool
	}
	// Share bounds the connections for a while: another torrent that has fewer claims
	// one, and has that Need.
	Share struct {
		Peers int
		Need  Need
	}
	// PeerConnected tells of a connection whose handshake is done.
	PeerConnected struct {
		Peer     PeerID
		Addr     netip.AddrPort
		Outgoing bool
		Fast     bool     // both sides have the fast extension (BEP 6)
		Remote   [20]byte // its peer id
		// Web tells that it is a web server, which the swarm has not dialled: it wants
		// nothing, takes no place of a peer, and delivers long runs best. Addr is a name
		// for it that nobody else has.
		Web bool
	}
	// PeerExtended tells what the extended handshake said (BEP 10).
	PeerExtended struct {
		Peer       PeerID
		ReqQ       int        // zero: not said
		Port       uint16     // where it accepts connections; zero: not said
		Client     string     // "": not said
		UploadOnly bool       // it wants nothing (BEP 21)
		YourIP     netip.Addr // where it sees us; invalid: not said
	}
	// PeerGone tells that a connection ended. Broke is set when the peer broke the
	// protocol, Flood when it did by a flood of messages.
	PeerGone struct {
		Peer         PeerID
		Broke, Flood bool
	}
	// PeerHasSet tells all that a peer has; PeerHas one piece more.
	PeerHasSet struct {
		Peer PeerID
		Set  bitfield.Set
	}
	PeerHas struct {
		Peer  PeerID
		Piece int
	}
	// PeerLacks tells that a peer has lost a piece (BEP 54).
	PeerLacks struct {
		Peer  PeerID
		Piece int
	}
	// PeerChokes tells whether the peer answers our requests.
	PeerChokes struct {
		Peer  PeerID
		Choke bool
	}
	// PeerAllows tells a piece that the peer serves although it chokes us.
	PeerAllows struct {
		Peer  PeerID
		Piece int
	}
	// PeerInterested tells whether the peer wants to be served.
	PeerInterested struct {
		Peer       PeerID
		Interested bool
	}
	// PeerRequests and PeerCancels ask us for a block, and no longer.
	PeerRequests struct {
		Peer PeerID
		Req  wire.Request
	}
	PeerCancels struct {
		Peer PeerID
		Req  wire.Request
	}
	// BlockReceived tells that a requested block is in its buffer, BlockRejected
	// that it will not come.
	BlockReceived struct {
		Peer PeerID
		Req  wire.Request
	}
	BlockRejected struct {
		Peer PeerID
		Req  wire.Request
	}
	// BlockWasted tells of bytes that came and were of no use. With Unasked they
	// answer no request, not even one that was withdrawn.
	BlockWasted struct {
		Peer    PeerID
		Req     wire.Request
		Unasked bool
	}
	// BlockServed ends a Serve command: the block was written, or not.
	BlockServed struct {
		Peer PeerID
		Req  wire.Request
		Sent bool
	}
	// PieceVerified and PieceFailed end a Verify command. Sums holds a checksum of
	// each block of a bad piece, and of a good one that failed before.
	PieceVerified struct {
		Piece int
		Sums  []uint64
	}
	PieceFailed struct {
		Piece int
		Sums  []uint64
	}
	// PieceDropped ends a Verify command for a good piece that could not be kept.
	PieceDropped struct{ Piece int }
	// PieceLost tells that a piece that was had is gone from the cache.
	PieceLost struct{ Piece int }
	// Wanted replaces the demand.
	Wanted struct{ picker.Demand }
	// NetworkChanged tells that another network may lie behind us: addresses of ours
	// came or went. With Slept the machine was suspended, and peers may have gone
	// without our hearing of it.
	NetworkChanged struct{ Slept bool }
	// Tick tells only that time has passed.
	Tick struct{}
)

func (PeersFound) event()     {}
func (PeersDropped) event()   {}
func (DialFailed) event()     {}
func (Share) event()          {}
func (PeerConnected) event()  {}
func (PeerExtended) event()   {}
func (PeerGone) event()       {}
func (PeerHasSet) event()     {}
func (PeerHas) event()        {}
func (PeerLacks) event()      {}
func (PeerChokes) event()     {}
func (PeerAllows) event()     {}
func (PeerInterested) event() {}
func (PeerRequests) event()   {}
func (PeerCancels) event()    {}
func (BlockReceived) event()  {}
func (BlockRejected) event()  {}
func (BlockWasted) event()    {}
func (BlockServed) event()    {}
func (PieceVerified) event()  {}
func (PieceFailed) event()    {}
func (PieceDropped) event()   {}
func (PieceLost) event()      {}
func (Wanted) event()         {}
func (NetworkChanged) event() {}
func (Tick) event()           {}

func (e PeersFound) String() string {
	return fmt.Sprintf("peers-found %d from %s", len(e.Addrs), e.Source)
}
func (e PeersDropped) String() string {
	return fmt.Sprintf("peers-dropped %d by %d", len(e.Addrs), e.By)
}
func (e DialFailed) String() string { return fmt.Sprintf("dial-failed %v", e.Addr) }
func (e Share) String() string      { return fmt.Sprintf("share %d, one needs %v", e.Peers, e.Need) }
func (e PeerConnected) String() string {
	return fmt.Sprintf("peer-connected %d %v out=%t fast=%t", e.Peer, e.Addr, e.Outgoing, e.Fast)
}
func (e PeerExtended) String() string {
	return fmt.Sprintf("peer-extended %d reqq=%d %q", e.Peer, e.ReqQ, e.Client)
}
func (e PeerGone) String() string { return fmt.Sprintf("peer-gone %d broke=%t", e.Peer, e.Broke) }
func (e PeerHasSet) String() string {
	return fmt.Sprintf("peer-has-set %d %d/%d", e.Peer, e.Set.Count(), e.Set.Len())
}
func (e PeerHas) String() string    { return fmt.Sprintf("peer-has %d %d", e.Peer, e.Piece) }
func (e PeerLacks) String() string  { return fmt.Sprintf("peer-lacks %d %d", e.Peer, e.Piece) }
func (e PeerChokes) String() string { return fmt.Sprintf("peer-chokes %d %t", e.Peer, e.Choke) }
func (e PeerAllows) String() string { return fmt.Sprintf("peer-allows %d %d", e.Peer, e.Piece) }
func (e PeerInterested) String() string {
	return fmt.Sprintf("peer-interested %d %t", e.Peer, e.Interested)
}
func (e PeerRequests) String() string {
	return fmt.Sprintf("peer-requests %d %s", e.Peer, block(e.Req))
}
func (e PeerCancels) String() string { return fmt.Sprintf("peer-cancels %d %s", e.Peer, block(e.Req)) }
func (e BlockReceived) String() string {
	return fmt.Sprintf("block-received %d %s", e.Peer, block(e.Req))
}
func (e BlockRejected) String() string {
	return fmt.Sprintf("block-rejected %d %s", e.Peer, block(e.Req))
}
func (e BlockWasted) String() string { return fmt.Sprintf("block-wasted %d %s", e.Peer, block(e.Req)) }
func (e BlockServed) String() string {
	return fmt.Sprintf("block-served %d %s sent=%t", e.Peer, block(e.Req), e.Sent)
}
func (e PieceVerified) String() string { return fmt.Sprintf("piece-verified %d", e.Piece) }
func (e PieceFailed) String() string   { return fmt.Sprintf("piece-failed %d", e.Piece) }
func (e PieceDropped) String() string  { return fmt.Sprintf("piece-dropped %d", e.Piece) }
func (e PieceLost) String() string     { return fmt.Sprintf("piece-lost %d", e.Piece) }
func (e Wanted) String() string {
	return fmt.Sprintf("wanted urgent=%v readahead=%v fill=%t", e.Urgent, e.Readahead, e.Fill)
}
func (e NetworkChanged) String() string { return fmt.Sprintf("network-changed slept=%t", e.Slept) }
func (Tick) String() string             { return "tick" }

// block prints a request as piece+begin:length.
func block(r wire.Request) string { return fmt.Sprintf("%d+%d:%d", r.Index, r.Begin, r.Length) }
