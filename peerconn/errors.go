package peerconn

import (
	"errors"
	"fmt"
	"net/netip"
)

var (
	// ErrClosed is the end of a Dial on a closed Driver.
	ErrClosed = errors.New("peerconn: driver is closed")
	// ErrTooMany is the end of a Dial beyond Options.MaxConns.
	ErrTooMany = errors.New("peerconn: too many connections")
	// ErrBlocked is the end of a Dial to an address of Options.Blocked.
	ErrBlocked = errors.New("peerconn: address is blocked")
)

// errBacklog ends a connection whose peer reads so slowly that too much is queued.
var errBacklog = errors.New("the peer does not read")

// errEnded unwinds the goroutines of a connection whose Close has been called. Nobody
// is told it.
var errEnded = errors.New("peerconn: connection has ended")

// A NetError is the end of a connection that neither side's protocol is to blame
// for: it could not be made, was lost, or the peer closed it (Err is io.EOF then).
type NetError struct {
	Op   string // "dial", "negotiate", "read" or "write"
	Addr netip.AddrPort
	Err  error
}

func (e *NetError) Error() string { return fmt.Sprintf("peerconn: %s %s: %v", e.Op, e.Addr, e.Err) }

func (e *NetError) Unwrap() error { return e.Err }
