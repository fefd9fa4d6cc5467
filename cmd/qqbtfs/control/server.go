package control

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Handler answers one operation. Its result becomes the response's data. It may
// be called from several goroutines at once.
type Handler func(op string) (any, error)

// Server serves one mount's socket.
type Server struct {
	path    string
	ln      *net.UnixListener
	handler Handler
	slots   chan struct{} // one token for each connection served
	closing chan struct{} // closed by Close
	wg      sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	closed bool // with closing
}

// Listen opens the socket for mountpoint in the first of dirs that works and
// answers requests with h until Close. A socket that a dead process left there is
// replaced; a live one is an error.
func Listen(dirs []string, mountpoint string, h Handler) (*Server, error) {
	var errs []error
	for _, dir := range dirs {
		s, err := listen(dir, mountpoint, h)
		if err == nil || errors.Is(err, errLive) {
			return s, err
		}
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("control socket: %w", errors.Join(errs...))
}

var errLive = errors.New("another qqbtfs serves this mount point")

func listen(dir, mountpoint string, h Handler) (*Server, error) {
	if err := MakeDir(dir); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, socketName(mountpoint))
	if len(path) > maxSocketName {
		return nil, fmt.Errorf("%s is too long a name for a socket", path)
	}
	if c, err := dial(path); err == nil {
		c.Close()
		return nil, fmt.Errorf("%s: %w", mountpoint, errLive)
	}
	ln, err := bind(path)
	if err != nil {
		return nil, err
	}
	s := &Server{
		path: path, ln: ln, handler: h,
		slots: make(chan struct{}, maxConns), closing: make(chan struct{}), conns: map[net.Conn]struct{}{},
	}
	s.wg.Go(s.accept)
	return s, nil
}

// bind listens under a temporary name first: a socket under the final name
// always answers, so a client that finds it silent may remove it.
func bind(path string) (*net.UnixListener, error) {
	tmp := fmt.Sprintf("%s.%d", path[:len(path)-len(suffix)], os.Getpid()%1000)
	_ = os.Remove(tmp)
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: tmp, Net: "unix"})
	if err != nil {
		return nil, err
	}
	ln.SetUnlinkOnClose(false)
	if err = os.Chmod(tmp, 0o600); err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		ln.Close()
		_ = os.Remove(tmp)
		return nil, err
	}
	return ln, nil
}

// Path returns the socket's file name.
func (s *Server) Path() string { return s.path }

func (s *Server) accept() {
	for {
		select {
		case s.slots <- struct{}{}:
		case <-s.closing:
			return
		}
		c, err := s.ln.Accept()
		if err != nil {
			<-s.slots
			if errors.Is(err, net.ErrClosed) || !s.pause() {
				return
			}
			continue
		}
		if !s.add(c) {
			c.Close()
			return
		}
		s.wg.Go(func() {
			defer func() { s.remove(c); <-s.slots }()
			s.serve(c)
		})
	}
}

// pause waits a moment after a failed accept, most likely for want of file
// descriptors. It reports whether the server still runs.
func (s *Server) pause() bool {
	select {
	case <-time.After(100 * time.Millisecond):
		return true
	case <-s.closing:
		return false
	}
}

func (s *Server) add(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.conns[c] = struct{}{}
	return true
}

// remove drops a connection, which stays open while the server is closing: its
// end tells the client that the process is done.
func (s *Server) remove(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		delete(s.conns, c)
		c.Close()
	}
}

// serve answers requests on c until the client leaves or says nonsense. One that has
// asked may stay as long as it likes: it waits for the end.
func (s *Server) serve(c net.Conn) {
	in := bufio.NewReaderSize(c, maxRequest)
	_ = c.SetReadDeadline(time.Now().Add(idle))
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			if errors.Is(err, bufio.ErrBufferFull) {
				_ = s.respond(c, Response{Error: "request too long"})
			}
			return
		}
		var req Request
		if err := json.Unmarshal(line, &req); err != nil {
			_ = s.respond(c, Response{Error: "request is not a line of JSON"})
			return
		}
		if s.respond(c, s.answer(req)) != nil {
			return
		}
		_ = c.SetReadDeadline(time.Time{})
	}
}

func (s *Server) answer(req Request) Response {
	v, err := s.handler(req.Op)
	if err != nil {
		return Response{Error: err.Error()}
	}
	data, err := json.Marshal(v)
	if err != nil {
		return Response{Error: err.Error()}
	}
	return Response{Data: data}
}

func (s *Server) respond(w net.Conn, r Response) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_ = w.SetWriteDeadline(time.Now().Add(idle))
	_, err = io.WriteString(w, string(b)+"\n")
	return err
}

// Close removes the socket, ends every connection and waits for the goroutines.
// It must come last in a shutdown: clients take the end of their connection for
// the end of the mount. It is idempotent.
func (s *Server) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	close(s.closing)
	conns := s.conns
	s.mu.Unlock()
	_ = os.Remove(s.path)
	err := s.ln.Close()
	for c := range conns {
		c.Close()
	}
	s.wg.Wait()
	return err
}
