package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/fetch"
	"github.com/qqbtfs/qqbtfs/fetch/dht"
	"github.com/qqbtfs/qqbtfs/fs"
	"github.com/qqbtfs/qqbtfs/fs/fstest"
)

func itoa(n int) string { return strconv.Itoa(n) }

// sandbox is where a test and the programs that it runs live.
type sandbox struct {
	t   *testing.T
	dir string
	env []string
	bin string   // the program
	as  []string // comes before its command line, to run it as somebody else

	// How clients of others run: with encrypted connections only ("required"), with none
	// ("off"; libtorrent can) or as they like (""), at an address of IPv6, with an upload
	// limit in bytes per second (zero: none).
	encryption string
	ipv6       bool
	upload     int
	// By which ways they find peers, beside trackers: in a DHT that has these nodes, on the
	// local network.
	dht      []string
	lsd, pex bool
	// Whom they connect to, and tell what they know of, and which files they want: a 0 or 1
	// for each; empty: all of them. libtorrent only.
	peers []string
	want  string
	// Where they live, if not on loopback, and the address that our programs are bound to
	// then.
	in *netns
	at string
}

// newSandbox makes an empty one. Nothing that names its directory on its command
// line survives the test.
func newSandbox(t *testing.T) *sandbox {
	t.Helper()
	s := &sandbox{t: t, dir: t.TempDir(), bin: binary}
	// Some clients give up root, so they have to get through.
	if err := os.Chmod(filepath.Dir(s.dir), 0o755); err != nil {
		t.Fatal(err)
	}
	s.env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8", "HOME=" + s.dir, "QQBTFS_DHT=off", "QQBTFS_LSD=off"}
	for env, sub := range map[string]string{"XDG_CONFIG_HOME": "config", "XDG_CACHE_HOME": "cache", "XDG_RUNTIME_DIR": "run"} {
		s.env = append(s.env, env+"="+s.mkdir(sub))
	}
	t.Cleanup(s.killLeftovers)
	return s
}

// path is a name in the sandbox.
func (s *sandbox) path(name string) string { return filepath.Join(s.dir, name) }

func (s *sandbox) mkdir(name string) string {
	s.t.Helper()
	if err := os.MkdirAll(s.path(name), 0o700); err != nil {
		s.t.Fatal(err)
	}
	return s.path(name)
}

// killLeftovers ends processes that the test has left, and says so. One that has said
// that it is done has a moment to end.
func (s *sandbox) killLeftovers() {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for end := time.Now().Add(5 * time.Second); len(s.processes()) > 0 && time.Now().Before(end); {
		<-tick.C
	}
	for _, pid := range s.processes() {
		line, _ := os.ReadFile("/proc/" + itoa(pid) + "/cmdline")
		s.t.Errorf("process %d was left: %s", pid, bytes.ReplaceAll(line, []byte{0}, []byte{' '}))
		_ = syscall.Kill(pid, syscall.SIGKILL)
		await(s.t, "the end of "+itoa(pid), func() bool { return !alive(pid) })
	}
}

// processes are all that name the sandbox on their command lines.
func (s *sandbox) processes() (pids []int) {
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		s.t.Fatal(err)
	}
	for _, name := range lines {
		line, err := os.ReadFile(name)
		if err != nil || !bytes.Contains(line, []byte(s.dir+"/")) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name))); err == nil && alive(pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// command prepares a run of some program in the sandbox.
func (s *sandbox) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Env, cmd.Dir = s.env, s.dir
	return cmd
}

// program prepares a run of our program.
func (s *sandbox) program(args ...string) *exec.Cmd {
	return s.asUser(s.bin, args...)
}

// qqbtfs runs our program, which has to succeed, and returns its output.
func (s *sandbox) qqbtfs(args ...string) string {
	s.t.Helper()
	return must(s.t, s.program(args...))
}

// fails runs our program, which has to fail with that exit code and one line about it
// that holds text.
func (s *sandbox) fails(code int, text string, args ...string) {
	s.t.Helper()
	r := run(s.t, s.program(args...))
	if r.code != code || !strings.Contains(r.err, text) || strings.Count(r.err, "\n") != 1 {
		s.t.Errorf("%s: exit code %d, %q; want %d and a line with %q", strings.Join(args, " "), r.code, r.err, code, text)
	}
}

// create makes a torrent of a path, and returns its file.
func (s *sandbox) create(content string, args ...string) string {
	s.t.Helper()
	file := s.path(filepath.Base(content) + ".torrent")
	s.qqbtfs(append([]string{"create", content, "-o", file, "--force"}, args...)...)
	return file
}

// seed serves a torrent with our program until the end of the test.
func (s *sandbox) seed(torrent, data string, args ...string) *seeder {
	s.t.Helper()
	line := append([]string{"seed", torrent, "--data", data}, s.listen()...)
	p := start(s.t, s.program(append(line, args...)...))
	p.awaitOutput(s.t, "\npeer ")
	return &seeder{p, afterWord(s.t, p.out.String(), "peer ")}
}

// listen is how our programs are told where to listen.
func (s *sandbox) listen() []string {
	if s.at != "" {
		return []string{"--bind", s.at, "--listen", s.at + ":0"}
	}
	return []string{"--listen", "127.0.0.1:0"}
}

// seeder is a process of ours that seeds.
type seeder struct {
	*process
	addr string
}

// afterWord returns the rest of the line that starts with word.
func afterWord(t *testing.T, text, word string) string {
	t.Helper()
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, word); ok {
			return strings.TrimSpace(rest)
		}
	}
	t.Fatalf("no line starts with %q: %s", word, text)
	return ""
}

// mountpoint makes a directory to mount at. Whatever is mounted there at the end of
// the test is an error and taken away.
func (s *sandbox) mountpoint(name string) string {
	s.t.Helper()
	fstest.Require(s.t)
	dir := s.mkdir(name)
	fstest.Guard(s.t, dir)
	return dir
}

// mount is a mount of our program in the background.
type mount struct {
	s   *sandbox
	dir string
}

// mount mounts in the background until the end of the test. The last argument of
// args is the torrent.
func (s *sandbox) mount(args ...string) *mount {
	s.t.Helper()
	m := &mount{s, s.mountpoint(fmt.Sprintf("mnt%d", mounts.Add(1)))}
	m.again(args...)
	s.t.Cleanup(func() {
		if m.mounted() {
			m.unmount()
		}
		if s.t.Failed() {
			m.showLog()
		}
	})
	return m
}

var mounts atomic.Int64

// again mounts at the same place.
func (m *mount) again(args ...string) {
	m.s.t.Helper()
	m.s.qqbtfs(m.args(args...)...)
}

func (m *mount) args(args ...string) []string {
	line := append([]string{"mount", "-v"}, m.s.listen()...)
	return append(append(line, args...), m.dir)
}

// unmount ends it, as a user does.
func (m *mount) unmount() {
	m.s.t.Helper()
	m.s.qqbtfs("umount", m.dir)
	if m.mounted() {
		m.s.t.Errorf("%s is still mounted", m.dir)
	}
}

// mounted reports whether the mount table has it.
func (m *mount) mounted() bool {
	m.s.t.Helper()
	all, err := fs.Mounts()
	if err != nil {
		m.s.t.Fatal(err)
	}
	for _, other := range all {
		if other.Dir == m.dir {
			return true
		}
	}
	return false
}

// status is what the program's status --json says.
type status struct {
	PID      int            `json:"pid"`
	Listen   []string       `json:"listen"`
	LogFile  string         `json:"log_file"`
	DHT      *dht.Status    `json:"dht"`
	Torrents []fetch.Status `json:"torrents"`
}

func (m *mount) status() (st status) {
	m.s.t.Helper()
	if err := json.Unmarshal([]byte(m.s.qqbtfs("status", m.dir, "--json")), &st); err != nil || len(st.Torrents) == 0 {
		m.s.t.Fatalf("status: %v, %d torrents", err, len(st.Torrents))
	}
	return st
}

// torrent is the status of the first torrent.
func (m *mount) torrent() fetch.Status {
	m.s.t.Helper()
	return m.status().Torrents[0]
}

// complete waits until the fill is done.
func (m *mount) complete() {
	m.s.t.Helper()
	await(m.s.t, "a complete mount", func() bool { return m.torrent().Complete })
}

// log is what the mounts at that place wrote to their log, which outlives them.
func (m *mount) log() string {
	logs, _ := filepath.Glob(m.s.path("cache/qqbtfs/*.log"))
	for _, name := range logs {
		if b, err := os.ReadFile(name); err == nil && strings.HasSuffix(name, "-"+filepath.Base(m.dir)+".log") {
			return string(b)
		}
	}
	return ""
}

func (m *mount) showLog() {
	if log := m.log(); log != "" {
		m.s.t.Logf("log of %s:\n%s", m.dir, log[max(0, len(log)-4000):])
	}
}

// left is what must not be there after the end of a mount: its process and its socket.
func (m *mount) left(pid int) (what []string) {
	if m.mounted() {
		what = append(what, "the mount")
	}
	if alive(pid) {
		what = append(what, "the process")
	}
	if socks, _ := filepath.Glob(m.s.path("run/qqbtfs/*")); len(socks) > 0 {
		what = append(what, socks...)
	}
	return what
}

// awaitGone waits until nothing of a mount is left.
func (m *mount) awaitGone(pid int) {
	m.s.t.Helper()
	await(m.s.t, "the end of "+m.dir, func() bool { return len(m.left(pid)) == 0 })
}

// Loopback addresses for the programs of others. Our own use 127.0.0.1; a client that
// keeps one connection for each address can tell them apart.
var loopback atomic.Uint32

// freeAddr returns an address and port on loopback that are free for TCP and UDP.
// The port is none that the system gives to others.
func (s *sandbox) freeAddr() (host string, port int) {
	s.t.Helper()
	if s.in != nil {
		return s.in.nextHost(), 10000 + rand.IntN(20000)
	}
	if s.ipv6 {
		return "::1", freePort(s.t, "::1")
	}
	return freeAddr(s.t)
}

// freeAddr is that of IPv4.
func freeAddr(t *testing.T) (host string, port int) {
	t.Helper()
	n := loopback.Add(1)
	host = fmt.Sprintf("127.%d.%d.%d", 1+os.Getpid()/250%250, os.Getpid()%250, 1+n%250)
	return host, freePort(t, host)
}

func freePort(t *testing.T, host string) int {
	t.Helper()
	for range 100 {
		port := 10000 + rand.IntN(20000)
		addr := net.JoinHostPort(host, itoa(port))
		l, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		u, uerr := net.ListenPacket("udp", addr)
		if uerr == nil {
			u.Close()
		}
		if errors.Join(l.Close(), uerr) == nil {
			return port
		}
	}
	t.Fatal("no free port at " + host)
	return 0
}

// within fails the test if f takes longer than limit.
func within(t *testing.T, limit time.Duration, what string, f func()) {
	t.Helper()
	began := time.Now()
	f()
	if d := time.Since(began); d > limit {
		t.Errorf("%s took %v, at most %v is allowed", what, d, limit)
	}
}
