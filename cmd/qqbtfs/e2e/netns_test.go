package e2e

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// netns is a network of its own for programs to run in.
type netns struct {
	s      *sandbox
	holder *process
	hosts  []string // addresses that nobody has taken yet
}

// netns makes a network namespace that lasts until the end of the test.
func (s *sandbox) netns() *netns {
	s.t.Helper()
	for _, name := range []string{"unshare", "nsenter", "ip"} {
		need(s.t, name)
	}
	if r := run(s.t, s.command("unshare", "--net", "true")); r.code != 0 {
		s.t.Skip("no network namespaces here: ", r.err)
	}
	p := start(s.t, s.command("unshare", "--net", "sh", "-c", "ip link set lo up && echo ready && exec sleep 1000"))
	p.awaitOutput(s.t, "ready")
	return &netns{s: s, holder: p}
}

func (n *netns) path() string { return fmt.Sprintf("/proc/%d/ns/net", n.holder.cmd.Process.Pid) }

// use makes the sandbox's program run in the namespace from now on.
func (n *netns) use() { n.s.as = []string{"nsenter", "--net=" + n.path()} }

// ip configures it, a command a line.
func (n *netns) ip(lines string) {
	n.s.t.Helper()
	for line := range strings.Lines(strings.TrimSpace(lines)) {
		must(n.s.t, n.s.command("nsenter", append([]string{"--net=" + n.path(), "ip"}, strings.Fields(line)...)...))
	}
}

// nextHost is an address of its own for a program in there.
func (n *netns) nextHost() (host string) {
	n.s.t.Helper()
	if len(n.hosts) == 0 {
		n.s.t.Fatal("no address is left")
	}
	host, n.hosts = n.hosts[0], n.hosts[1:]
	return host
}

// listen listens in the namespace for the test's own process.
func (n *netns) listen(addr string) (l net.Listener) {
	n.s.t.Helper()
	if err := n.do(func() (err error) { l, err = net.Listen("tcp", addr); return err }); err != nil {
		n.s.t.Fatal(err)
	}
	return l
}

// do runs f in the namespace.
func (n *netns) do(f func() error) (err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		var ns *os.File
		if ns, err = os.Open(n.path()); err != nil {
			return
		}
		defer ns.Close()
		if err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err == nil {
			err = f()
		}
	}()
	<-done
	return err
}

// register is a tracker that names one peer and remembers who asked.
type register struct {
	peer netip.AddrPort

	mu    sync.Mutex
	hosts map[string]bool
}

func (r *register) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	host, _, _ := net.SplitHostPort(req.RemoteAddr)
	r.mu.Lock()
	r.hosts[host] = true
	r.mu.Unlock()
	ip := r.peer.Addr().As4()
	fmt.Fprintf(w, "d8:intervali3600e5:peers6:%se", append(ip[:], byte(r.peer.Port()>>8), byte(r.peer.Port())))
}

func (r *register) saw(host string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.hosts[host]
}

// movedLimit bounds how long a copy takes whose mount gets another address, and how long
// until the tracker knows: 3 s until it is noticed, 30 s between announces. Who waits for
// its dead connections takes more than a minute.
const movedLimit = 45 * time.Second

// The address of the mount's machine goes in the middle of a copy, and it gets another
// in another network. The copy goes on, the tracker hears of the new address, and peers
// can connect there.
func TestAddressChange(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	home, world := s.netns(), s.netns()
	home.ip(fmt.Sprintf(`link add m0 type veth peer name p0 netns %d
		addr add 10.77.0.2/24 dev m0
		link set m0 up
		route add default via 10.77.0.1`, world.holder.cmd.Process.Pid))
	world.ip(`addr add 10.77.0.1/24 dev p0
		addr add 10.77.1.1/24 dev p0
		link set p0 up
		addr add 10.78.0.1/32 dev lo`)
	seedAddr := netip.MustParseAddrPort("10.78.0.1:6881")
	reg := &register{peer: seedAddr, hosts: map[string]bool{}}
	l := world.listen("10.78.0.1:0")
	srv := &http.Server{Handler: reg}
	served := make(chan struct{})
	go func() { defer close(served); _ = srv.Serve(l) }()
	t.Cleanup(func() { srv.Close(); <-served })

	file := s.write("pub/film.bin", noise(7, 6<<20))
	torrent := s.create(file, "--piece-length", "64KiB", "--tracker", "http://"+l.Addr().String()+"/announce")
	world.use()
	seed := start(t, s.program("seed", torrent, "--data", file, "--listen", seedAddr.String(), "--upload-limit", "500KB/s"))
	seed.awaitOutput(t, "\npeer ")
	home.use()
	m := &mount{s, s.mountpoint("mnt")}
	s.qqbtfs("mount", "-v", "--listen", ":6999", "--fill", "none", torrent, m.dir)
	t.Cleanup(func() {
		home.use()
		if m.mounted() {
			m.unmount()
		}
		if t.Failed() {
			m.showLog()
		}
	})
	cp := start(t, s.command("cp", m.dir+"/film.bin", s.path("copy")))
	await(t, "the start of the copy", func() bool {
		fi, err := os.Stat(s.path("copy"))
		return err == nil && fi.Size() >= 512<<10
	})
	home.ip(`addr del 10.77.0.2/24 dev m0
		addr add 10.77.1.2/24 dev m0
		route add default via 10.77.1.1`)
	within(t, movedLimit, "the rest of the copy and an announce", func() {
		if err := cp.wait(t); err != nil {
			t.Errorf("the copy ended with %v", err)
		}
		await(t, "an announce from the new address", func() bool { return reg.saw("10.77.1.2") })
	})
	same(t, file, s.path("copy"))
	if st := m.torrent(); st.HashFailures != 0 {
		t.Errorf("%d hash failures", st.HashFailures)
	}
	_ = seed.stop(t, unix.SIGTERM)
	world.use()
	s.qqbtfs("get", torrent, "-o", s.path("down"), "--listen", "10.78.0.1:6882", "--peer", "10.77.1.2:6999")
	same(t, file, s.path("down/film.bin"))
}
