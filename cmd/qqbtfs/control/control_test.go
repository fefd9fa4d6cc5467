package control

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// echo answers every operation with its name, except two.
func echo(op string) (any, error) {
	switch op {
	case "fail":
		return nil, errors.New("not today")
	case "big":
		return strings.Repeat("x", 1<<20), nil
	}
	return op, nil
}

func serve(t *testing.T, dir, mountpoint string, h Handler) *Server {
	t.Helper()
	s, err := Listen([]string{dir}, mountpoint, h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// runDir returns a directory with a short name, which a socket needs.
func runDir(t *testing.T) string {
	dir, err := os.MkdirTemp("", "qq")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "run")
}

func TestCall(t *testing.T) {
	dir := runDir(t)
	serve(t, dir, "/mnt/t", echo)
	c, err := Dial([]string{dir}, "/mnt/t")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, op := range []string{"status", "status", "stop"} {
		var got string
		if err := c.Call(t.Context(), op, &got); err != nil || got != op {
			t.Errorf("%s: %q, %v", op, got, err)
		}
	}
	if err := c.Call(t.Context(), "fail", nil); err == nil || err.Error() != "not today" {
		t.Errorf("fail: %v", err)
	}
	var big string
	if err := c.Call(t.Context(), "big", &big); err != nil || len(big) != 1<<20 {
		t.Errorf("big: %d bytes, %v", len(big), err)
	}
}

func TestSocketIsPrivate(t *testing.T) {
	dir := runDir(t)
	s := serve(t, dir, "/mnt/t", echo)
	for path, want := range map[string]os.FileMode{dir: 0o700, s.Path(): 0o600} {
		fi, err := os.Stat(path)
		if err != nil || fi.Mode().Perm() != want {
			t.Errorf("%s: mode %v (%v), want %v", path, fi.Mode().Perm(), err, want)
		}
	}
}

func TestOpenDirectoryIsRefused(t *testing.T) {
	dir := runDir(t)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if s, err := Listen([]string{dir}, "/m", echo); err == nil || !strings.Contains(err.Error(), "chmod") {
		t.Errorf("Listen in an open directory: %v, %v", s, err)
	}
	better := runDir(t)
	s, err := Listen([]string{dir, better}, "/m", echo)
	if err != nil || filepath.Dir(s.Path()) != better {
		t.Fatalf("the second directory was not used: %v, %v", s, err)
	}
	s.Close()
}

// Without a runtime directory of the session a mount is found whatever the cache
// directory, by way of a directory that only its owner can have made.
func TestFallbackDirectory(t *testing.T) {
	tmp := runDir(t)
	t.Setenv("TMPDIR", tmp)
	t.Setenv("XDG_RUNTIME_DIR", "")
	dirs := func(cache string) []string {
		return slices.DeleteFunc(Dirs(cache), func(d string) bool { return strings.HasPrefix(d, "/run/") })
	}
	mine := dirs("/cache/a")[0]
	if want := filepath.Join(tmp, fmt.Sprintf("qqbtfs-%d", os.Geteuid())); mine != want {
		t.Fatalf("the directory is %s, want %s", mine, want)
	}
	s, err := Listen(dirs("/cache/a"), "/mnt/t", echo)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c, err := Dial(dirs("/cache/b"), "/mnt/t")
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if fi, err := os.Lstat(mine); err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("its mode: %v %v", fi, err)
	}
}

// What somebody else put in the place of the directory is not used, and what is right
// is found behind it.
func TestForeignDirectoryIsNotUsed(t *testing.T) {
	for name, plant := range map[string]func(dir, trap string) error{
		"link":        func(dir, trap string) error { return os.Symlink(trap, dir) },
		"file":        func(dir, _ string) error { return os.WriteFile(dir, nil, 0o600) },
		"open to all": func(dir, trap string) error { return errors.Join(os.Rename(trap, dir), os.Chmod(dir, 0o777)) },
		"of another user": func(dir, trap string) error {
			return errors.Join(os.Rename(trap, dir), os.Chown(dir, os.Geteuid()+1, -1))
		},
	} {
		t.Run(name, func(t *testing.T) {
			tmp := runDir(t)
			dir, trap, own := filepath.Join(tmp, "q"), filepath.Join(tmp, "trap"), filepath.Join(tmp, "own")
			if err := os.MkdirAll(trap, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := plant(dir, trap); errors.Is(err, os.ErrPermission) {
				t.Skip("needs root")
			} else if err != nil {
				t.Fatal(err)
			}
			s, err := Listen([]string{dir, own}, "/mnt/t", echo)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if filepath.Dir(s.Path()) != own {
				t.Errorf("the socket is %s", s.Path())
			}
		})
	}
}

func TestLiveMountIsNotReplaced(t *testing.T) {
	dir := runDir(t)
	serve(t, dir, "/mnt/t", echo)
	if s, err := Listen([]string{dir}, "/mnt/t", echo); !errors.Is(err, errLive) {
		t.Errorf("second Listen: %v, %v", s, err)
	}
}

// deadSocket leaves a socket of mountpoint as a killed process would.
func deadSocket(t *testing.T, dir, mountpoint string) string {
	t.Helper()
	if err := MakeDir(dir); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, socketName(mountpoint))
	ln, err := bind(path)
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	if _, err := os.Lstat(path); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDeadSockets(t *testing.T) {
	dir := runDir(t)
	gone := func(path string) {
		t.Helper()
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("dead socket is still there: %v", err)
		}
	}
	dead := deadSocket(t, dir, "/mnt/dead")
	deadSocket(t, dir, "/mnt/again")
	serve(t, dir, "/mnt/again", echo)
	if _, err := Dial([]string{dir}, "/mnt/dead"); !errors.Is(err, ErrNone) {
		t.Errorf("Dial of a dead mount: %v", err)
	}
	gone(dead)
	dead = deadSocket(t, dir, "/mnt/dead")
	clients, err := All([]string{dir, filepath.Join(dir, "missing")})
	if err != nil || len(clients) != 1 {
		t.Fatalf("All = %d clients, %v; want the live one", len(clients), err)
	}
	clients[0].Close()
	gone(dead)
}

func TestNoAnswer(t *testing.T) {
	dir := runDir(t)
	end := make(chan struct{})
	s := serve(t, dir, "/mnt/t", func(string) (any, error) { <-end; return nil, nil })
	defer s.Close()
	defer close(end)
	c, err := Dial([]string{dir}, "/mnt/t")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	late, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := c.Call(late, "status", nil); err == nil || err.Error() != "the mount does not answer" {
		t.Errorf("Call = %v", err)
	}
}

// A client that asked for a stop waits for the end of the connection, which
// must not come before Close.
func TestWaitEndsWithClose(t *testing.T) {
	dir := runDir(t)
	stop := make(chan struct{})
	s := serve(t, dir, "/mnt/t", func(op string) (any, error) { close(stop); return nil, nil })
	c, err := Dial([]string{dir}, "/mnt/t")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Call(t.Context(), "stop", nil); err != nil {
		t.Fatal(err)
	}
	<-stop
	early, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Wait(early); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait with an ended context: %v", err)
	}
	if err := c.conn.SetDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := c.Wait(t.Context()); err != nil {
			t.Errorf("Wait: %v", err)
		}
	})
	s.Close()
	wg.Wait()
}

// deadlined remembers the deadline of reads.
type deadlined struct {
	net.Conn
	until time.Time
}

func (d *deadlined) SetReadDeadline(t time.Time) error { d.until = t; return nil }

// A client that has asked is not hung up on, however long the end takes; one that says
// nothing is.
func TestWhoHasAskedMayWait(t *testing.T) {
	s := serve(t, runDir(t), "/mnt/t", echo)
	for _, asks := range []bool{false, true} {
		ours, theirs := net.Pipe()
		c := &deadlined{Conn: ours}
		served := make(chan struct{})
		go func() { defer close(served); s.serve(c) }()
		if asks {
			if err := (&Client{theirs, bufio.NewReader(theirs)}).Call(t.Context(), "stop", nil); err != nil {
				t.Fatal(err)
			}
		}
		theirs.Close()
		<-served
		if c.until.IsZero() != asks {
			t.Errorf("asks: %v, deadline: %v", asks, c.until)
		}
	}
}

func TestNonsenseEndsTheConnection(t *testing.T) {
	dir := runDir(t)
	s := serve(t, dir, "/mnt/t", echo)
	for _, in := range []string{"hello\n", strings.Repeat("x", maxRequest+1) + "\n", "[1]\n"} {
		conn, err := net.Dial("unix", s.Path())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte(in)); err != nil && len(in) < 100 {
			t.Fatal(err)
		}
		r := bufio.NewReader(conn)
		if line, err := r.ReadString('\n'); err == nil && !strings.Contains(line, "error") {
			t.Errorf("%.20q was answered %q", in, line)
		}
		if _, err := r.ReadByte(); err == nil {
			t.Errorf("%.20q: the connection goes on", in)
		}
		conn.Close()
	}
}

// More clients than slots must not lock Close up.
func TestCloseWithManyIdleClients(t *testing.T) {
	dir := runDir(t)
	s := serve(t, dir, "/mnt/t", echo)
	for range maxConns + 4 {
		conn, err := net.Dial("unix", s.Path())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
