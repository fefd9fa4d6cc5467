package trackerd_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/fetch/tracker"
	"github.com/qqbtfs/qqbtfs/fetch/tracker/trackerd"
)

func serve(t *testing.T, addr string, opt trackerd.Options) *trackerd.Server {
	t.Helper()
	s := trackerd.New(opt)
	if err := s.Listen(addr); err != nil {
		t.Skipf("no %s on this machine: %v", addr, err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func request(port uint16, left int64, e tracker.Event) tracker.Request {
	r := tracker.Request{Port: port, Left: left, Event: e}
	copy(r.InfoHash[:], "\x00 +&%=?#/aaaaaaaaaaa")
	copy(r.PeerID[:], fmt.Sprintf("-QQ0001-%012d", port))
	return r
}

// The client and the server, over both protocols and both families.
func TestAnnounce(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1"} {
		for _, scheme := range []string{"http", "udp"} {
			t.Run(scheme+" "+host, func(t *testing.T) {
				s := serve(t, net.JoinHostPort(host, "0"), trackerd.Options{Interval: 5 * time.Minute})
				c := tracker.NewClient(tracker.ClientConfig{})
				defer c.Close()
				announce := func(port uint16, left int64, e tracker.Event) tracker.Response {
					t.Helper()
					resp, err := c.Announce(t.Context(), fmt.Sprintf("%s://%v/announce", scheme, s.Addr()), request(port, left, e))
					if err != nil {
						t.Fatal(err)
					}
					return resp
				}
				peer := func(port uint16) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr(host), port) }

				if r := announce(1001, 0, tracker.Started); len(r.Peers) != 0 || r.Seeders != 1 || r.Interval != 5*time.Minute {
					t.Errorf("first: %+v", r)
				}
				if r := announce(1002, 50, tracker.Started); !slices.Equal(r.Peers, []netip.AddrPort{peer(1001)}) || r.Seeders != 1 || r.Leechers != 1 {
					t.Errorf("second: %+v", r)
				}
				if r := announce(1001, 0, tracker.None); !slices.Equal(r.Peers, []netip.AddrPort{peer(1002)}) {
					t.Errorf("the seed again: %+v", r)
				}
				if r := announce(1002, 0, tracker.Completed); len(r.Peers) != 0 || r.Seeders != 2 || r.Leechers != 0 {
					t.Errorf("completed: %+v; a seed needs no seed", r)
				}
				announce(1002, 0, tracker.Stopped)
				if r := announce(1003, 1, tracker.Started); !slices.Equal(r.Peers, []netip.AddrPort{peer(1001)}) {
					t.Errorf("after stopped: %+v", r)
				}
			})
		}
	}
}

// One server, one announcer: the whole life of a torrent.
func TestAnnouncer(t *testing.T) {
	s := serve(t, "127.0.0.1:0", trackerd.Options{})
	c := tracker.NewClient(tracker.ClientConfig{})
	defer c.Close()
	if _, err := c.Announce(t.Context(), fmt.Sprintf("http://%v/announce", s.Addr()), request(1001, 0, tracker.Started)); err != nil {
		t.Fatal(err)
	}
	got := make(chan netip.AddrPort, 10)
	a := tracker.NewAnnouncer(tracker.AnnouncerConfig{
		Client:   c,
		Tiers:    [][]string{{fmt.Sprintf("udp://%v", s.Addr())}, {fmt.Sprintf("http://%v/announce", s.Addr())}},
		Snapshot: func() tracker.Request { return request(1002, 9, tracker.None) },
		OnPeers: func(peers []netip.AddrPort, _ string) {
			for _, p := range peers {
				got <- p
			}
		},
	})
	start := time.Now()
	a.Start()
	if d := time.Since(start); d > 100*time.Millisecond {
		t.Errorf("Start took %v", d)
	}
	for range 2 {
		if p := <-got; p.Port() != 1001 {
			t.Errorf("peer %v", p)
		}
	}
	t.Logf("peers of both tiers after %v", time.Since(start))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	a.Stop(ctx)
	r, err := c.Announce(t.Context(), fmt.Sprintf("http://%v/announce", s.Addr()), request(1003, 5, tracker.None))
	if err != nil || r.Leechers != 1 {
		t.Errorf("after Stop: %+v, %v; want the announcer gone", r, err)
	}
}

func get(t *testing.T, s *trackerd.Server, pathAndQuery string) (int, string) {
	t.Helper()
	resp, err := http.Get(fmt.Sprintf("http://%v%s", s.Addr(), pathAndQuery))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	http.DefaultClient.CloseIdleConnections()
	return resp.StatusCode, string(body)
}

func TestBadRequests(t *testing.T) {
	s := serve(t, "127.0.0.1:0", trackerd.Options{})
	hash := "info_hash=" + strings.Repeat("a", 20)
	id := "&peer_id=" + strings.Repeat("b", 20)
	for query, want := range map[string]string{
		"":                                 "info_hash is not 20 bytes",
		"info_hash=short" + id + "&port=1": "info_hash is not 20 bytes",
		hash + "&port=1":                   "peer_id is not 20 bytes",
		hash + id:                          "no usable port",
		hash + id + "&port=0":              "no usable port",
		hash + id + "&port=65536":          "no usable port",
		hash + id + "&port=1&x=%zz":        "malformed query",
		hash + id + "&port=1&left=-5&numwant=-9999999999999999999999": "",
	} {
		_, body := get(t, s, "/announce?"+query)
		if want != "" && body != fmt.Sprintf("d14:failure reason%d:%se", len(want), want) || want == "" && !strings.Contains(body, "8:interval") {
			t.Errorf("%q: %q, want %q", query, body, want)
		}
	}
	if code, _ := get(t, s, "/etc/passwd"); code != 404 {
		t.Errorf("other path: %d", code)
	}
}

// The peer's address is where the packet came from, whatever it says.
func TestNobodyEntersAStranger(t *testing.T) {
	s := serve(t, "127.0.0.1:0", trackerd.Options{})
	q := "/announce?info_hash=" + strings.Repeat("a", 20) + "&peer_id=" + strings.Repeat("b", 20)
	get(t, s, q+"&port=1&ip=9.9.9.9&left=0")
	if _, body := get(t, s, q+"&port=2&left=1"); !strings.Contains(body, "5:peers6:\x7f\x00\x00\x01\x00\x01") {
		t.Errorf("answer %q", body)
	}
}

func TestScrape(t *testing.T) {
	s := serve(t, "127.0.0.1:0", trackerd.Options{})
	hash := strings.Repeat("\x01", 20)
	q := "info_hash=" + url.QueryEscape(hash)
	get(t, s, "/announce?"+q+"&peer_id="+strings.Repeat("b", 20)+"&port=1&left=0&event=completed")
	if _, body := get(t, s, "/scrape?"+q); body != "d5:filesd20:"+hash+"d8:completei1e10:downloadedi1e10:incompletei0eeee" {
		t.Errorf("scrape %q", body)
	}
}

func TestFull(t *testing.T) {
	s := serve(t, "127.0.0.1:0", trackerd.Options{MaxTorrents: 1, MaxPeers: 2})
	c := tracker.NewClient(tracker.ClientConfig{})
	defer c.Close()
	u := fmt.Sprintf("http://%v/announce", s.Addr())
	for port := uint16(1); port <= 5; port++ {
		r, err := c.Announce(t.Context(), u, request(port, 1, tracker.Started))
		if err != nil || r.Leechers > 2 {
			t.Errorf("peer %d: %+v, %v", port, r, err)
		}
	}
	other := request(9, 1, tracker.Started)
	other.InfoHash[0]++
	for _, scheme := range []string{"http", "udp"} {
		_, err := c.Announce(t.Context(), fmt.Sprintf("%s://%v/announce", scheme, s.Addr()), other)
		if err == nil || !strings.Contains(err.Error(), "this tracker is full") {
			t.Errorf("second torrent over %s: %v", scheme, err)
		}
	}
}

func TestUDPWithoutAConnectionIDIsNotAnswered(t *testing.T) {
	s := serve(t, "127.0.0.1:0", trackerd.Options{})
	conn, err := net.Dial("udp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	connect := []byte{0, 0, 4, 0x17, 0x27, 0x10, 0x19, 0x80, 0, 0, 0, 0, 't', 'e', 's', 't'}
	announce := make([]byte, 98)
	announce[11] = 1
	for _, p := range [][]byte{{}, {1}, announce, connect} {
		if _, err := conn.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	buf := make([]byte, 200)
	conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	n, err := conn.Read(buf)
	if err != nil || n != 16 || string(buf[:8]) != "\x00\x00\x00\x00test" {
		t.Errorf("first answer %x, %v; want the connect's", buf[:n], err)
	}
	// An announce with that id, cut short, is answered with an error.
	short := append(append([]byte{}, buf[8:16]...), 0, 0, 0, 1, 'c', 'u', 't', '!')
	if _, err := conn.Write(short); err != nil {
		t.Fatal(err)
	}
	if n, err = conn.Read(buf); err != nil || string(buf[:8]) != "\x00\x00\x00\x03cut!" {
		t.Errorf("short announce: %x, %v", buf[:n], err)
	}
}

func TestListenAndServeEndsWithClose(t *testing.T) {
	s := trackerd.New(trackerd.Options{})
	ended := make(chan error, 1)
	started := make(chan struct{})
	go func() {
		close(started)
		ended <- s.ListenAndServe("127.0.0.1:0")
	}()
	<-started
	for !s.Addr().IsValid() {
		runtime.Gosched()
	}
	// A client that never finishes its request does not hold up Close.
	conn, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /announce HTTP/1.1\r\nHost: x\r\n")
	begin := time.Now()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if d := time.Since(begin); d > 3*time.Second {
		t.Errorf("Close took %v", d)
	}
	if _, err := bufio.NewReader(conn).ReadByte(); err == nil {
		t.Error("connection still open")
	}
	if s.Close() != nil || s.Listen("127.0.0.1:0") == nil {
		t.Error("a closed server can be used again")
	}
}
