package peerconn_test

import (
	"testing"

	"github.com/qqbtfs/qqbtfs/peerconn"
	"github.com/qqbtfs/qqbtfs/peerconn/peertest"
)

func TestNet(t *testing.T) {
	peertest.Conformance(t, func(opt peerconn.Options) peerconn.Driver {
		n, err := peerconn.NewNet(opt)
		if err != nil {
			t.Fatal(err)
		}
		return n
	})
}
