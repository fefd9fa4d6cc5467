package netpolicy

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"
)

const (
	// associateFirst is the wait after an association that failed or ended. It doubles
	// with each that does not last longer than that, up to associateMax.
	associateFirst, associateMax = time.Second, time.Minute
	// associateWait is how long whoever opens a socket waits for the first association.
	associateWait = 5 * time.Second
)

var errNoRelay = errors.New("netpolicy: the proxy relays no UDP at present")

// An association is a UDP socket of the proxy's that outlives its relays: an association
// of SOCKS5 ends with its TCP connection (RFC 1928, section 6), another is made then.
// While there is none, reads wait and writes fail.
type association struct {
	open   func(context.Context) (*relay, error)
	log    *slog.Logger
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu       sync.Mutex
	relay    *relay        // nil: none at present
	deadline time.Time     // of reads; zero: none
	changed  chan struct{} // closed with any change of these
}

var _ net.PacketConn = (*association)(nil)

// listenUDP begins an association. It waits a moment for the proxy, so that what is sent
// first is not lost, and leaves a proxy that is not there to later.
func (x *proxy) listenUDP(ctx context.Context, p *Policy) (net.PacketConn, error) {
	a := &association{
		open:    func(ctx context.Context) (*relay, error) { return x.associate(ctx, p) },
		log:     p.log,
		changed: make(chan struct{}),
	}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	tried := a.changed
	a.done.Go(a.keep)
	timer := time.NewTimer(associateWait)
	defer timer.Stop()
	select {
	case <-tried:
	case <-timer.C:
	case <-ctx.Done():
		a.Close()
		return nil, ctx.Err()
	}
	return a, nil
}

// keep makes one association after another until Close.
func (a *association) keep() {
	wait, told := associateFirst, false
	for a.ctx.Err() == nil {
		began := time.Now()
		r, err := a.open(a.ctx)
		a.set(r)
		switch {
		case err == nil:
			if told {
				a.log.Info("the proxy relays UDP again")
			}
			told = false
			a.hold(r)
		case !told && a.ctx.Err() == nil:
			a.log.Warn("no UDP by the proxy, trying again", "err", err)
			told = true
		}
		if time.Since(began) > wait && err == nil {
			wait = associateFirst
		}
		select {
		case <-a.ctx.Done():
		case <-time.After(wait):
		}
		wait = min(2*wait, associateMax)
	}
}

// hold waits for the end of a relay.
func (a *association) hold(r *relay) {
	select {
	case <-r.ended:
	case <-a.ctx.Done():
	}
	a.set(nil)
	r.Close()
}

func (a *association) set(r *relay) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.relay = r; r != nil {
		_ = r.SetReadDeadline(a.deadline)
	}
	a.change()
}

// change wakes those who wait; mu is held.
func (a *association) change() {
	close(a.changed)
	a.changed = make(chan struct{})
}

// next waits for another relay than the last, which has failed.
func (a *association) next(last *relay) (*relay, error) {
	for {
		a.mu.Lock()
		r, deadline, changed := a.relay, a.deadline, a.changed
		a.mu.Unlock()
		if r != nil && r != last {
			return r, nil
		}
		if err := a.wait(changed, deadline); err != nil {
			return nil, err
		}
	}
}

// wait waits for a change until then.
func (a *association) wait(changed <-chan struct{}, until time.Time) error {
	ctx := a.ctx
	if !until.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadlineCause(ctx, until, os.ErrDeadlineExceeded)
		defer cancel()
	}
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
	}
	if a.ctx.Err() != nil {
		return net.ErrClosed
	}
	return context.Cause(ctx)
}

// ReadFrom implements net.PacketConn.
func (a *association) ReadFrom(p []byte) (int, net.Addr, error) {
	for last := (*relay)(nil); ; {
		r, err := a.next(last)
		if err != nil {
			return 0, nil, err
		}
		n, from, err := r.ReadFrom(p)
		if !errors.Is(err, net.ErrClosed) {
			return n, from, err
		}
		last = r
	}
}

// WriteTo implements net.PacketConn. It fails while there is no relay.
func (a *association) WriteTo(p []byte, to net.Addr) (int, error) {
	r := a.current()
	switch {
	case a.ctx.Err() != nil:
		return 0, net.ErrClosed
	case r == nil:
		return 0, errNoRelay
	}
	return r.WriteTo(p, to)
}

func (a *association) current() *relay {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.relay
}

// LocalAddr implements net.PacketConn. Its port is zero while there is no relay.
func (a *association) LocalAddr() net.Addr {
	if r := a.current(); r != nil {
		return r.LocalAddr()
	}
	return &net.UDPAddr{}
}

// SetDeadline implements net.PacketConn.
func (a *association) SetDeadline(t time.Time) error { return a.SetReadDeadline(t) }

// SetReadDeadline implements net.PacketConn. It holds for relays to come as well.
func (a *association) SetReadDeadline(t time.Time) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.deadline = t
	a.change()
	if a.relay != nil {
		return a.relay.SetReadDeadline(t)
	}
	return nil
}

// SetWriteDeadline implements net.PacketConn. Writes do not wait.
func (a *association) SetWriteDeadline(time.Time) error { return nil }

// Close implements net.PacketConn.
func (a *association) Close() error {
	a.cancel()
	a.done.Wait()
	return nil
}
