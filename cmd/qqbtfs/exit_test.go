package main

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/qqbtfs/qqbtfs/cmd/qqbtfs/config"
)

func TestExitCode(t *testing.T) {
	disk := failf(codeDisk, "full")
	for _, c := range []struct {
		err  error
		want code
	}{
		{nil, codeOK},
		{errors.New("x"), codeFailure},
		{disk, codeDisk},
		{fmt.Errorf("more: %w", disk), codeDisk},
		{errors.Join(nil, failf(codeMount, "m"), disk), codeMount},
		{&config.Error{Where: "f:1", Err: errors.New("x")}, codeUsage},
		{fmt.Errorf("x: %w", context.Canceled), codeIncomplete},
		{fail(codeDisk, nil), codeOK},
	} {
		if got := exitCode(c.err); got != c.want {
			t.Errorf("exitCode(%v) = %d, want %d", c.err, got, c.want)
		}
	}
}

// The numbers are an interface.
func TestExitCodesStay(t *testing.T) {
	for i, e := range exitCodes {
		if int(e.code) != i || e.meaning == "" {
			t.Errorf("row %d is %+v", i, e)
		}
	}
}

func TestOneLine(t *testing.T) {
	for in, want := range map[string]string{
		"a\nb\r\nc":                "a; b; c",
		"esc \x1b[31m":             "esc  [31m",
		"fs: the mount point is x": "the mount point is x",
		"peerconn: netpolicy: no":  "no",
		"plain":                    "plain",
	} {
		if got := oneLine(errors.New(in)); got != want {
			t.Errorf("oneLine(%q) = %q, want %q", in, got, want)
		}
	}
}
