package webseed

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/qqbtfs/qqbtfs/peerconn/netpolicy"
	"github.com/qqbtfs/qqbtfs/peerconn/peertest"
)

const size = 100_000

// content is what the file of these tests has.
func content() []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(i * i >> 8)
	}
	return b
}

// server answers with h until the end of the test.
func server(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

// honest has the file under every path.
func honest(w http.ResponseWriter, r *http.Request) {
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content()))
}

// open makes a Seed of one file until the end of the test.
func open(t *testing.T, cfg Config) *Seed {
	t.Helper()
	if cfg.Files == nil {
		cfg.Files = []File{{Length: size}}
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// fetch reads a range, which the end of the test bounds.
func fetch(t *testing.T, s *Seed, i int, off, n int64) ([]byte, error) {
	t.Helper()
	b, err := s.Open(t.Context(), i, off, n)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	return io.ReadAll(b)
}

// good fails the test unless ranges of the file come.
func good(t *testing.T, s *Seed) {
	t.Helper()
	for _, r := range [][2]int64{{0, size}, {1, 10}, {size - 1, 1}, {5000, 70_000}} {
		got, err := fetch(t, s, 0, r[0], r[1])
		if err != nil || !bytes.Equal(got, content()[r[0]:r[0]+r[1]]) {
			t.Errorf("bytes %d+%d: %d came, %v", r[0], r[1], len(got), err)
		}
	}
}

// isUseless, isMissing and isBusy tell the kinds of errors apart.
func isUseless(err error) bool { return errors.As(err, new(*UselessError)) }
func isMissing(err error) bool { return errors.As(err, new(*MissingError)) }
func isBusy(err error) bool    { return errors.As(err, new(*BusyError)) }

// isPlain is for errors that may be over soon.
func isPlain(err error) bool { return err != nil && !isUseless(err) && !isMissing(err) && !isBusy(err) }

func TestRanges(t *testing.T) {
	var asked []string
	srv := server(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Header.Get("Range")+" "+r.Header.Get("Accept-Encoding")+r.UserAgent())
		honest(w, r)
	})
	good(t, open(t, Config{URL: srv.URL, UserAgent: "test/1"}))
	if want := []string{"bytes=0-99999 test/1", "bytes=1-10 test/1", "bytes=99999-99999 test/1", "bytes=5000-74999 test/1"}; !slices.Equal(asked, want) {
		t.Errorf("asked for %q", asked)
	}
}

func TestConnectionIsUsedAgain(t *testing.T) {
	conns := map[string]bool{}
	srv := server(t, func(w http.ResponseWriter, r *http.Request) {
		conns[r.RemoteAddr] = true
		honest(w, r)
	})
	good(t, open(t, Config{URL: srv.URL}))
	if len(conns) != 1 {
		t.Errorf("%d connections for requests one behind the other", len(conns))
	}
}

func TestTarget(t *testing.T) {
	album := Config{Name: "a n", Dir: true, Files: []File{{Path: []string{"d/é", "1 #?%.x"}}}}
	film := Config{Name: "f ü.mkv", Files: []File{{}}}
	script := Config{Pieces: true, InfoHash: [20]byte([]byte("\x00 aZ-._~%&2345678901")), Files: []File{{}, {}, {}}}
	for _, test := range []struct {
		cfg  Config
		i    int
		url  string
		want string
	}{
		{album, 0, "http://h/pub", "http://h/pub/a%20n/d%2F%C3%A9/1%20%23%3F%25.x"},
		{album, 0, "http://h/pub%2Fx/", "http://h/pub%2Fx/a%20n/d%2F%C3%A9/1%20%23%3F%25.x"},
		{album, 0, "http://h?k=1", "http://h/a%20n/d%2F%C3%A9/1%20%23%3F%25.x?k=1"},
		{film, 0, "http://h", "http://h/f%20%C3%BC.mkv"},
		{film, 0, "https://u:p@h:1/pub/#x", "https://u:p@h:1/pub/f%20%C3%BC.mkv"},
		{film, 0, "http://h/other name.mkv", "http://h/other%20name.mkv"},
		{script, 2, "http://h/seed?a=b", "http://h/seed?a=b&info_hash=%00%20aZ-._~%25%262345678901&piece=2&ranges=10-14"},
	} {
		test.cfg.URL = test.url
		s := open(t, test.cfg)
		if got := s.target(test.i, 10, 5).String(); got != test.want {
			t.Errorf("%s: %s, want %s", test.url, got, test.want)
		}
	}
}

func TestUnusableURLs(t *testing.T) {
	for _, u := range []string{"", "ftp://h/", "http:///x", "http://", "/etc/passwd", "file:///etc/passwd", "http://h:x/"} {
		if _, err := New(Config{URL: u}); !isUseless(err) {
			t.Errorf("%q: %v", u, err)
		}
	}
}

// answer writes a raw answer and ends the connection.
func answer(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			io.WriteString(conn, text)
			conn.Close()
		}
	}
}

// What a server may answer to a request for 100 bytes from 1000 on, and what is made of it.
func TestAnswers(t *testing.T) {
	part := string(content()[1000:1100])
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		is     func(error) bool
	}{
		"no ranges":           {answer("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"), isUseless},
		"no ranges, chunks":   {answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n" + part + "\r\n0\r\n\r\n"), isUseless},
		"no ranges, HTTP/1.0": {answer("HTTP/1.0 200 OK\r\n\r\n" + part), isUseless},
		"other range":         {answer("HTTP/1.1 206 X\r\nContent-Range: bytes 0-99/100000\r\nContent-Length: 100\r\n\r\n" + part), isUseless},
		"range too long":      {answer("HTTP/1.1 206 X\r\nContent-Range: bytes 1000-1100/100000\r\nContent-Length: 101\r\n\r\n" + part), isUseless},
		"several ranges":      {answer("HTTP/1.1 206 X\r\nContent-Type: multipart/byteranges; boundary=x\r\n\r\n--x"), isUseless},
		"length of others":    {answer("HTTP/1.1 206 X\r\nContent-Range: bytes 1000-1099/100000\r\nContent-Length: 99\r\n\r\n" + part), isUseless},
		"gzip":                {answer("HTTP/1.1 206 X\r\nContent-Encoding: gzip\r\nContent-Range: bytes 1000-1099/100000\r\n\r\n"), isUseless},
		"gzip of all":         {answer("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n"), isUseless},
		"chunks end early":    {answer("HTTP/1.1 206 X\r\nContent-Range: bytes 1000-1099/100000\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"), isUseless},
		"redirect to nowhere": {answer("HTTP/1.1 302 X\r\nContent-Length: 0\r\n\r\n"), isUseless},
		"redirect to a file":  {answer("HTTP/1.1 302 X\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n"), isUseless},
		"other file":          {answer("HTTP/1.1 206 X\r\nContent-Range: bytes 1000-1099/99999\r\nContent-Length: 100\r\n\r\n" + part), isMissing},
		"other file, all":     {answer("HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n"), isMissing},
		"400":                 {answer("HTTP/1.1 400 X\r\n\r\n"), isMissing},
		"401":                 {answer("HTTP/1.1 401 X\r\n\r\n"), isMissing},
		"404":                 {answer("HTTP/1.1 404 X\r\nContent-Length: 1000000000\r\n\r\nno"), isMissing},
		"416":                 {answer("HTTP/1.1 416 X\r\nContent-Range: bytes */5\r\n\r\n"), isMissing},
		"429":                 {answer("HTTP/1.1 429 X\r\n\r\n"), isBusy},
		"503":                 {answer("HTTP/1.1 503 X\r\nRetry-After: 7\r\n\r\n"), isBusy},
		"500":                 {answer("HTTP/1.1 500 X\r\n\r\n"), isPlain},
		"408":                 {answer("HTTP/1.1 408 X\r\n\r\n"), isPlain},
		"no content":          {answer("HTTP/1.1 204 X\r\n\r\n"), isPlain},
		"short":               {answer("HTTP/1.1 206 X\r\nContent-Range: bytes 1000-1099/100000\r\nContent-Length: 100\r\n\r\n" + part[:99]), isPlain},
		"short, HTTP/1.0":     {answer("HTTP/1.0 206 X\r\nContent-Range: bytes 1000-1099/100000\r\n\r\n" + part[:99]), isPlain},
		"not HTTP":            {answer("220 ftp.example\r\n"), isPlain},
		"endless header":      {endlessHeader, isPlain},
		"reset":               {reset, isPlain},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, Config{URL: server(t, test.answer).URL})
			if b, err := fetch(t, s, 0, 1000, 100); !test.is(err) {
				t.Errorf("%d bytes, %v (%T)", len(b), err, err)
			}
		})
	}
}

func endlessHeader(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	_, err = io.WriteString(conn, "HTTP/1.1 206 X\r\n")
	for i := 0; err == nil; i++ { // until nobody reads it
		_, err = fmt.Fprintf(conn, "X-%d: %s\r\n", i, strings.Repeat("x", 1000))
	}
}

// reset ends the connection in the midst of the body.
func reset(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	io.WriteString(conn, "HTTP/1.1 206 X\r\nContent-Range: bytes 1000-1099/100000\r\nContent-Length: 100\r\n\r\nabc")
	conn.(*net.TCPConn).SetLinger(0)
	conn.Close()
}

// Of a body that is longer than it may be nothing more than what was asked for is read.
func TestLongBody(t *testing.T) {
	ended := make(chan struct{})
	srv := server(t, func(w http.ResponseWriter, _ *http.Request) {
		defer close(ended)
		w.Header().Set("Content-Range", "bytes 1000-1099/100000")
		w.WriteHeader(http.StatusPartialContent)
		for _, err := w.Write(content()[1000:1100]); err == nil; { // until nobody reads it
			_, err = w.Write(make([]byte, 1<<20))
		}
	})
	got, err := fetch(t, open(t, Config{URL: srv.URL}), 0, 1000, 100)
	if err != nil || !bytes.Equal(got, content()[1000:1100]) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	<-ended
}

// A server without ranges is of use for what is asked for as a whole.
func TestWholeFileWithoutRanges(t *testing.T) {
	srv := server(t, func(w http.ResponseWriter, _ *http.Request) { w.Write(content()) })
	if got, err := fetch(t, open(t, Config{URL: srv.URL}), 0, 0, size); err != nil || !bytes.Equal(got, content()) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestBusy(t *testing.T) {
	for _, test := range []struct {
		after, body string
		pieces      bool
		want        time.Duration
	}{
		{"7", "", false, 7 * time.Second},
		{"", "9", false, time.Minute}, // BEP 17 only
		{"", "9\n", true, 9 * time.Second},
		{"", "soon", true, time.Minute},
		{"0", "", false, time.Second},
		{"-5", "", false, time.Second},
		{"99999999", "", false, time.Hour},
		{"99999999999999999999", "", false, time.Minute},
		{"Mon, 02 Jan 2006 15:04:05 GMT", "", false, time.Second},
		{"Fri, 02 Jan 2099 15:04:05 GMT", "", false, time.Hour},
	} {
		srv := server(t, func(w http.ResponseWriter, _ *http.Request) {
			if test.after != "" {
				w.Header().Set("Retry-After", test.after)
			}
			w.WriteHeader(http.StatusServiceUnavailable)
			io.WriteString(w, test.body)
		})
		_, err := fetch(t, open(t, Config{URL: srv.URL, Pieces: test.pieces}), 0, 0, 10)
		var busy *BusyError
		if !errors.As(err, &busy) || busy.After != test.want {
			t.Errorf("%+v: %v", test, err)
		}
	}
}

// BEP 17: the answer is the range, and a server says so by 200 as by 206.
func TestPieces(t *testing.T) {
	for _, status := range []int{http.StatusOK, http.StatusPartialContent} {
		srv := server(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("ranges") != "10-19" || r.URL.Query().Get("piece") != "1" || r.Header.Get("Range") != "" {
				t.Errorf("asked for %v, %v", r.URL, r.Header)
			}
			w.WriteHeader(status)
			w.Write(content()[10:20])
		})
		s := open(t, Config{URL: srv.URL, Pieces: true, Files: []File{{Length: 50}, {Length: 50}}})
		if got, err := fetch(t, s, 1, 10, 10); err != nil || !bytes.Equal(got, content()[10:20]) {
			t.Errorf("%d: %d bytes, %v", status, len(got), err)
		}
		if _, err := fetch(t, s, 1, 10, 10); err != nil {
			t.Error(err)
		}
	}
	srv := server(t, honest)
	if _, err := fetch(t, open(t, Config{URL: srv.URL, Pieces: true}), 0, 10, 10); !isUseless(err) {
		t.Errorf("too much: %v", err)
	}
}

// pretend has 127.0.0.2 taken for a public address.
func (s *Seed) pretend() *Seed {
	s.isLocal = func(a netip.Addr) bool { return a != netip.MustParseAddr("127.0.0.2") }
	return s
}

// at starts a server at an address.
func at(t *testing.T, host string, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	l, err := net.Listen("tcp", host+":0")
	if err != nil {
		t.Skip(err)
	}
	srv := httptest.NewUnstartedServer(h)
	srv.Listener.Close()
	srv.Listener = l
	srv.Start()
	t.Cleanup(srv.Close)
	return srv
}

// The stranger who made the torrent must not have us ask what only we can reach.
func TestLocalAddresses(t *testing.T) {
	to := ""
	public := at(t, "127.0.0.2", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusFound) })
	asked := 0
	local := at(t, "127.0.0.1", func(w http.ResponseWriter, r *http.Request) {
		asked++
		if r.URL.Path == "/on" {
			http.Redirect(w, r, to, http.StatusFound)
			return
		}
		honest(w, r)
	})
	name := strings.Replace(local.URL, "127.0.0.1", "localhost", 1)
	for _, test := range []struct {
		what, url, to string
		asked         int
		ok            bool
	}{
		{"a file of the local network", local.URL + "/f", "", 1, true},
		{"something with a query", local.URL + "/f?do=it", "", 0, false},
		{"a redirect from public to local", public.URL + "/f", local.URL + "/f", 0, false},
		{"a redirect from public to a name that is local", public.URL + "/f", name, 0, false},
		{"a redirect from local to local", local.URL + "/on", local.URL + "/f", 2, true},
		{"a redirect from local to a query", local.URL + "/on", local.URL + "/f?do=it", 1, false},
		{"from public to local and back", public.URL + "/f", local.URL + "/on", 0, false},
	} {
		asked, to = 0, test.to
		_, err := fetch(t, open(t, Config{URL: test.url}).pretend(), 0, 0, 10)
		if (err == nil) != test.ok || asked != test.asked {
			t.Errorf("%s: asked %d times, %v", test.what, asked, err)
		}
	}
}

func TestAddressesThatAreNoServers(t *testing.T) {
	blocked := func(a netip.Addr) bool { return a == netip.MustParseAddr("127.0.0.1") }
	srv := server(t, honest)
	if _, err := fetch(t, open(t, Config{URL: srv.URL, Blocked: blocked}), 0, 0, 10); !isUseless(err) {
		t.Errorf("blocked: %v", err)
	}
	if _, err := fetch(t, open(t, Config{URL: "http://224.0.0.1/"}), 0, 0, 10); !isUseless(err) {
		t.Errorf("multicast: %v", err)
	}
}

func TestRedirects(t *testing.T) {
	hops := 0
	srv := server(t, func(w http.ResponseWriter, r *http.Request) {
		var n int
		if fmt.Sscanf(r.URL.Path, "/%d", &n); n > 0 {
			hops++
			http.Redirect(w, r, fmt.Sprintf("/%d", n-1), http.StatusTemporaryRedirect)
			return
		}
		honest(w, r)
	})
	if _, err := fetch(t, open(t, Config{URL: srv.URL + "/5"}), 0, 0, 10); err != nil {
		t.Errorf("five redirects: %v", err)
	}
	if _, err := fetch(t, open(t, Config{URL: srv.URL + "/6"}), 0, 0, 10); !isUseless(err) {
		t.Errorf("six redirects: %v", err)
	}
	loop := server(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) })
	if _, err := fetch(t, open(t, Config{URL: loop.URL + "/x"}), 0, 0, 10); !isUseless(err) {
		t.Errorf("a loop: %v", err)
	}
	hops = 0
	good(t, open(t, Config{URL: srv.URL + "/3"}))
	if hops != 3 {
		t.Errorf("%d redirects followed for four ranges of a file", hops)
	}
}

// A place that a redirect has led to is often good for a while only.
func TestRedirectThatHasExpired(t *testing.T) {
	generation, asked := 0, 0
	srv := server(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/f":
			http.Redirect(w, r, fmt.Sprintf("/signed/%d", generation), http.StatusFound)
		case fmt.Sprintf("/signed/%d", generation):
			asked++
			honest(w, r)
		default:
			http.Error(w, "expired", http.StatusForbidden)
		}
	})
	s := open(t, Config{URL: srv.URL + "/f"})
	for generation = range 3 {
		good(t, s)
	}
	if asked != 12 {
		t.Errorf("%d answers, want 12", asked)
	}
}

// Credentials of a URL go to its server and to no other.
func TestCredentials(t *testing.T) {
	var other string
	foreign := server(t, func(w http.ResponseWriter, r *http.Request) {
		other = r.Header.Get("Authorization") + r.Referer()
		honest(w, r)
	})
	var own []string
	srv := server(t, func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		own = append(own, user+":"+password)
		switch r.URL.Path {
		case "/a":
			http.Redirect(w, r, "/b", http.StatusFound)
		default:
			http.Redirect(w, r, foreign.URL, http.StatusFound)
		}
	})
	u, _ := url.Parse(srv.URL + "/a")
	u.User = url.UserPassword("me", "secret")
	if _, err := fetch(t, open(t, Config{URL: u.String()}), 0, 0, 10); err != nil {
		t.Error(err)
	}
	if !slices.Equal(own, []string{"me:secret", "me:secret"}) || other != "" {
		t.Errorf("told its own server %q, another one %q", own, other)
	}
}

func TestHTTPSIsValidated(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(honest))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	if _, err := fetch(t, open(t, Config{URL: srv.URL}), 0, 0, 10); err == nil {
		t.Error("a certificate of nobody was taken")
	}
	good(t, open(t, Config{URL: srv.URL, TLS: &tls.Config{RootCAs: srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}}))
}

// Connections leave by the policy's way: from its address, or through its proxy.
func TestPolicy(t *testing.T) {
	var from string
	srv := server(t, func(w http.ResponseWriter, r *http.Request) {
		from = r.RemoteAddr
		honest(w, r)
	})
	bound, err := netpolicy.New(netpolicy.Config{Bind: "127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	good(t, open(t, Config{URL: srv.URL, Policy: bound}))
	if !strings.HasPrefix(from, "127.0.0.1:") {
		t.Errorf("came from %s", from)
	}
	var proxy peertest.Proxy
	peertest.StartProxy(t, &proxy)
	proxied, err := netpolicy.New(netpolicy.Config{Proxy: "socks5://" + proxy.Addr()})
	if err != nil {
		t.Fatal(err)
	}
	good(t, open(t, Config{URL: srv.URL, Policy: proxied}))
	if proxy.Conns() == 0 {
		t.Error("the proxy was not used")
	}
}

// A body of which nothing comes ends by itself; one whose reader takes its time does not.
func TestStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		b := newBody(&http.Response{Body: r, ContentLength: 3}, 3, func() { r.CloseWithError(context.Canceled) })
		defer b.Close()
		p := make([]byte, 1)
		for range 2 {
			go w.Write([]byte("x"))
			if _, err := b.Read(p); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * stallTimeout)
		}
		begun := time.Now()
		if _, err := b.Read(p); !errors.Is(err, errStalled) || time.Since(begun) != stallTimeout {
			t.Errorf("after %v: %v", time.Since(begun), err)
		}
	})
}

// Nor is a server waited for that accepts and then says nothing, in the clear or before
// there is TLS. It is told from others by its timeout.
func TestSilentServer(t *testing.T) {
	for _, scheme := range []string{"http", "https"} {
		synctest.Test(t, func(t *testing.T) {
			s := open(t, Config{URL: scheme + "://127.0.0.1/"})
			s.any.DialContext = func(context.Context, string, string) (net.Conn, error) {
				ours, theirs := net.Pipe()
				go io.Copy(io.Discard, theirs)
				return ours, nil
			}
			begun := time.Now()
			_, err := s.Open(t.Context(), 0, 0, 10)
			var wait net.Error
			if !errors.As(err, &wait) || !wait.Timeout() || time.Since(begun) != headerTimeout {
				t.Errorf("%s: after %v: %v", scheme, time.Since(begun), err)
			}
		})
	}
}

func TestContextEndsRequests(t *testing.T) {
	for name, begin := range map[string]func(http.ResponseWriter){
		"header": func(http.ResponseWriter) {},
		"body": func(w http.ResponseWriter) {
			w.Header().Set("Content-Range", "bytes 0-9/100000")
			w.WriteHeader(http.StatusPartialContent)
			http.NewResponseController(w).Flush()
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			var left sync.WaitGroup
			left.Add(1)
			srv := server(t, func(w http.ResponseWriter, r *http.Request) {
				defer left.Done()
				begin(w)
				if name == "header" {
					cancel()
				}
				<-r.Context().Done()
			})
			b, err := open(t, Config{URL: srv.URL}).Open(ctx, 0, 0, 10)
			if name == "body" && err == nil {
				cancel()
				_, err = io.ReadAll(b)
				b.Close()
			}
			if !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
			left.Wait()
		})
	}
}

// What a transport does beyond the end of a request ends with the Seed.
func TestCloseEndsHandshakes(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := open(t, Config{URL: "https://" + l.Addr().String()})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, err := s.Open(ctx, 0, 0, 10)
		ended <- err
	}()
	c, err := l.Accept() // and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	s.Close()
	c.SetReadDeadline(time.Now().Add(headerTimeout / 2))
	if _, err := io.Copy(io.Discard, c); err != nil {
		t.Errorf("the connection did not end: %v", err)
	}
}

// hung is a body that never comes.
type hung struct{ closed chan struct{} }

func (h hung) Read([]byte) (int, error) { <-h.closed; return 0, io.ErrClosedPipe }
func (h hung) Close() error             { close(h.closed); return nil }

// A script that says that it is busy and not for how long is not waited for.
func TestBusyThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, Config{URL: "http://127.0.0.1/", Pieces: true})
		begun := time.Now()
		err := s.check(&http.Response{StatusCode: http.StatusServiceUnavailable, Body: hung{make(chan struct{})}}, 0, 0, 10)
		if !isBusy(err) || time.Since(begun) != stallTimeout {
			t.Errorf("after %v: %v", time.Since(begun), err)
		}
	})
}

// A server cannot fill memory by a redirect to a long URL for each of many files.
func TestRedirectsAreForgotten(t *testing.T) {
	s := open(t, Config{URL: "http://127.0.0.1/"})
	long := &url.URL{Scheme: "http", Host: "127.0.0.1", Path: strings.Repeat("x", maxHeader)}
	s.remember(0, place{url: long})
	if _, ok := s.movedTo(0); ok {
		t.Error("a URL as long as a header is kept")
	}
	last := 3 * maxMoved
	for i := range last + 1 {
		s.remember(i, place{url: s.base})
	}
	if _, ok := s.movedTo(last); !ok || len(s.moved) > maxMoved {
		t.Errorf("%d are kept, the last one is: %t", len(s.moved), ok)
	}
}
