package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// dialTimeout bounds a connect to a socket whose owner does not answer.
const dialTimeout = 2 * time.Second

// Client is a connection to one mount. It is for one goroutine.
type Client struct {
	conn net.Conn
	in   *bufio.Reader
}

// Dial connects to the mount at the absolute path mountpoint, or fails with
// ErrNone. The socket of a dead one is removed.
func Dial(dirs []string, mountpoint string) (*Client, error) {
	for _, dir := range dirs {
		if checkDir(dir) != nil {
			continue
		}
		c, err := dialOrRemove(filepath.Join(dir, socketName(mountpoint)))
		if err == nil {
			return c, nil
		}
		if !gone(err) {
			return nil, fmt.Errorf("control socket of %s: %w", mountpoint, err)
		}
	}
	return nil, fmt.Errorf("%w at %s", ErrNone, mountpoint)
}

// All connects to every live mount of this user and removes the sockets of dead
// ones. Sockets that can't be reached for another reason are reported in the
// error, beside the clients that can.
func All(dirs []string) ([]*Client, error) {
	var clients []*Client
	var errs []error
	for _, dir := range dirs {
		for _, path := range socketsIn(dir) {
			c, err := dialOrRemove(path)
			switch {
			case err == nil:
				clients = append(clients, c)
			case !gone(err):
				errs = append(errs, fmt.Errorf("control socket %s: %w", path, err))
			}
		}
	}
	return clients, errors.Join(errs...)
}

// dialOrRemove removes the socket at path if nobody listens on it, and on no
// other that took its place meanwhile.
func dialOrRemove(path string) (*Client, error) {
	before, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	c, err := dial(path)
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return c, err
	}
	if now, serr := os.Lstat(path); serr == nil && os.SameFile(before, now) {
		_ = os.Remove(path)
	}
	return nil, err
}

func dial(path string) (*Client, error) {
	conn, err := net.DialTimeout("unix", path, dialTimeout)
	if err != nil {
		return nil, err
	}
	return &Client{conn, bufio.NewReader(conn)}, nil
}

// gone reports whether err says that no process serves the socket.
func gone(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)
}

// Call asks for op and decodes the response's data into out, which may be nil.
// An error that the mount answered comes back as its text.
func (c *Client) Call(ctx context.Context, op string, out any) error {
	defer c.watch(ctx)()
	b, err := json.Marshal(Request{Op: op})
	if err != nil {
		return err
	}
	if _, err := c.conn.Write(append(b, '\n')); err != nil {
		return c.why(ctx, err)
	}
	var resp Response
	line, err := readLine(c.in)
	if err != nil {
		return c.why(ctx, err)
	}
	if err := json.Unmarshal(line, &resp); err != nil {
		return fmt.Errorf("answer of the mount: %w", err)
	}
	if resp.Error != "" {
		return errors.New(resp.Error)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(resp.Data, out)
}

// Wait returns when the mount's process has closed the connection, or with the
// error of ctx.
func (c *Client) Wait(ctx context.Context) error {
	defer c.watch(ctx)()
	_, _ = io.Copy(io.Discard, c.conn)
	return ctx.Err()
}

// watch makes the connection's operations end with ctx.
func (c *Client) watch(ctx context.Context) func() bool {
	return context.AfterFunc(ctx, func() { _ = c.conn.SetDeadline(time.Unix(1, 0)) })
}

func (c *Client) why(ctx context.Context, err error) error {
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return errors.New("the mount does not answer")
	case ctx.Err() != nil:
		return ctx.Err()
	}
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
		return errors.New("the mount ended while it was asked")
	}
	return err
}

// Close ends the connection.
func (c *Client) Close() error { return c.conn.Close() }

// readLine reads up to and with the next newline, at most maxResponse bytes.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		if err == nil {
			return line, nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
		}
		if len(line) > maxResponse {
			return nil, errors.New("the answer is too long")
		}
	}
}
