package peerconn_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/peerconn"
	"github.com/qqbtfs/qqbtfs/peerconn/peertest"
	"github.com/qqbtfs/qqbtfs/peerconn/proto"
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

func TestListenInUse(t *testing.T) {
	peertest.NoLeaks(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	n, err := peerconn.NewNet(peerconn.Options{Listen: []string{"127.0.0.1:0", l.Addr().String()}})
	if !errors.Is(err, syscall.EADDRINUSE) || n != nil {
		t.Errorf("NewNet = %v, %v", n, err)
	}
}

// ends is a Handler that waits for the end.
type ends chan error

func (ends) Events(peerconn.Conn, []proto.Event) bool { return true }
func (e ends) Closed(_ peerconn.Conn, err error)      { e <- err }

// tarpit is an address where connecting neither succeeds nor fails: the queue of a
// listener that accepts nothing is full.
func tarpit(t *testing.T) netip.AddrPort {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	sa, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(sa.(*syscall.SockaddrInet4).Port))
	for range 16 {
		c, err := net.DialTimeout("tcp", addr.String(), 50*time.Millisecond)
		if err != nil {
			return addr
		}
		t.Cleanup(func() { c.Close() })
	}
	t.Skip("the queue of a listener does not fill up here")
	return addr
}

func TestDialTimeout(t *testing.T) {
	peertest.NoLeaks(t)
	tor := peertest.NewTorrent(1, 1, 1)
	n := open(t, peerconn.Options{DialTimeout: 30 * time.Millisecond, MaxHalfOpen: 1})
	e, addr, start := make(ends, 3), tarpit(t), time.Now()
	for range 3 {
		n.Dial(t.Context(), addr, tor.Config("dial"), e)
	}
	for range 3 {
		err := <-e
		ne := (*peerconn.NetError)(nil)
		if timeout := net.Error(nil); !errors.As(err, &ne) || ne.Op != "dial" || !errors.As(ne.Err, &timeout) || !timeout.Timeout() {
			t.Errorf("ended with %v", err)
		}
	}
	if took := time.Since(start); took < 90*time.Millisecond {
		t.Errorf("three dials of 30 ms, one at a time, took %v", took)
	}
}

func TestCloseWhileDialling(t *testing.T) {
	peertest.NoLeaks(t)
	tor := peertest.NewTorrent(1, 1, 1)
	n := open(t, peerconn.Options{MaxHalfOpen: 1})
	e, addr := make(ends, 3), tarpit(t)
	ctx, cancel := context.WithCancel(t.Context())
	for range 2 { // one of them waits for its turn
		n.Dial(ctx, addr, tor.Config("dial"), e)
	}
	cancel()
	for range 2 {
		if err := <-e; !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
	}
	c := n.Dial(t.Context(), addr, tor.Config("dial"), e)
	c.Close(nil)
	if err := <-e; err != nil {
		t.Errorf("ended with %v", err)
	}
	n.Dial(t.Context(), addr, tor.Config("dial"), e)
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	if err := <-e; err != nil && !errors.Is(err, peerconn.ErrClosed) {
		t.Errorf("ended with %v", err)
	}
}
