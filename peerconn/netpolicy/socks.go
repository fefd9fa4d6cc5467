package netpolicy

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"time"
)

// RFC 1928 and 1929.
const (
	socksVersion = 5
	authVersion  = 1

	methodNone     = 0
	methodPassword = 2

	cmdConnect   = 1
	cmdAssociate = 3

	atypIPv4 = 1
	atypName = 3
	atypIPv6 = 4
)

// A proxy is a SOCKS5 server.
type proxy struct {
	addr           string // HOST:PORT
	user, password string
	auth           bool
	names          names
}

func newProxy(s string) (*proxy, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return nil, errors.New("the proxy is not a URL") // the error would repeat its password
	case u.Scheme != "socks5" && u.Scheme != "socks5h":
		return nil, fmt.Errorf("a proxy has to be socks5://[USER:PASSWORD@]HOST:PORT, not %s://", u.Scheme)
	case u.Hostname() == "" || u.Path != "" && u.Path != "/" || u.RawQuery != "":
		return nil, errors.New("a proxy has to be socks5://[USER:PASSWORD@]HOST:PORT")
	}
	port := u.Port()
	if port == "" {
		port = "1080"
	}
	p := &proxy{addr: net.JoinHostPort(u.Hostname(), port), auth: u.User != nil}
	p.user = u.User.Username()
	p.password, _ = u.User.Password()
	if p.auth && (p.user == "" || len(p.user) > 255 || len(p.password) > 255) {
		return nil, errors.New("the proxy's user or password is empty or too long")
	}
	return p, nil
}

// String is the proxy without its password.
func (x *proxy) String() string {
	u := url.URL{Scheme: "socks5", Host: x.addr}
	if x.auth {
		u.User = url.UserPassword(x.user, "xxxxx")
	}
	return u.String()
}

// dialTCP has the proxy connect to addr.
func (x *proxy) dialTCP(ctx context.Context, p *Policy, addr string) (net.Conn, error) {
	conn, _, err := x.request(ctx, p, cmdConnect, addr)
	return conn, err
}

// request connects to the proxy and makes a request there. It returns the address in the
// answer as it is.
func (x *proxy) request(ctx context.Context, p *Policy, cmd byte, addr string) (net.Conn, string, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := p.direct(ctx, "tcp", x.addr, nil)
	if err != nil {
		return nil, "", fmt.Errorf("proxy: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	bound, err := x.negotiate(conn, cmd, addr)
	if !stop() {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		return nil, "", fmt.Errorf("proxy: %w", err)
	}
	return conn, bound, nil
}

func (x *proxy) negotiate(conn io.ReadWriter, cmd byte, addr string) (bound string, err error) {
	if err := x.authenticate(conn); err != nil {
		return "", err
	}
	b, err := appendAddr([]byte{socksVersion, cmd, 0}, addr)
	if err != nil {
		return "", err
	}
	if _, err := conn.Write(b); err != nil {
		return "", err
	}
	var head [3]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return "", err
	}
	if head[0] != socksVersion {
		return "", errNotSocks
	}
	if head[1] != 0 {
		return "", refusal(head[1])
	}
	return readAddr(conn)
}

var errNotSocks = errors.New("does not speak SOCKS5")

func (x *proxy) authenticate(conn io.ReadWriter) error {
	hello := []byte{socksVersion, 1, methodNone}
	if x.auth {
		hello = []byte{socksVersion, 2, methodNone, methodPassword}
	}
	var choice [2]byte
	if err := exchange(conn, hello, choice[:]); err != nil {
		return err
	}
	switch {
	case choice[0] != socksVersion:
		return errNotSocks
	case choice[1] == methodNone:
		return nil
	case choice[1] != methodPassword || !x.auth:
		return errors.New("wants a way to log in that is not known: give USER:PASSWORD")
	}
	b := append([]byte{authVersion, byte(len(x.user))}, x.user...)
	b = append(append(b, byte(len(x.password))), x.password...)
	if err := exchange(conn, b, choice[:]); err != nil {
		return err
	}
	if choice[1] != 0 {
		return errors.New("refuses the user or password")
	}
	return nil
}

func exchange(conn io.ReadWriter, b, answer []byte) error {
	if _, err := conn.Write(b); err != nil {
		return err
	}
	_, err := io.ReadFull(conn, answer)
	return err
}

// refusal is the meaning of a reply (RFC 1928, section 6).
func refusal(code byte) error {
	words := [...]string{1: "general failure", "not allowed", "network unreachable", "host unreachable",
		"connection refused", "time to live expired", "command not supported", "address type not supported"}
	if int(code) < len(words) {
		return errors.New(words[code])
	}
	return fmt.Errorf("refused with code %d", code)
}

// appendAddr appends HOST:PORT as address type, address and port.
func appendAddr(b []byte, addr string) ([]byte, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, err
	}
	switch a, err := netip.ParseAddr(host); {
	case err == nil && a.Unmap().Is4():
		b = append(append(b, atypIPv4), a.Unmap().AsSlice()...)
	case err == nil:
		b = append(append(b, atypIPv6), a.AsSlice()...)
	case host == "" || len(host) > 255:
		return nil, fmt.Errorf("%q is no name of a host", host)
	default:
		b = append(append(b, atypName, byte(len(host))), host...)
	}
	return binary.BigEndian.AppendUint16(b, uint16(n)), nil
}

// readAddr reads what appendAddr appends.
func readAddr(r io.Reader) (string, error) {
	var b [255 + 2]byte
	if _, err := io.ReadFull(r, b[:1]); err != nil {
		return "", err
	}
	n, named := 0, false
	switch b[0] {
	case atypIPv4:
		n = 4
	case atypIPv6:
		n = 16
	case atypName:
		if _, err := io.ReadFull(r, b[:1]); err != nil {
			return "", err
		}
		n, named = int(b[0]), true
	default:
		return "", errNotSocks
	}
	if _, err := io.ReadFull(r, b[:n+2]); err != nil {
		return "", err
	}
	host := string(b[:n])
	if !named {
		a, _ := netip.AddrFromSlice(b[:n])
		host = a.Unmap().String()
	}
	return net.JoinHostPort(host, strconv.Itoa(int(binary.BigEndian.Uint16(b[n:])))), nil
}
