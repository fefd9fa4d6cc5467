// Package portmap has the gateway of the local network forward a port to us: by NAT-PMP
// (RFC 6886) or, where it does not, by UPnP (Internet Gateway Device).
//
// A Mapping is kept by a goroutine that asks for it, renews it at half of its time, and
// takes it back at the end. If no gateway grants one, they are asked again now and then.
package portmap

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/qqbtfs/qqbtfs/peerconn/netpolicy"
)

const (
	retry     = 10 * time.Minute // after nobody has granted a mapping
	releasing = time.Second      // bounds the taking back
)

// Config says what to map.
type Config struct {
	// Port is the TCP port that we listen on.
	Port uint16
	// Gateway is where to ask, by NAT-PMP alone. Zero means the gateway of the default
	// route by the interface of Policy, and after it those that answer to UPnP.
	Gateway netip.AddrPort
	// Lifetime is asked for; zero means 2 h (RFC 6886, 3.3).
	Lifetime time.Duration
	// Changed, if not nil, is called when the gateway's port is another one than before;
	// at first that is Port. It must not call Close.
	Changed func()
	// Policy is by which way to ask. nil: any. UPnP knows no way but the kernel's: with an
	// address, an interface or a proxy to keep to it is not asked.
	Policy *netpolicy.Policy
	// Logger is told of mappings and failures. nil: none.
	Logger *slog.Logger
}

// A protocol is one to ask gateways by. One goroutine at a time calls its methods.
type protocol interface {
	fmt.Stringer
	// ask has the gateway forward its port wish, or another, to port for the time of life.
	// It returns what was granted.
	ask(ctx context.Context, port, wish uint16, life time.Duration) (uint16, time.Duration, error)
	// release takes back what was granted last.
	release(ctx context.Context, port, external uint16) error
}

// A Mapping is a port of the gateway's that leads to us. nil is none.
type Mapping struct {
	cfg       Config
	protocols []protocol // of the goroutine; the one that worked last comes first
	external  atomic.Uint32
	moved     chan struct{} // has a token when the network has changed
	stop      context.CancelFunc
	done      chan struct{}
}

// Keep begins to map.
func Keep(cfg Config) *Mapping {
	cfg.Lifetime = cmp.Or(cfg.Lifetime, 2*time.Hour)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	ctx, stop := context.WithCancel(context.Background())
	m := &Mapping{cfg: cfg, moved: make(chan struct{}, 1), stop: stop, done: make(chan struct{})}
	m.protocols = []protocol{&natpmp{gateway: cfg.Gateway, policy: cfg.Policy}}
	if !cfg.Gateway.IsValid() {
		m.protocols = append(m.protocols, &upnp{policy: cfg.Policy})
	}
	go m.run(ctx)
	return m
}

// Port is the port at the gateway; zero: none (yet).
func (m *Mapping) Port() uint16 {
	if m == nil {
		return 0
	}
	return uint16(m.external.Load())
}

// Moved says that another gateway may be there now: it is asked at once.
func (m *Mapping) Moved() {
	if m == nil {
		return
	}
	select {
	case m.moved <- struct{}{}:
	default:
	}
}

// Close takes the mapping back and returns when that is done or has failed, after a
// second at most.
func (m *Mapping) Close() {
	if m == nil {
		return
	}
	m.stop()
	<-m.done
}

func (m *Mapping) run(ctx context.Context) {
	defer close(m.done)
	level := slog.LevelWarn // of a failure: the first one after a success is told
	for told := m.cfg.Port; ; {
		port, life, err := m.ask(ctx)
		wait := retry
		switch {
		case ctx.Err() != nil:
		case err != nil:
			m.cfg.Logger.Log(ctx, level, "no gateway forwards a port", "err", err)
			level = slog.LevelDebug
			m.external.Store(0)
		default:
			level = slog.LevelWarn
			if old := m.external.Swap(uint32(port)); old != uint32(port) {
				m.cfg.Logger.Info("the gateway forwards a port", "by", m.protocols[0].String(), "port", port, "to", m.cfg.Port)
			}
			wait = life / 2
		}
		if now := cmp.Or(m.Port(), m.cfg.Port); now != told && ctx.Err() == nil {
			if told = now; m.cfg.Changed != nil {
				m.cfg.Changed()
			}
		}
		select {
		case <-ctx.Done():
			m.release()
			return
		case <-m.moved:
		case <-time.After(wait):
		}
	}
}

// ask asks by one protocol after the other.
func (m *Mapping) ask(ctx context.Context) (port uint16, life time.Duration, err error) {
	p := m.protocols
	for i := range p {
		var e error
		if port, life, e = p[i].ask(ctx, m.cfg.Port, cmp.Or(m.Port(), m.cfg.Port), m.cfg.Lifetime); e == nil {
			p[0], p[i] = p[i], p[0]
			return port, life, nil
		}
		if e = fmt.Errorf("%v: %w", p[i], e); err != nil {
			e = fmt.Errorf("%w; %w", err, e)
		}
		err = e
	}
	return 0, 0, err
}

func (m *Mapping) release() {
	if m.Port() == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), releasing)
	defer cancel()
	if err := m.protocols[0].release(ctx, m.cfg.Port, m.Port()); err != nil {
		m.cfg.Logger.Warn("the forwarded port could not be taken back", "err", err)
	}
	m.external.Store(0)
}
