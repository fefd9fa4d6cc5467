package portmap

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"
)

const (
	// answering bounds one exchange over HTTP.
	answering = 3 * time.Second
	// maxHeader and maxBody bound the answer in bytes.
	maxHeader, maxBody = 16 << 10, 64 << 10
)

// closeGate puts the gate before the library of UPnP, which asks by http.DefaultClient and
// by nothing else. Nobody else in this program uses that.
var closeGate = sync.OnceFunc(func() { http.DefaultClient = &http.Client{Transport: newGate(admit)} })

// gate lets the library ask only hosts that can be gateways, and lets only answers through
// that are short, come soon, redirect nowhere and have nothing in them at which it panics.
type gate struct {
	admit func(*url.URL) error
	next  http.RoundTripper
}

func newGate(admit func(*url.URL) error) gate {
	return gate{admit, &http.Transport{
		DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: maxHeader,
	}}
}

// RoundTrip implements http.RoundTripper.
func (g gate) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := g.admit(r.URL); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), answering)
	defer cancel()
	answer, err := g.next.RoundTrip(r.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxBody+1))
	switch {
	case err != nil:
		return nil, err
	case len(body) > maxBody:
		return nil, fmt.Errorf("an answer of more than %d bytes", maxBody)
	case answer.StatusCode/100 == 3:
		return nil, fmt.Errorf("an answer of status %d", answer.StatusCode)
	case r.Method == http.MethodGet:
		if err := checkDescription(body); err != nil {
			return nil, err
		}
	}
	answer.Body = io.NopCloser(bytes.NewReader(body))
	return answer, nil
}

// device is what the library reads of a description (UPnP Device Architecture 1.0, 2.1).
type device struct {
	Devices  []device `xml:"deviceList>device"`
	Controls []string `xml:"serviceList>service>controlURL"`
}

// checkDescription refuses what the library panics at: a control URL without a path.
func checkDescription(b []byte) error {
	var root struct {
		Device device `xml:"device"`
	}
	if err := xml.Unmarshal(b, &root); err != nil {
		return err
	}
	return root.Device.check()
}

func (d *device) check() error {
	for _, u := range d.Controls {
		if strings.HasPrefix(u, "?") {
			return errors.New("a control URL without a path")
		}
	}
	for i := range d.Devices {
		if err := d.Devices[i].check(); err != nil {
			return err
		}
	}
	return nil
}

// admit lets through to other hosts of the networks that we are on: a gateway is nowhere
// else, and what else this machine serves is not for those who answer a search to name.
func admit(u *url.URL) error {
	ours, err := net.InterfaceAddrs()
	if err != nil {
		return err
	}
	a, err := netip.ParseAddrPort(u.Host)
	if err != nil || u.Scheme != "http" || !isNeighbour(a.Addr(), ours) {
		return fmt.Errorf("%s is no gateway of ours", u.Redacted())
	}
	return nil
}

func isNeighbour(a netip.Addr, ours []net.Addr) (is bool) {
	for _, our := range ours {
		n, ok := our.(*net.IPNet)
		if !ok || !n.Contains(a.AsSlice()) {
			continue
		}
		if n.IP.IsLoopback() || n.IP.Equal(a.AsSlice()) {
			return false
		}
		is = true
	}
	return is
}
