package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/qqbtfs/qqbtfs/cmd/qqbtfs/config"
)

// code is a process exit code. The numbers are part of the interface: scripts
// branch on them, so a number never changes its meaning.
type code int

const (
	codeOK         code = 0
	codeFailure    code = 1
	codeUsage      code = 2
	codeSource     code = 3
	codeMount      code = 4
	codeDisk       code = 5
	codeIncomplete code = 6
	codeNoMount    code = 7
)

// exitCodes documents every exit code; help and docs are printed from it.
var exitCodes = []struct {
	code    code
	meaning string
}{
	{codeOK, "success; for mount in the background: the mount is usable"},
	{codeFailure, "another failure, such as a network address that is in use"},
	{codeUsage, "wrong use: a flag, an argument, a setting in the environment or the config file"},
	{codeSource, "a torrent could not be loaded, or is damaged or not supported"},
	{codeMount, "mounting or unmounting failed"},
	{codeDisk, "the cache, or a file or directory on disk, could not be read or written"},
	{codeIncomplete, "interrupted, or ended before everything was complete"},
	{codeNoMount, "there is no live mount at that place"},
}

// exitHelp formats exitCodes for a help text.
func exitHelp() string {
	var b strings.Builder
	b.WriteString("Exit codes:\n")
	for _, e := range exitCodes {
		fmt.Fprintf(&b, "  %d  %s\n", e.code, e.meaning)
	}
	return b.String()
}

// exitError is an error that knows its exit code.
type exitError struct {
	code code
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// fail gives err an exit code. A nil err stays nil.
func fail(c code, err error) error {
	if err == nil {
		return nil
	}
	return &exitError{c, err}
}

// failf is fail with fmt.Errorf.
func failf(c code, format string, args ...any) error { return fail(c, fmt.Errorf(format, args...)) }

// exitCode returns the code that err, or the first error in its chain that
// knows one, asks for.
func exitCode(err error) code {
	var known *exitError
	var setting *config.Error
	switch {
	case err == nil:
		return codeOK
	case errors.As(err, &known):
		return known.code
	case errors.As(err, &setting):
		return codeUsage
	case errors.Is(err, context.Canceled):
		return codeIncomplete
	default:
		return codeFailure
	}
}

// oneLine is the text of err as it is shown: without line breaks, which
// libraries and servers put into theirs, without control characters, and
// without the name of the package of ours that it came from.
func oneLine(err error) string {
	text := err.Error()
	for _, pkg := range []string{"fs: ", "metainfo: ", "badgerstore: ", "filestore: ", "peerconn: ", "netpolicy: "} {
		text = strings.TrimPrefix(text, pkg)
	}
	return printable(text)
}

func printable(text string) string {
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text)
}
