package tracker

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// scriptedConn is a UDP connection to a tracker that is a function from a
// packet to its answers. It works in the bubble of synctest.
type scriptedConn struct {
	net.Conn // nil: only what is below is used
	answer   func(packet []byte) [][]byte

	mu       sync.Mutex
	sent     []sentPacket
	inbox    chan []byte
	closed   chan struct{}
	closing  sync.Once
	deadline time.Time
}

type sentPacket struct {
	at     time.Time
	action uint32
	tid    uint32
}

func newScriptedConn(answer func([]byte) [][]byte) *scriptedConn {
	return &scriptedConn{answer: answer, inbox: make(chan []byte, 100), closed: make(chan struct{})}
}

func (c *scriptedConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	c.sent = append(c.sent, sentPacket{time.Now(), binary.BigEndian.Uint32(b[8:]), binary.BigEndian.Uint32(b[12:])})
	c.mu.Unlock()
	for _, a := range c.answer(bytes.Clone(b)) {
		c.inbox <- a
	}
	return len(b), nil
}

func (c *scriptedConn) Read(b []byte) (int, error) {
	timer := time.NewTimer(time.Until(c.deadline))
	defer timer.Stop()
	select {
	case p := <-c.inbox:
		return copy(b, p), nil
	case <-timer.C:
		return 0, os.ErrDeadlineExceeded
	case <-c.closed:
		return 0, net.ErrClosed
	}
}

func (c *scriptedConn) SetReadDeadline(t time.Time) error { c.deadline = t; return nil }
func (c *scriptedConn) Close() error                      { c.closing.Do(func() { close(c.closed) }); return nil }

// reply makes a packet with the transaction id of the one that it answers.
func reply(to []byte, action uint32, body ...byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, action)
	return append(append(b, to[12:16]...), body...)
}

func isConnect(b []byte) bool { return binary.BigEndian.Uint32(b[8:]) == udpConnect }

var connectBody = []byte{1, 2, 3, 4, 5, 6, 7, 8}

func announceBody(peers ...byte) []byte {
	return append([]byte{0, 0, 7, 8, 0, 0, 0, 2, 0, 0, 0, 1}, peers...) // 1800 s, 2 leechers, 1 seeder
}

func goodTracker(b []byte) [][]byte {
	if isConnect(b) {
		return [][]byte{reply(b, udpConnect, connectBody...)}
	}
	return [][]byte{reply(b, udpAnnounce, announceBody(9, 9, 9, 9, 0x1a, 0xe1)...)}
}

func udpClient(timeout time.Duration, conn net.Conn) *Client {
	return NewClient(ClientConfig{Timeout: timeout, Dial: func(context.Context, string, string) (net.Conn, error) { return conn, nil }})
}

func TestUDPAnnounce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := newScriptedConn(goodTracker)
		c := udpClient(0, conn)
		defer c.Close()
		resp, err := c.Announce(t.Context(), "udp://93.184.216.34:1337/announce", testRequest())
		if err != nil || !slices.Equal(resp.Peers, addrPorts("9.9.9.9:6881")) || resp.Interval != 30*time.Minute || resp.Seeders != 1 || resp.Leechers != 2 {
			t.Errorf("got %+v, %v", resp, err)
		}
		if len(conn.sent) != 2 || conn.sent[0].tid == conn.sent[1].tid {
			t.Errorf("sent %v", conn.sent)
		}
	})
}

func TestUDPPacketLayout(t *testing.T) {
	x := newUDPExchange(testRequest(), "/announce?"+strings.Repeat("k", 300), v4)
	now := time.Unix(0, 0)
	if p := x.packet(now); len(p) != 16 || binary.BigEndian.Uint64(p) != 0x41727101980 {
		t.Fatalf("connect packet %x", p)
	}
	x.answer(now, reply(x.packet(now), udpConnect, connectBody...))
	p := x.packet(now)
	be := binary.BigEndian
	r := testRequest()
	if !bytes.Equal(p[:8], connectBody) || be.Uint32(p[8:]) != 1 || !bytes.Equal(p[16:36], r.InfoHash[:]) || !bytes.Equal(p[36:56], r.PeerID[:]) ||
		be.Uint64(p[56:]) != 2 || be.Uint64(p[64:]) != 3 || be.Uint64(p[72:]) != 1 || be.Uint32(p[80:]) != 2 ||
		be.Uint32(p[84:]) != 0 || be.Uint32(p[88:]) != 0xdeadbeef || be.Uint32(p[92:]) != 50 || be.Uint16(p[96:]) != 6881 {
		t.Errorf("announce packet %x", p)
	}
	// BEP 41: "URLData ... may appear more than once; concatenated".
	if p[98] != 2 || p[99] != 255 || p[100+255] != 2 || p[101+255] != 310-255 || p[len(p)-1] != 0 {
		t.Errorf("options %x", p[98:])
	}
}

// BEP 15: "If a response is not received after 15 * 2 ^ n seconds, the client
// should retransmit the request".
func TestUDPRetransmission(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := newScriptedConn(func([]byte) [][]byte { return nil })
		c := udpClient(0, conn)
		defer c.Close()
		start := time.Now()
		_, err := c.Announce(t.Context(), "udp://93.184.216.34:1337", testRequest())
		if words(err) != "no answer in time" || time.Since(start) != 45*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		if got := sentAt(conn, start); !slices.Equal(got, []time.Duration{0, 15 * time.Second}) {
			t.Errorf("sent at %v", got)
		}
		if conn.sent[0].tid != conn.sent[1].tid {
			t.Error("a late answer to the first packet would not count")
		}
	})
}

func sentAt(c *scriptedConn, start time.Time) []time.Duration {
	var at []time.Duration
	for _, s := range c.sent {
		at = append(at, s.at.Sub(start))
	}
	return at
}

// BEP 15: "Note that it is necessary to rerequest a connection ID when it has
// expired", one minute after it was received.
func TestUDPConnectionIDExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		announces := 0
		conn := newScriptedConn(func(b []byte) [][]byte {
			if !isConnect(b) {
				if announces++; announces <= 3 { // at 0, 15 and 45 s
					return nil
				}
			}
			return goodTracker(b)
		})
		c := udpClient(10*time.Minute, conn)
		defer c.Close()
		start := time.Now()
		if _, err := c.Announce(t.Context(), "udp://93.184.216.34:1337", testRequest()); err != nil {
			t.Fatal(err)
		}
		var actions []uint32
		for _, s := range conn.sent {
			actions = append(actions, s.action)
		}
		if !slices.Equal(actions, []uint32{0, 1, 1, 1, 0, 1}) || time.Since(start) != 105*time.Second {
			t.Errorf("actions %v in %v", actions, time.Since(start))
		}
	})
}

func TestUDPForgeriesAndRubbishAreIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := newScriptedConn(func(b []byte) [][]byte {
			wrongTID := reply(b, binary.BigEndian.Uint32(b[8:]), make([]byte, 40)...)
			wrongTID[4] ^= 1
			forgedError := reply(b, udpError, []byte("go away")...)
			forgedError[7] ^= 1
			wrongAction := reply(b, 1-binary.BigEndian.Uint32(b[8:]), make([]byte, 40)...)
			return append([][]byte{{}, {0}, wrongTID, forgedError, wrongAction}, goodTracker(b)...)
		})
		c := udpClient(0, conn)
		defer c.Close()
		if resp, err := c.Announce(t.Context(), "udp://93.184.216.34:1337", testRequest()); err != nil || len(resp.Peers) != 1 {
			t.Errorf("got %+v, %v", resp, err)
		}
	})
}

func TestUDPBrokenAnswers(t *testing.T) {
	for name, bad := range map[string]func(b []byte) []byte{
		"connect cut":  func(b []byte) []byte { return reply(b, udpConnect, 1, 2, 3) },
		"announce cut": func(b []byte) []byte { return reply(b, udpAnnounce, 0, 0, 0) },
		"odd peers":    func(b []byte) []byte { return reply(b, udpAnnounce, announceBody(1, 2, 3)...) },
		"error":        func(b []byte) []byte { return reply(b, udpError, []byte("unregistered\x1b")...) },
		"empty error":  func(b []byte) []byte { return reply(b, udpError) },
	} {
		synctest.Test(t, func(t *testing.T) {
			conn := newScriptedConn(func(b []byte) [][]byte {
				if answer := bad(b); isConnect(b) == (binary.BigEndian.Uint32(answer) == udpConnect) {
					return [][]byte{answer}
				}
				return goodTracker(b)
			})
			c := udpClient(0, conn)
			defer c.Close()
			_, err := c.Announce(t.Context(), "udp://93.184.216.34:1337", testRequest())
			var refusal *FailureError
			if err == nil || errors.As(err, &refusal) != strings.Contains(name, "error") {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
}

func TestUDPOverIPv6HasLongPeers(t *testing.T) {
	body := announceBody(append(netip.MustParseAddr("2001:db8::7").AsSlice(), 0, 80)...)
	r, err := parseUDPAnnounce(body, v6)
	if err != nil || !slices.Equal(r.Peers, addrPorts("[2001:db8::7]:80")) {
		t.Errorf("got %v, %v", r.Peers, err)
	}
}

// The tracker's answer counts, one from another socket does not, even with the
// right transaction id.
func TestUDPSourceIsChecked(t *testing.T) {
	tracker, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	forger, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	defer forger.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 2048)
		for {
			n, from, err := tracker.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			if !isConnect(buf[:n]) {
				forger.WriteToUDPAddrPort(reply(buf[:n], udpAnnounce, announceBody(6, 6, 6, 6, 0, 6)...), from)
			}
			tracker.WriteToUDPAddrPort(goodTracker(buf[:n])[0], from)
		}
	}()
	c := NewClient(ClientConfig{})
	defer c.Close()
	resp, err := c.Announce(t.Context(), "udp://"+tracker.LocalAddr().String()+"/announce", testRequest())
	if err != nil || !slices.Equal(resp.Peers, addrPorts("9.9.9.9:6881")) {
		t.Errorf("got %v, %v", resp.Peers, err)
	}
	tracker.Close()
	<-done
	if _, err := c.Announce(t.Context(), "udp://"+tracker.LocalAddr().String(), testRequest()); words(err) != "connection refused" {
		t.Errorf("closed tracker: %v", err)
	}
}

func FuzzUDPAnswer(f *testing.F) {
	f.Add(connectBody, announceBody(9, 9, 9, 9, 0, 1), uint32(udpConnect), uint32(udpAnnounce), false)
	f.Add(connectBody, announceBody(make([]byte, 36)...), uint32(udpConnect), uint32(udpAnnounce), true)
	f.Add([]byte("no"), []byte{}, uint32(udpError), uint32(udpConnect), false)
	f.Add([]byte{}, []byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), uint32(9), uint32(udpAnnounce), true)
	f.Fuzz(func(t *testing.T, first, second []byte, action1, action2 uint32, six bool) {
		fam := v4
		if six {
			fam = v6
		}
		x := newUDPExchange(testRequest(), "/announce", fam)
		now := time.Unix(1, 0)
		for _, in := range []struct {
			action uint32
			body   []byte
		}{{action1, first}, {action2, second}} {
			step, r, err := x.answer(now, reply(x.packet(now), in.action, in.body...))
			if step == udpDone && err == nil {
				checkResponse(t, r)
			}
		}
		if step, _, err := x.answer(now, first); step != udpIgnored && len(first) < 8 || err != nil && step == udpIgnored {
			t.Errorf("raw packet: step %v, err %v", step, err)
		}
	})
}
