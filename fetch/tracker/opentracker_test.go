package tracker

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"
)

// freePort returns a loopback port that is free for TCP and for UDP.
func freePort(t *testing.T) int {
	t.Helper()
	for range 20 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		l.Close()
		if u, err := net.ListenPacket("udp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			u.Close()
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}

// startOpentracker runs Debian's opentracker for some info-hashes (it is built
// with a whitelist) until the test ends, and returns its host:port.
func startOpentracker(t *testing.T, hashes [][20]byte) string {
	t.Helper()
	bin, err := exec.LookPath("opentracker")
	if err != nil {
		t.Skip("opentracker is not installed")
	}
	port := strconv.Itoa(freePort(t))
	dir := t.TempDir() // becomes its root, with rights for nobody
	var list []byte
	for _, h := range hashes {
		list = fmt.Appendf(list, "%X\n", h)
	}
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(filepath.Join(dir, "whitelist"), list, 0o644)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "-i", "127.0.0.1", "-p", port, "-P", port, "-d", dir, "-u", "nobody", "-w", "whitelist")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	host := "127.0.0.1:" + port
	c := NewClient(ClientConfig{Timeout: 5 * time.Second})
	defer c.Close()
	probe := testRequest()
	probe.InfoHash, probe.TrackerID = hashes[len(hashes)-1], ""
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range 500 {
		// It listens a little before it has read its list.
		if _, err = c.Announce(t.Context(), "http://"+host+"/announce", probe); err == nil {
			return host
		}
		<-tick.C
	}
	t.Fatal("opentracker does not answer: ", err)
	return ""
}

// A tracker that we did not write understands us, and we it.
func TestOpentracker(t *testing.T) {
	hashes := make([][20]byte, 3)
	for i := range hashes {
		hashes[i] = testRequest().InfoHash
		hashes[i][19] = byte(i)
	}
	host := startOpentracker(t, append(hashes, [20]byte{1})) // one more to try it with
	c := NewClient(ClientConfig{Timeout: 5 * time.Second})
	defer c.Close()
	for i, u := range []string{"http://" + host + "/announce", "udp://" + host + "/announce", "udp://" + host} {
		r := testRequest()
		r.TrackerID = ""
		r.InfoHash = hashes[i]
		for seed := range uint16(2) {
			r.Port, r.Left, r.Event = 7001+seed, 0, Started
			r.PeerID[19] = byte(seed)
			if _, err := c.Announce(t.Context(), u, r); err != nil {
				t.Fatalf("%s: %v", u, err)
			}
		}
		r.Port, r.Left = 7003, 10
		r.PeerID[19] = 3
		resp, err := c.Announce(t.Context(), u, r)
		if err != nil || !slices.Contains(resp.Peers, addrPorts("127.0.0.1:7001")[0]) || resp.Seeders != 2 || resp.Leechers != 1 {
			t.Errorf("%s: got %+v, %v", u, resp, err)
		}
		r.Event = Stopped
		if resp, err := c.Announce(t.Context(), u, r); err != nil || len(resp.Peers) != 0 {
			t.Errorf("%s: stopped: %+v, %v", u, resp, err)
		}
	}
}
