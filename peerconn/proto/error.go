package proto

import (
	"errors"
	"fmt"
)

var (
	// ErrSelf is wrapped by the ProtocolError of a connection to ourselves: the
	// peer has our peer id. Its address need not be tried again.
	ErrSelf = errors.New("connected to ourselves")
	// ErrTimeout is wrapped by the errors of Tick.
	ErrTimeout = errors.New("timed out")
)

// ProtocolError tells that the peer broke the protocol. The connection must be
// closed.
type ProtocolError struct{ Err error }

func (e *ProtocolError) Error() string { return "proto: peer broke the protocol: " + e.Err.Error() }

// Unwrap returns what the peer did.
func (e *ProtocolError) Unwrap() error { return e.Err }

func broken(format string, args ...any) error {
	return &ProtocolError{fmt.Errorf(format, args...)}
}
