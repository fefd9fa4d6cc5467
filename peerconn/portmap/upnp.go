package portmap

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	alog "github.com/anacrolix/log"
	lib "github.com/anacrolix/upnp"

	"github.com/qqbtfs/qqbtfs/peerconn/netpolicy"
)

const (
	// searching is how long answers to a search are waited for.
	searching = 2 * time.Second
	// description is what the gateway shows its owner.
	description = "qqbtfs"
	// maxServices bounds the services that one search has us ask.
	maxServices = 4
)

// upnp asks the gateways that answer a search on the local networks (UPnP Internet Gateway
// Device). The library does that, behind a gate; it knows no context, so what is under way
// when one ends goes on for some seconds, unheard.
type upnp struct {
	policy  *netpolicy.Policy
	service lib.Device // of the gateway that granted the last one; nil: none
}

func (u *upnp) String() string { return "UPnP" }

func (u *upnp) ask(ctx context.Context, port, wish uint16, life time.Duration) (uint16, time.Duration, error) {
	if u.policy.Bound() || u.policy.Proxied() {
		return 0, 0, fmt.Errorf("not asked, it cannot be %v", u.policy)
	}
	known := u.service
	g, err := within(ctx, func() (grant, error) { return request(ctx, known, port, wish, life) })
	if err != nil {
		return 0, 0, err
	}
	u.service = g.service
	return g.port, life, nil
}

func (u *upnp) release(ctx context.Context, _, external uint16) error {
	service := u.service
	_, err := within(ctx, func() (grant, error) { return grant{}, service.DeletePortMapping(lib.TCP, int(external)) })
	return err
}

// grant is a port, and the service that has granted it.
type grant struct {
	service lib.Device
	port    uint16
}

// within returns what call does, or that ctx has ended.
func within(ctx context.Context, call func() (grant, error)) (g grant, err error) {
	done := make(chan struct{})
	var got grant
	var failed error
	go func() { got, failed = call(); close(done) }()
	select {
	case <-done:
		return got, failed
	case <-ctx.Done():
		return grant{}, ctx.Err()
	}
}

// request asks the service that is known (nil: none), then those that a search finds.
func request(ctx context.Context, known lib.Device, port, wish uint16, life time.Duration) (grant, error) {
	closeGate()
	if known != nil {
		if _, err := known.AddPortMapping(lib.TCP, int(port), int(wish), description, life); err == nil {
			return grant{known, wish}, nil
		}
	}
	found := lib.Discover(0, searching, alog.Default.WithFilterLevel(alog.Disabled))
	err := errors.New("no gateway answers")
	for _, s := range found[:min(len(found), maxServices)] {
		// The library tells no other refusal from that of a port which is another's.
		for _, p := range []uint16{wish, uint16(49152 + rand.IntN(1<<14))} {
			if ctx.Err() != nil {
				return grant{}, ctx.Err()
			}
			if _, err = s.AddPortMapping(lib.TCP, int(port), int(p), description, life); err == nil {
				return grant{s, p}, nil
			}
		}
	}
	return grant{}, err
}
