package tracker

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// fakeNet is an internet of HTTP servers: names with addresses, and a handler
// for each address. Nothing leaves the process.
type fakeNet struct {
	names   map[string][]netip.Addr
	servers map[netip.Addr]*httptest.Server
	dead    map[netip.Addr]bool // dialling takes forever
	dialled chan string
}

func newFakeNet(t *testing.T) *fakeNet {
	return &fakeNet{
		names:   make(map[string][]netip.Addr),
		servers: make(map[netip.Addr]*httptest.Server),
		dead:    make(map[netip.Addr]bool),
		dialled: make(chan string, 100),
	}
}

func (n *fakeNet) add(t *testing.T, name, addr string, h http.HandlerFunc) {
	a := netip.MustParseAddr(addr)
	n.names[name] = append(n.names[name], a)
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	n.servers[a] = srv
}

func (n *fakeNet) client(t *testing.T) *Client {
	c := NewClient(ClientConfig{
		UserAgent: "test/1",
		Timeout:   10 * time.Second,
		Resolve: func(_ context.Context, host string) ([]netip.Addr, error) {
			if a := n.names[host]; a != nil {
				return a, nil
			}
			return nil, &net.DNSError{Name: host, IsNotFound: true}
		},
		Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			n.dialled <- addr
			a := netip.MustParseAddrPort(addr).Addr()
			if n.dead[a] {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			srv := n.servers[a]
			if srv == nil {
				return nil, errors.New("no such host in the test")
			}
			return net.Dial("tcp", srv.Listener.Addr().String())
		},
	})
	t.Cleanup(c.Close)
	return c
}

func answer(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) }
}

const onePeer = "d8:intervali1800e5:peers6:\x09\x09\x09\x09\x1a\xe1e"

func testRequest() Request {
	r := Request{Port: 6881, Uploaded: 1, Downloaded: 2, Left: 3, Event: Started, NumWant: 50, Key: 0xdeadbeef, TrackerID: "a&b"}
	copy(r.InfoHash[:], "\x00\xff +&=%abcdefghijklmn")
	copy(r.PeerID[:], "-QQ0001-abcdefghijkl")
	return r
}

func TestHTTPRequest(t *testing.T) {
	n := newFakeNet(t)
	var got *http.Request
	n.add(t, "t.org", "93.184.216.34", func(w http.ResponseWriter, r *http.Request) {
		got = r
		fmt.Fprint(w, onePeer)
	})
	resp, err := n.client(t).Announce(t.Context(), "http://me:pw@t.org/x/announce?passkey=a%2Fb", testRequest())
	if err != nil || len(resp.Peers) != 1 {
		t.Fatalf("got %+v, %v", resp, err)
	}
	if !strings.HasPrefix(got.URL.RawQuery, "passkey=a%2Fb&info_hash=%00%FF%20%2B%26%3D%25abc") {
		t.Errorf("query %q", got.URL.RawQuery)
	}
	q, r := got.URL.Query(), testRequest()
	for k, want := range map[string]string{
		"info_hash": string(r.InfoHash[:]), "peer_id": "-QQ0001-abcdefghijkl", "port": "6881", "uploaded": "1", "downloaded": "2",
		"left": "3", "event": "started", "compact": "1", "numwant": "50", "key": "deadbeef", "trackerid": "a&b",
	} {
		if q.Get(k) != want {
			t.Errorf("%s = %q, want %q", k, q.Get(k), want)
		}
	}
	if user, pw, _ := got.BasicAuth(); user != "me" || pw != "pw" || got.UserAgent() != "test/1" {
		t.Errorf("credentials %q %q, agent %q", user, pw, got.UserAgent())
	}
}

func TestStoppedWantsNoPeersAndUnknownLeftIsNoSeed(t *testing.T) {
	u := announceURL(&url.URL{}, Request{Event: Stopped, NumWant: 50, Left: -1})
	if q := u.Query(); q.Get("numwant") != "0" || q.Get("left") != "16384" {
		t.Errorf("numwant %q, left %q", q.Get("numwant"), q.Get("left"))
	}
}

func zipped(body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		z.Write(body)
		z.Close()
	}
}

func TestHTTPAnswers(t *testing.T) {
	big := "d1:x3000000:" + strings.Repeat("x", 3_000_000) + "e"
	for _, c := range []struct {
		name    string
		handler http.HandlerFunc
		err     string // "" for success
	}{
		{"gzip", zipped([]byte(onePeer)), ""},
		{"gzip bomb", zipped(bytes.Repeat([]byte{0}, 4<<20)), "more than 2097152 bytes"},
		{"large body", answer(big), "more than 2097152 bytes"},
		{"broken gzip", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.Write([]byte("nonsense"))
		}, "gzip"},
		{"status", http.NotFound, "HTTP status 404 Not Found"},
		{"status with a reason", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(400)
			fmt.Fprint(w, "d14:failure reason3:wate")
		}, "tracker refused: wat"},
		{"HTML", answer("<html>"), "not a tracker's answer"},
		{"cut short", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			fmt.Fprint(w, onePeer)
		}, "read answer"},
		{"huge headers", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X", strings.Repeat("x", 1<<20))
		}, "header"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newFakeNet(t)
			n.add(t, "t.org", "93.184.216.34", c.handler)
			_, err := n.client(t).Announce(t.Context(), "http://t.org/passkey0123456789/announce", testRequest())
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("got %v, want %q", err, c.err)
			}
			if err != nil && strings.Contains(err.Error(), "passkey0123456789") {
				t.Errorf("error holds the passkey: %v", err)
			}
		})
	}
}

func redirect(to string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", to)
		w.WriteHeader(302)
	}
}

// "redirects: five, http(s) only, never from a public address to a local one"
func TestRedirects(t *testing.T) {
	const public, public2, local, local2 = "93.184.216.34", "93.184.216.35", "127.0.0.1", "192.168.0.1"
	for _, c := range []struct {
		name, fromAddr, to, toAddr, err string
	}{
		{"public to public", public, "http://b.org/a.php", public2, ""},
		{"public to local", public, "http://b.org/announce", local, "redirects to the local address"},
		{"local to public", local, "http://b.org/a.php", public, ""},
		{"local to local announce", local, "http://b.org/announce", local2, ""},
		{"local to local admin page", local, "http://b.org/admin", local2, "may only be asked for /announce"},
		{"to a file", public, "file:///etc/passwd", public2, "unsupported tracker scheme"},
		{"to UDP", public, "udp://b.org:80", public2, "redirect from HTTP to UDP"},
		{"to nowhere", public, "", public2, "without a usable target"},
		{"to an unknown host", public, "http://c.org/", public2, "c.org"},
		{"loop", public, "/announce", public2, "more than 5 redirects"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newFakeNet(t)
			n.add(t, "a.org", c.fromAddr, redirect(c.to))
			n.add(t, "b.org", c.toAddr, func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") != "" {
					t.Error("credentials crossed origins")
				}
				fmt.Fprint(w, onePeer)
			})
			_, err := n.client(t).Announce(t.Context(), "http://me:pw@a.org/announce", testRequest())
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("got %v, want %q", err, c.err)
			}
			if want := map[bool]int{true: 6, false: 2}[c.name == "loop"]; len(n.dialled) > want {
				t.Errorf("%d connections", len(n.dialled))
			}
			if c.err != "" && c.name != "loop" && len(n.dialled) != 1 {
				t.Errorf("%d connections; the target was asked", len(n.dialled))
			}
		})
	}
}

// BEP 7: "the client [announces] using both its IPv4 and IPv6 addresses".
func TestBothFamilies(t *testing.T) {
	n := newFakeNet(t)
	n.add(t, "t.org", "93.184.216.34", answer(onePeer))
	n.add(t, "t.org", "2001:db8::5", answer("d8:completei9e5:peers6:\x09\x09\x09\x0a\x1a\xe1e"))
	var answers int
	resp, err := n.client(t).announce(t.Context(), "http://t.org/a", testRequest(), func(Response) { answers++ })
	if err != nil || answers != 2 || len(resp.Peers) != 2 || resp.Seeders != 9 {
		t.Errorf("%d answers, %+v, %v", answers, resp, err)
	}
}

func TestOneFamilyIsEnough(t *testing.T) {
	n := newFakeNet(t)
	n.add(t, "t.org", "93.184.216.34", answer("d14:failure reason1:xe"))
	n.add(t, "t.org", "2001:db8::5", answer(onePeer))
	if resp, err := n.client(t).Announce(t.Context(), "http://t.org/a", testRequest()); err != nil || len(resp.Peers) != 1 {
		t.Errorf("%+v, %v", resp, err)
	}
}

// A host's second address is tried when the first does not accept.
func TestSecondAddress(t *testing.T) {
	n := newFakeNet(t)
	n.names["t.org"] = []netip.Addr{netip.MustParseAddr("93.184.216.33")}
	n.add(t, "t.org", "93.184.216.34", answer(onePeer))
	if _, err := n.client(t).Announce(t.Context(), "http://t.org/a", testRequest()); err != nil {
		t.Error(err)
	}
}

// pipeServer answers one HTTP request on the other end of a pipe, in the
// bubble of synctest.
func pipeServer(body string) net.Conn {
	near, far := net.Pipe()
	go func() {
		defer far.Close()
		buf := make([]byte, 4096)
		if _, err := far.Read(buf); err == nil {
			fmt.Fprintf(far, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		}
	}()
	return near
}

// A family that leads nowhere costs neither the peers of the other one nor
// more than familyGrace.
func TestDeadFamilyDoesNotDelayTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewClient(ClientConfig{
			Resolve: func(context.Context, string) ([]netip.Addr, error) {
				return []netip.Addr{netip.MustParseAddr("93.184.216.34"), netip.MustParseAddr("2001:db8::5")}, nil
			},
			Dial: func(ctx context.Context, _, addr string) (net.Conn, error) {
				if strings.HasPrefix(addr, "[") {
					<-ctx.Done()
					return nil, ctx.Err()
				}
				return pipeServer(onePeer), nil
			},
		})
		defer c.Close()
		start := time.Now()
		var first time.Duration
		resp, err := c.announce(t.Context(), "http://t.org/a", testRequest(), func(Response) { first = time.Since(start) })
		if err != nil || len(resp.Peers) != 1 || first != 0 || time.Since(start) != familyGrace {
			t.Errorf("%v after %v, peers after %v", err, time.Since(start), first)
		}
	})
}

func TestSilentTrackerTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewClient(ClientConfig{Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			near, far := net.Pipe()
			go func() { // takes the request, says nothing
				buf := make([]byte, 4096)
				for {
					if _, err := far.Read(buf); err != nil {
						return
					}
				}
			}()
			return near, nil
		}})
		defer c.Close()
		start := time.Now()
		_, err := c.Announce(t.Context(), "http://127.0.0.1/announce", testRequest())
		if words(err) != "no answer in time" || time.Since(start) != defaultTimeout {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

func TestCloseEndsAnnounces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewClient(ClientConfig{Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}})
		failed := make(chan error, 1)
		go func() {
			_, err := c.Announce(context.Background(), "http://127.0.0.1/announce", testRequest())
			failed <- err
		}()
		synctest.Wait()
		c.Close()
		if err := <-failed; err == nil {
			t.Error("announce went on")
		}
		if _, err := c.Announce(context.Background(), "http://127.0.0.1/announce", testRequest()); !errors.Is(err, errClientClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}

func TestUnusableURLs(t *testing.T) {
	c := NewClient(ClientConfig{})
	defer c.Close()
	for _, u := range []string{"wss://t.org/announce", "udp://t.org/announce", "http://:80/", "http://t.org:0/", "http://t.org:99999/", "\x00", "", "gopher://x", "http://127.0.0.1/secret0123456789"} {
		_, err := c.Announce(t.Context(), u, Request{})
		var refused *RefusedError
		if !errors.As(err, &refused) || strings.Contains(err.Error(), "secret0123456789") {
			t.Errorf("%q: %v", u, err)
		}
	}
}

// A certificate that nobody vouches for is refused.
func TestHTTPSIsValidated(t *testing.T) {
	srv := httptest.NewUnstartedServer(answer(onePeer))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	defer srv.Close()
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	for _, c := range []struct {
		tls *tls.Config
		ok  bool
	}{{nil, false}, {&tls.Config{RootCAs: roots}, true}} {
		client := NewClient(ClientConfig{TLS: c.tls})
		_, err := client.Announce(t.Context(), srv.URL+"/announce", testRequest())
		if (err == nil) != c.ok {
			t.Errorf("TLS config %v: %v", c.tls != nil, err)
		}
		client.Close()
	}
}
