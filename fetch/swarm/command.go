package swarm

import (
	"fmt"
	"net/netip"

	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// Command is something to do for a torrent. The set is closed. Commands are to
// be carried out in order; none of them may wait for the network.
type Command interface {
	fmt.Stringer
	command()
}

type (
	// Dial asks for a connection; PeerConnected or DialFailed follows. Opening is
	// what to say behind the handshake, without waiting for the peer's.
	Dial struct {
		Addr    netip.AddrPort
		Opening []wire.Message
	}
	// Disconnect ends a connection; PeerGone follows.
	Disconnect struct {
		Peer PeerID
		Why  string
	}
	// Request asks a peer for blocks. The bytes of Reqs[i] belong into the piece's
	// buffer at their place, or, where Second[i] is set, into scratch memory until
	// Adopt. A piece's first Request brings its buffer into being.
	Request struct {
		Peer   PeerID
		Reqs   []wire.Request
		Second []bool
	}
	// Withdraw tells a peer that a block is not needed any more and takes the
	// block's memory away from the connection before it returns.
	Withdraw struct {
		Peer PeerID
		Reqs []wire.Request
	}
	// Forget lets go of the buffer of a piece that was begun. Nothing of it is on its
	// way, and what is there is lost.
	Forget struct{ Piece int }
	// Adopt copies a block that lies in scratch memory to its place.
	Adopt struct {
		Peer PeerID
		Req  wire.Request
	}
	// Verify hashes a piece that is all here and puts it into the cache;
	// PieceVerified, PieceFailed or PieceDropped follows. With Sums the block
	// checksums of a good piece are asked for too.
	Verify struct {
		Piece int
		Sums  bool
	}
	// Send sends a message.
	Send struct {
		Peer PeerID
		Msg  wire.Message
	}
	// DontHave tells a peer, if it can be told, that a piece is not here any more (BEP
	// 54).
	DontHave struct {
		Peer  PeerID
		Piece int
	}
	// UploadOnly tells all peers whether we want nothing any more (BEP 21).
	UploadOnly struct{ On bool }
	// SeedingEnded tells that nobody is served any more, and why.
	SeedingEnded struct{ Why string }
	// Serve reads a block from the cache and sends it; BlockServed follows.
	Serve struct {
		Peer PeerID
		Req  wire.Request
	}
	// FindPeers asks for more addresses.
	FindPeers struct{}
	// Claim asks for a connection of another torrent's, there being none left. Share
	// follows, to all of them.
	Claim struct{ Need Need }
	// Completed tells that the last missing piece is verified.
	Completed struct{}
	// Banned tells that a peer will not be talked to again.
	Banned struct {
		Addr netip.AddrPort
		Why  string
	}
)

func (Forget) command()       {}
func (Dial) command()         {}
func (Disconnect) command()   {}
func (Request) command()      {}
func (Withdraw) command()     {}
func (Adopt) command()        {}
func (Verify) command()       {}
func (Send) command()         {}
func (Serve) command()        {}
func (DontHave) command()     {}
func (UploadOnly) command()   {}
func (SeedingEnded) command() {}
func (FindPeers) command()    {}
func (Claim) command()        {}
func (Completed) command()    {}
func (Banned) command()       {}

func (c Dial) String() string       { return fmt.Sprintf("dial %v", c.Addr) }
func (c Disconnect) String() string { return fmt.Sprintf("disconnect %d: %s", c.Peer, c.Why) }
func (c Request) String() string {
	s := fmt.Sprintf("request %d", c.Peer)
	for i, r := range c.Reqs {
		s += " " + block(r)
		if c.Second[i] {
			s += "(second)"
		}
	}
	return s
}
func (c Withdraw) String() string {
	s := fmt.Sprintf("withdraw %d", c.Peer)
	for _, r := range c.Reqs {
		s += " " + block(r)
	}
	return s
}
func (c Forget) String() string       { return fmt.Sprintf("forget %d", c.Piece) }
func (c Adopt) String() string        { return fmt.Sprintf("adopt %d %s", c.Peer, block(c.Req)) }
func (c Verify) String() string       { return fmt.Sprintf("verify %d", c.Piece) }
func (c Send) String() string         { return fmt.Sprintf("send %d %v", c.Peer, c.Msg) }
func (c DontHave) String() string     { return fmt.Sprintf("dont-have %d %d", c.Peer, c.Piece) }
func (c UploadOnly) String() string   { return fmt.Sprintf("upload-only %t", c.On) }
func (c SeedingEnded) String() string { return "seeding-ended: " + c.Why }
func (c Serve) String() string        { return fmt.Sprintf("serve %d %s", c.Peer, block(c.Req)) }
func (FindPeers) String() string      { return "find-peers" }
func (c Claim) String() string        { return fmt.Sprintf("claim, needs %v", c.Need) }
func (Completed) String() string      { return "completed" }
func (c Banned) String() string       { return fmt.Sprintf("banned %v: %s", c.Addr, c.Why) }
