package webseed

import (
	"fmt"
	"time"
)

// A UselessError says that a web seed must not be asked again.
type UselessError struct{ Why string }

func (e *UselessError) Error() string { return e.Why }

func uselessf(format string, args ...any) error { return &UselessError{fmt.Sprintf(format, args...)} }

// A MissingError says that a web seed does not have one of the things to ask it for.
type MissingError struct{ Why string }

func (e *MissingError) Error() string { return e.Why }

func missingf(format string, args ...any) error { return &MissingError{fmt.Sprintf(format, args...)} }

// A BusyError says that a web seed wants to be left alone for a while, at least a second
// and at most an hour.
type BusyError struct{ After time.Duration }

func (e *BusyError) Error() string { return fmt.Sprintf("busy, come back in %v", e.After) }
