package e2e

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// slowCopy is a copy out of a mount whose only peer is a slow seed.
type slowCopy struct {
	s     *sandbox
	pub   published
	addr  string
	first *process // the slow seed
	m     *mount
	cp    *process
	copy  string
}

// copyFromOne returns once some of the copy is there.
func (s *sandbox) copyFromOne(rate string, args ...string) *slowCopy {
	s.t.Helper()
	host, port := freeAddr(s.t)
	c := &slowCopy{s: s, pub: s.lonely("film.bin", 4<<20), addr: host + ":" + itoa(port), copy: s.path("copy")}
	c.first = c.seed("--upload-limit", rate)
	c.m = s.mount(append([]string{"--fill", "none", "--peer", c.addr, c.pub.torrent}, args...)...)
	c.cp = start(s.t, s.command("cp", c.m.dir+"/film.bin", c.copy))
	await(s.t, "the start of the copy", func() bool {
		fi, err := os.Stat(c.copy)
		return err == nil && fi.Size() >= 512<<10
	})
	return c
}

func (c *slowCopy) seed(args ...string) *process {
	c.s.t.Helper()
	p := start(c.s.t, c.s.program(append([]string{"seed", c.pub.torrent, "--data", c.pub.file, "--listen", c.addr}, args...)...))
	p.awaitOutput(c.s.t, "\npeer ")
	return p
}

func (c *slowCopy) killSeed() {
	c.s.t.Helper()
	_ = c.first.cmd.Process.Kill()
	_ = c.first.wait(c.s.t)
}

// "All peers vanish mid-read and return: the read completes with no wrong byte."
func TestPeersVanishMidRead(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	c := s.copyFromOne("1MB/s")
	c.killSeed()
	await(t, "a read that waits for nobody", func() bool {
		st := c.m.torrent()
		return len(st.Peers) == 0 && st.Waits > 0
	})
	if c.cp.ended() {
		t.Fatalf("the copy ended (%v) without its peer", c.cp.err)
	}
	c.seed()
	if err := c.cp.wait(t); err != nil {
		t.Errorf("the copy ended with %v", err)
	}
	same(t, c.pub.file, c.copy)
	if st := c.m.torrent(); st.HashFailures != 0 {
		t.Errorf("%d hash failures", st.HashFailures)
	}
}

// A mount that is stopped for longer than a read may wait, while its only peer goes and
// comes back, goes on as if nothing had been: the patience of a read is for peers.
func TestStoppedMount(t *testing.T) {
	t.Parallel()
	const patience, stopped = "12s", 14 * time.Second
	s := newSandbox(t)
	c := s.copyFromOne("500KB/s", "--read-timeout", patience)
	pid := c.m.status().PID
	signal := func(sig syscall.Signal) {
		if err := syscall.Kill(pid, sig); err != nil {
			t.Fatal(err)
		}
	}
	signal(syscall.SIGSTOP)
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGCONT) })
	over := time.After(stopped)
	c.killSeed()
	c.seed()
	<-over
	signal(syscall.SIGCONT)
	if err := c.cp.wait(t); err != nil {
		t.Errorf("the copy ended with %v", err)
	}
	same(t, c.pub.file, c.copy)
	if st := c.m.torrent(); st.HashFailures != 0 || st.Banned != 0 {
		t.Errorf("%d hash failures, %d bans", st.HashFailures, st.Banned)
	}
}

// Trackers that do not answer, from the start or at the end, keep neither a mount from
// reading nor an unmount from ending.
func TestUnmountWithoutTracker(t *testing.T) {
	t.Parallel()
	for name, tracker := range map[string]func(t *testing.T) (url string, asked func() bool){
		"hung":        hungTracker,
		"hung at end": hungAtEnd,
		"down":        func(t *testing.T) (string, func() bool) { return "http://" + nobody + "/announce", nil },
		"silent UDP":  silentUDP,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t)
			url, asked := tracker(t)
			file := s.write("pub/film.bin", noise(5, 300_000))
			torrent := s.create(file, "--tracker", url)
			seed := s.seed(torrent, file)
			m := s.mount("--peer", seed.addr, torrent)
			same(t, file, m.dir+"/film.bin")
			if asked != nil {
				await(t, "an announce", asked)
			}
			pid := m.status().PID
			within(t, unmountLimit, "the unmount", m.unmount)
			m.awaitGone(pid)
			_ = seed.cmd.Process.Kill() // it has the same tracker, and nothing to do with this
		})
	}
}

// hungTracker accepts connections, and that is all.
func hungTracker(t *testing.T) (string, func() bool) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var accepted atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		var conns []net.Conn
		for {
			c, err := l.Accept()
			if err != nil {
				break
			}
			accepted.Store(true)
			conns = append(conns, c)
		}
		for _, c := range conns {
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return "http://" + l.Addr().String() + "/announce", accepted.Load
}

// hungAtEnd answers everything but that somebody leaves.
func hungAtEnd(t *testing.T) (string, func() bool) {
	t.Helper()
	var asked atomic.Int64
	end := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.RawQuery, "event=stopped") {
			select {
			case <-end:
			case <-r.Context().Done():
			}
			return
		}
		_, _ = w.Write([]byte("d8:intervali1800e5:peers0:e"))
		asked.Add(1)
	}))
	t.Cleanup(func() { close(end); srv.Close() })
	return srv.URL + "/announce", func() bool { return asked.Load() >= 2 } // of the seed and the mount
}

func silentUDP(t *testing.T) (string, func() bool) {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var asked atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for b := make([]byte, 2048); ; {
			if _, _, err := c.ReadFrom(b); err != nil {
				return
			}
			asked.Store(true)
		}
	}()
	t.Cleanup(func() { c.Close(); <-done })
	return "udp://" + c.LocalAddr().String() + "/announce", asked.Load
}
