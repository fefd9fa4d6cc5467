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

// "All peers vanish mid-read and return: the read completes with no wrong byte."
func TestPeersVanishMidRead(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	pub := s.lonely("film.bin", 4<<20)
	host, port := freeAddr(t)
	addr := host + ":" + itoa(port)
	seed := func(args ...string) *process {
		p := start(t, s.program(append([]string{"seed", pub.torrent, "--data", pub.file, "--listen", addr}, args...)...))
		p.awaitOutput(t, "\npeer ")
		return p
	}
	first := seed("--upload-limit", "1MB/s")
	m := s.mount("--fill", "none", "--peer", addr, pub.torrent)
	cp := start(t, s.command("cp", m.dir+"/film.bin", s.path("copy")))
	await(t, "the start of the copy", func() bool {
		fi, err := os.Stat(s.path("copy"))
		return err == nil && fi.Size() >= 512<<10
	})
	_ = first.cmd.Process.Kill()
	_ = first.wait(t)
	await(t, "a read that waits for nobody", func() bool {
		st := m.torrent()
		return len(st.Peers) == 0 && st.Waits > 0
	})
	if cp.ended() {
		t.Fatalf("the copy ended (%v) without its peer", cp.err)
	}
	seed()
	if err := cp.wait(t); err != nil {
		t.Errorf("the copy ended with %v", err)
	}
	same(t, pub.file, s.path("copy"))
	if st := m.torrent(); st.HashFailures != 0 {
		t.Errorf("%d hash failures", st.HashFailures)
	}
}

// A mount that is stopped for longer than a read may wait, while its only peer goes and
// comes back, goes on as if nothing had been: the patience of a read is for peers.
func TestStoppedMount(t *testing.T) {
	t.Parallel()
	const patience, stopped = "12s", 14 * time.Second
	s := newSandbox(t)
	pub := s.lonely("film.bin", 4<<20)
	host, port := freeAddr(t)
	addr := host + ":" + itoa(port)
	seed := func(args ...string) *process {
		p := start(t, s.program(append([]string{"seed", pub.torrent, "--data", pub.file, "--listen", addr}, args...)...))
		p.awaitOutput(t, "\npeer ")
		return p
	}
	first := seed("--upload-limit", "500KB/s")
	m := s.mount("--fill", "none", "--read-timeout", patience, "--peer", addr, pub.torrent)
	pid := m.status().PID
	signal := func(sig syscall.Signal) {
		if err := syscall.Kill(pid, sig); err != nil {
			t.Fatal(err)
		}
	}
	cp := start(t, s.command("cp", m.dir+"/film.bin", s.path("copy")))
	await(t, "the start of the copy", func() bool {
		fi, err := os.Stat(s.path("copy"))
		return err == nil && fi.Size() >= 512<<10
	})
	signal(syscall.SIGSTOP)
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGCONT) })
	over := time.After(stopped)
	_ = first.cmd.Process.Kill()
	_ = first.wait(t)
	seed()
	<-over
	signal(syscall.SIGCONT)
	if err := cp.wait(t); err != nil {
		t.Errorf("the copy ended with %v", err)
	}
	same(t, pub.file, s.path("copy"))
	if st := m.torrent(); st.HashFailures != 0 || st.Banned != 0 {
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
