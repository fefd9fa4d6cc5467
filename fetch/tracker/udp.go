package tracker

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"time"
)

const (
	udpFirstWait = 15 * time.Second // BEP 15, Time outs: 15 * 2^n
	udpMaxN      = 8
	// maxDatagram is more than MaxPeers IPv6 peers need.
	maxDatagram = 32 << 10
)

// announceUDP makes the exchange of BEP 15 with the first of addrs that is
// there. It retransmits by BEP 15's schedule until ctx ends.
func (c *Client) announceUDP(ctx context.Context, u *url.URL, f family, addrs []netip.Addr, r Request) (Response, error) {
	var first error
	for _, a := range addrs {
		resp, err := c.exchangeUDP(ctx, u, f, a, r)
		var refusal *FailureError
		if err == nil || errors.As(err, &refusal) {
			return resp, err
		}
		if first == nil {
			first = err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return Response{}, first
}

func (c *Client) exchangeUDP(ctx context.Context, u *url.URL, f family, a netip.Addr, r Request) (Response, error) {
	// A socket for each exchange: a fresh source port and the kernel's check of
	// the answer's source are, with the transaction id, what a forger must guess.
	conn, err := c.cfg.Dial(ctx, "udp", net.JoinHostPort(a.String(), u.Port()))
	if err != nil {
		return Response{}, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	until, _ := ctx.Deadline() // announce set one
	resp, err := newUDPExchange(r, u.RequestURI(), f).run(conn, until)
	if ctx.Err() != nil && err != nil {
		err = ctx.Err()
	}
	return resp, err
}

// run drives the exchange over conn until then. Closing conn interrupts it.
func (x *udpExchange) run(conn net.Conn, until time.Time) (Response, error) {
	buf := make([]byte, maxDatagram)
	for n := 0; n <= udpMaxN && time.Now().Before(until); {
		if _, err := conn.Write(x.packet(time.Now())); err != nil {
			return Response{}, err
		}
		if err := conn.SetReadDeadline(time.Now().Add(udpFirstWait << n)); err != nil {
			return Response{}, err
		}
		switch step, resp, err := x.await(conn, buf); {
		case isTimeout(err):
			n++ // also after a connect was answered: the schedule is the exchange's
		case err != nil || step == udpDone:
			return resp, err
		}
	}
	return Response{}, context.DeadlineExceeded
}

// await reads until a packet moves the exchange on.
func (x *udpExchange) await(conn net.Conn, buf []byte) (udpStep, Response, error) {
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return udpIgnored, Response{}, err
		}
		step, resp, err := x.answer(time.Now(), buf[:n])
		if step != udpIgnored || err != nil {
			return step, resp, err
		}
	}
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

// parseUDPAnnounce reads an announce's answer without its action and
// transaction id (BEP 15, IPv4 announce response; the peers of an answer over
// IPv6 are 18 bytes each).
func parseUDPAnnounce(b []byte, f family) (Response, error) {
	if len(b) < 12 {
		return Response{}, fmt.Errorf("UDP answer is %d bytes short", 12-len(b))
	}
	size := compact4
	if f == v6 {
		size = compact6
	}
	peers, err := parseCompact(b[12:], size)
	return Response{
		Interval: seconds(int64(int32(binary.BigEndian.Uint32(b)))),
		Leechers: count(int64(int32(binary.BigEndian.Uint32(b[4:])))),
		Seeders:  count(int64(int32(binary.BigEndian.Uint32(b[8:])))),
		Peers:    peers,
	}, err
}
