// Package peerconn runs many peer connections at once: it dials, accepts, reads,
// writes and enforces the limits on all of that.
//
// What a connection says is decided by the state machine in peerconn/proto; a
// Driver only moves its bytes. A Handler gets the resulting events in batches, and
// answers by calling the methods of the Conn. Net is the Driver over goroutines
// and the net package; other engines pass the same peertest.Conformance.
//
// It does not know torrents: which connections to make, what to ask of them and
// whom to serve is up to the Handler.
package peerconn

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"golang.org/x/time/rate"

	"github.com/qqbtfs/qqbtfs/peerconn/netpolicy"
	"github.com/qqbtfs/qqbtfs/peerconn/proto"
	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// A Driver runs peer connections. Its methods may be called from any goroutine.
type Driver interface {
	// Dial makes a connection to addr and returns at once; h is told what becomes
	// of it. ctx bounds the dialling only, not the life of the connection. A dial
	// that fails is one call of h.Closed.
	Dial(ctx context.Context, addr netip.AddrPort, cfg proto.Config, h Handler) Conn

	// Close stops listening, closes every connection as if by Conn.Close(nil) and
	// waits for all goroutines, hence for every Closed call. It must not be called
	// from a Handler.
	Close() error
}

// A Handler is told what happens on connections. The calls for one connection
// never overlap and come in order; calls for different ones run concurrently.
type Handler interface {
	// Events gets what happened on c, one call for each read. It must not block. The
	// slice is reused after the call; the events in it are not. It may call the
	// methods of c.
	//
	// With false, reading from c pauses until c.Resume.
	Events(c Conn, evs []proto.Event) bool

	// Closed is the last call for c and comes exactly once. All buffers handed to c
	// are free again. err says why:
	//
	//	nil, or what was given to Conn.Close   closed by us
	//	*proto.ProtocolError                   the peer broke the protocol
	//	*NetError                              the network, or the peer went away or is
	//	                                       silent (it wraps proto.ErrTimeout then)
	//	ErrClosed, ErrTooMany, ErrBlocked      never dialled
	//
	// Use errors.As: the errors may be wrapped.
	Closed(c Conn, err error)
}

// A Conn is one peer connection. Its methods do not block and may be called from
// any goroutine, but not before the first Events call for it (except Addr, Outgoing
// and Close). After the end they do nothing.
type Conn interface {
	Addr() netip.AddrPort      // of the peer
	LocalAddr() netip.AddrPort // zero until connected
	Outgoing() bool            // made by Dial

	// Request asks for blocks. Block reqs[i] is read into dsts[i], of just its
	// length, which belongs to the Conn until that block is reported received,
	// rejected or discarded, or is abandoned, or the Conn is closed.
	Request(reqs []wire.Request, dsts [][]byte)
	// Cancel tells the peer not to send blocks; see proto.Conn.Cancel.
	Cancel(reqs ...wire.Request)
	// Abandon takes the buffers of requests back at once; see proto.Conn.Abandon.
	Abandon(reqs ...wire.Request)

	// Send queues messages.
	Send(ms ...wire.Message)
	// SendExtension queues a message of the extension of this name (BEP 10) and keeps
	// nothing of payload. It answers false if the peer has not said that it knows it.
	SendExtension(name string, payload []byte) bool
	// SendPiece queues a block without copying p.Data, which must stay as it is until
	// done is called: exactly once, with whether it was written. done must not block.
	// Blocks wait for the upload limit, other messages overtake them.
	SendPiece(p wire.Piece, done func(sent bool))
	// Flush wakes the writer. All other methods do so as well.
	Flush()

	State() proto.State
	Stats() Stats

	// Resume ends the pause that Events asked for by answering false. A Resume
	// during that very Events call counts; an earlier one does not.
	Resume()
	// Close ends the connection without waiting; Closed gets err, unless the
	// connection had already ended otherwise. When Close returns, no buffer given to
	// Request is written any more. An Events call that is under way may still finish.
	Close(err error)
}

// Stats counts the traffic of a connection, in bytes.
type Stats struct {
	Read, Written               int64 // everything above TCP
	PayloadRead, PayloadWritten int64 // blocks in it, wanted or not
	ConnectedAt, LastRead       time.Time
	Encrypted                   bool // to the last byte
}

// An Acceptor decides about an incoming connection whose handshake has been read.
// An error refuses it. The driver sets the Config's Remote. It must not block.
type Acceptor func(remote wire.Handshake, addr netip.AddrPort) (proto.Config, Handler, error)

// Options configure a Driver.
type Options struct {
	// Listen has the TCP addresses to accept on, as host:port. Empty: none.
	Listen []string
	// Accept decides about incoming connections. nil: all are refused.
	Accept Acceptor

	// Policy is by which way connections leave and where they come in. nil: any.
	Policy *netpolicy.Policy
	// Encryption says which connections are encrypted.
	Encryption Encryption
	// SecretKeys are the info-hashes that incoming connections may be encrypted with:
	// those of all our torrents. nil: none, so there are no such connections.
	SecretKeys func() [][20]byte

	// Blocked reports whether to have nothing to do with an address. nil: with all.
	Blocked func(netip.Addr) bool

	// MaxConns bounds the connections, dials under way and waiting included.
	// Zero means 1,000, negative no bound.
	MaxConns int
	// MaxHalfOpen bounds the dials under way; more of them wait. Zero means 32,
	// negative no bound.
	MaxHalfOpen int
	// MaxHandshakes bounds the incoming handshakes under way: one more ends the
	// oldest once that has had a twentieth of HandshakeTimeout. Zero means 128.
	MaxHandshakes int

	// DialTimeout bounds one dial, zero means 10 s.
	DialTimeout time.Duration
	// HandshakeTimeout bounds an incoming handshake, zero means 10 s.
	HandshakeTimeout time.Duration
	// WriteTimeout ends a connection whose peer takes none of what we write for so
	// long. Zero means 2 minutes.
	WriteTimeout time.Duration

	// DownloadLimit and UploadLimit are in bytes and shared by all connections, see
	// NewLimiter. nil: no limit.
	DownloadLimit, UploadLimit *rate.Limiter

	// Logger is for what no Handler is told, such as refused connections. nil: none.
	Logger *slog.Logger
	// Trace sees every message that comes in or is queued to go out. nil: off. It must
	// not keep m, and of c it may call Addr and Outgoing only.
	Trace func(c Conn, in bool, m wire.Message)
}
