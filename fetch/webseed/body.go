package webseed

import (
	"errors"
	"io"
	"net/http"
	"time"
)

// body reads just what was asked for.
type body struct {
	resp   *http.Response
	left   int64       // bytes
	stall  *time.Timer // runs while Read waits
	cancel func()
}

var errStalled = errors.New("sends nothing")

func newBody(resp *http.Response, n int64, cancel func()) *body {
	b := &body{resp, n, time.AfterFunc(stallTimeout, cancel), cancel}
	b.stall.Stop()
	return b
}

func (b *body) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	b.stall.Reset(stallTimeout)
	n, err := b.resp.Body.Read(p[:min(int64(len(p)), b.left)])
	stalled := !b.stall.Stop()
	b.left -= int64(n)
	switch {
	case n > 0:
		return n, nil // an error comes again
	case stalled:
		return 0, errStalled
	case err == io.EOF && len(b.resp.TransferEncoding) > 0:
		return 0, uselessf("sends less than it was asked for") // and says that it is all
	case err == io.EOF:
		return 0, io.ErrUnexpectedEOF
	default:
		return 0, err
	}
}

// Close lets another request use the connection if all of the answer was read.
func (b *body) Close() error {
	if b.left == 0 && b.resp.ContentLength >= 0 {
		b.resp.Body.Read(make([]byte, 1)) // the end of it, which is here
	}
	err := b.resp.Body.Close()
	b.cancel()
	return err
}
