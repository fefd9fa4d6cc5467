package portmap

import (
	"context"
	"encoding/xml"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	lib "github.com/anacrolix/upnp"

	"github.com/qqbtfs/qqbtfs/peerconn/netpolicy"
)

// describe is a description of a gateway, with a control URL.
func describe(control string) string {
	return `<root><device><deviceList><device><serviceList><service><controlURL>` + control +
		`</controlURL></service></serviceList></device></deviceList></device></root>`
}

func TestGate(t *testing.T) {
	hung := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/good":
			io.WriteString(w, describe("/control"))
		case "/fault":
			w.WriteHeader(http.StatusInternalServerError)
			io.WriteString(w, "<fault/>")
		case "/panic":
			io.WriteString(w, describe("<!-- -->?x"))
		case "/nothing":
			io.WriteString(w, "no description")
		case "/long":
			io.WriteString(w, describe("/"+strings.Repeat("x", maxBody)))
		case "/header":
			w.Header().Set("X", strings.Repeat("x", 2*maxHeader))
		case "/redirect":
			http.Redirect(w, r, "/good", http.StatusFound)
		case "/hangs":
			w.(http.Flusher).Flush()
			<-hung
		}
	}))
	defer server.Close()
	defer close(hung)
	client := http.Client{Transport: newGate(func(*url.URL) error { return nil })}
	for path, through := range map[string]bool{
		"/good": true, "/panic": false, "/nothing": false, "/long": false,
		"/header": false, "/redirect": false, "/hangs": false,
	} {
		answer, err := client.Get(server.URL + path)
		if err == nil {
			answer.Body.Close()
		}
		if (err == nil) != through {
			t.Errorf("%s: %v", path, err)
		}
	}
	answer, err := client.Post(server.URL+"/fault", "text/xml", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if b, _ := io.ReadAll(answer.Body); answer.StatusCode != 500 || string(b) != "<fault/>" {
		t.Errorf("a fault comes as %d, %q", answer.StatusCode, b)
	}
}

// Whoever answers a search may name any address: only that of a neighbour is asked.
func TestIsNeighbour(t *testing.T) {
	var ours []net.Addr
	for _, s := range []string{"127.0.0.1/8", "192.168.1.7/24", "10.0.0.1/32"} {
		ip, n, err := net.ParseCIDR(s)
		if err != nil {
			t.Fatal(err)
		}
		ours = append(ours, &net.IPNet{IP: ip, Mask: n.Mask})
	}
	for s, want := range map[string]bool{
		"192.168.1.1": true, "::ffff:192.168.1.1": true, "192.168.1.7": false, "192.168.2.1": false,
		"127.0.0.1": false, "127.0.0.2": false, "::ffff:127.0.0.1": false, "0.0.0.0": false, "10.0.0.1": false,
		"8.8.8.8": false,
	} {
		if isNeighbour(netip.MustParseAddr(s), ours) != want {
			t.Errorf("%s: %v", s, !want)
		}
	}
	for _, s := range []string{"http://localhost:80/", "http://127.0.0.1:80/", "https://192.168.1.1:80/", "http:///x"} {
		if u, err := url.Parse(s); err != nil || admit(u) == nil {
			t.Errorf("%s is let through (%v)", s, err)
		}
	}
}

// service is one of a gateway that never answers.
type service struct {
	lib.Device
	asked, end chan struct{}
}

func (s service) DeletePortMapping(lib.Protocol, int) error {
	close(s.asked)
	<-s.end
	return errors.New("at last")
}

// The end does not wait for a gateway for longer than it says.
func TestReleaseIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := service{asked: make(chan struct{}), end: make(chan struct{})}
		m := &Mapping{cfg: Config{Logger: slog.New(slog.DiscardHandler)}, protocols: []protocol{&upnp{service: s}}}
		m.external.Store(6881)
		began := time.Now()
		m.release()
		<-s.asked
		if took := time.Since(began); took > releasing {
			t.Errorf("it takes %v", took)
		}
		close(s.end)
	})
}

// What has to leave by one way alone does not leave by the library's.
func TestUPnPKeepsToThePolicy(t *testing.T) {
	for _, cfg := range []netpolicy.Config{{Bind: "127.0.0.1"}, {Proxy: "socks5://127.0.0.1:1"}} {
		policy, err := netpolicy.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // with it a search would end in another error
		u := upnp{policy: policy}
		if _, _, err := u.ask(ctx, 6881, 6881, time.Hour); err == nil || errors.Is(err, context.Canceled) {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
}

// What passes has no control URL that the library, which reads a description like this,
// panics at.
func FuzzCheckDescription(f *testing.F) {
	f.Add([]byte(describe("/control")))
	f.Add([]byte(describe("<!-- -->?x")))
	f.Fuzz(func(t *testing.T, b []byte) {
		type device struct {
			Devices  []device `xml:"deviceList>device"`
			Services []struct {
				ControlURL string `xml:"controlURL"`
			} `xml:"serviceList>service"`
		}
		var root struct {
			Device device `xml:"device"`
		}
		if checkDescription(b) != nil || xml.Unmarshal(b, &root) != nil {
			return
		}
		for todo := []device{root.Device}; len(todo) > 0; todo = append(todo[1:], todo[0].Devices...) {
			for _, s := range todo[0].Services {
				if strings.HasPrefix(s.ControlURL, "?") {
					t.Errorf("passes: %q", b)
				}
			}
		}
	})
}
