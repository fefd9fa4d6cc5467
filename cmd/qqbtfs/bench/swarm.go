package main

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// python is Debian's, which python3-libtorrent is for.
const python = "/usr/bin/python3"

//go:embed seeder.py
var seederScript string

// seederKind is who seeds.
type seederKind struct {
	libtorrent bool
	version    string
}

func chooseSeeder(ctx context.Context, flag string) (seederKind, error) {
	if flag == "qqbtfs" {
		return seederKind{}, nil
	}
	out, err := exec.CommandContext(ctx, python, "-c", "import libtorrent; print(libtorrent.__version__)").Output()
	switch {
	case err == nil:
		return seederKind{true, strings.TrimSpace(string(out))}, nil
	case flag == "libtorrent":
		return seederKind{}, errors.New("-seeder libtorrent: there is no python3-libtorrent")
	case flag != "auto":
		return seederKind{}, fmt.Errorf("-seeder %q: libtorrent, qqbtfs or auto", flag)
	}
	return seederKind{}, nil
}

// tracker answers every announce with the same peers: the seeders, or what
// stands in front of them.
type tracker struct {
	url string
	srv http.Server

	mu    sync.Mutex
	peers []byte // compact (BEP 23)
}

func startTracker() (*tracker, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	t := &tracker{url: fmt.Sprintf("http://%s/announce", ln.Addr())}
	t.srv.Handler = t
	go t.srv.Serve(ln)
	return t, nil
}

// ServeHTTP answers an announce (BEP 3).
func (t *tracker) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(t.peers) / 6
	fmt.Fprintf(w, "d8:completei%de10:incompletei0e8:intervali1800e5:peers%d:%se", n, len(t.peers), t.peers)
}

func (t *tracker) set(peers []netip.AddrPort) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.peers = nil
	for _, p := range peers {
		ip := p.Addr().As4()
		t.peers = binary.BigEndian.AppendUint16(append(t.peers, ip[:]...), p.Port())
	}
}

func (t *tracker) close() { t.srv.Close() }

// swarmOptions describe a swarm; delay is one way.
type swarmOptions struct {
	content *content
	seeds   int
	rate    float64 // of each seeder, bytes per second; zero: no limit
	delay   time.Duration
}

// swarm is running seeders, each on a loopback address of its own: some clients
// take one peer an address only.
type swarm struct {
	b       *bench
	seeders []*exec.Cmd
	input   io.Closer     // of the libtorrent process; closing it ends it
	output  *bufio.Reader // of the same
	shapers []*shaper
}

func (b *bench) startSwarm(ctx context.Context, o swarmOptions) (*swarm, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	s := &swarm{b: b}
	o.seeds = choose(b, o.seeds, min(o.seeds, 2))
	addrs := make([]netip.AddrPort, o.seeds)
	for i := range addrs {
		addrs[i] = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 1, byte(10 + i)}), port)
	}
	start := s.startOwn
	if b.seeder.libtorrent {
		start = s.startLibtorrent
	}
	if err := start(ctx, o.content, addrs); err != nil {
		s.stop()
		return nil, err
	}
	if o.rate > 0 || o.delay > 0 {
		for i, a := range addrs {
			front := fmt.Sprintf("127.0.2.%d:0", 10+i)
			sh, err := startShaper(front, a.String(), o.rate, o.delay)
			if err != nil {
				s.stop()
				return nil, err
			}
			s.shapers = append(s.shapers, sh)
			addrs[i] = sh.ln.Addr().(*net.TCPAddr).AddrPort()
		}
	}
	b.tracker.set(addrs)
	return s, nil
}

func freePort() (uint16, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).AddrPort().Port(), nil
}

func (s *swarm) startLibtorrent(ctx context.Context, c *content, addrs []netip.AddrPort) error {
	args := []string{"-c", seederScript, c.torrent, c.dir}
	for _, a := range addrs {
		args = append(args, a.String())
	}
	cmd := exec.CommandContext(ctx, python, args...)
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	s.seeders, s.input, s.output = []*exec.Cmd{cmd}, in, bufio.NewReader(out)
	if line, err := s.output.ReadString('\n'); err != nil || line != "ready\n" {
		return fmt.Errorf("the libtorrent seeders do not start: %q %v", line, err)
	}
	return nil
}

// startOwn starts a qqbtfs seed for every address.
func (s *swarm) startOwn(ctx context.Context, c *content, addrs []netip.AddrPort) error {
	for _, a := range addrs {
		cmd := exec.CommandContext(ctx, s.b.opt.bin, "seed", c.torrent, "--data", c.path(), "--listen", a.String())
		cmd.Env = cleanEnv()
		out, err := cmd.StdoutPipe()
		if err != nil {
			return err
		}
		if err := cmd.Start(); err != nil {
			return err
		}
		s.seeders = append(s.seeders, cmd)
		if line, err := firstLine(out); err != nil || !strings.HasPrefix(line, "seeding ") {
			return fmt.Errorf("qqbtfs seed does not start: %q %v", line, err)
		}
		go io.Copy(io.Discard, out)
	}
	return nil
}

// stop ends the swarm and returns how many bytes of content its seeders sent, -1
// if they do not tell.
func (s *swarm) stop() (sent int64) {
	s.b.tracker.set(nil)
	for _, sh := range s.shapers {
		sh.close()
	}
	sent = -1
	if s.input != nil {
		s.input.Close()
		line, _ := s.output.ReadString('\n')
		if n, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64); err == nil {
			sent = n
		}
	} else {
		for _, cmd := range s.seeders {
			cmd.Process.Signal(syscall.SIGTERM)
		}
	}
	for _, cmd := range s.seeders {
		cmd.Wait()
	}
	return sent
}
