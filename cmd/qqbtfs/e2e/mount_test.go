package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/qqbtfs/qqbtfs/peerconn/peertest"
	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// published is a file that somebody seeds.
type published struct {
	content []byte
	file    string
	torrent string
	seed    *seeder
}

// publish makes a file of n bytes, its torrent and its seed.
func (s *sandbox) publish(name string, n int, seedArgs ...string) published {
	s.t.Helper()
	p := published{content: noise(uint64(n), n)}
	p.file = s.write("pub/"+name, p.content)
	p.torrent = s.create(p.file, "--piece-length", "64KiB")
	p.seed = s.seed(p.torrent, p.file, seedArgs...)
	return p
}

// nobody is an address where no peer is.
const nobody = "127.0.0.1:9"

// lonely makes a file and its torrent, which nobody seeds.
func (s *sandbox) lonely(name string, n int) published {
	s.t.Helper()
	p := published{content: noise(uint64(n), n)}
	p.file = s.write("pub/"+name, p.content)
	p.torrent = s.create(p.file, "--piece-length", "64KiB")
	return p
}

// "It returns 0 when the mount is usable and runs on in the background"; cp out of it
// gives the same bytes; status tells about it, also to people.
func TestMountInBackground(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	album := s.album("pub/album")
	torrent := s.create(album, "--piece-length", "64KiB")
	seed := s.seed(torrent, album)
	m := s.mount("--peer", seed.addr, torrent)
	if !m.mounted() || !slices.Equal(names(t, m.dir), []string{"album"}) {
		t.Fatal("the command returned before the mount was usable")
	}
	must(t, s.command("cp", "-r", m.dir+"/album", s.path("copy")))
	same(t, album, s.path("copy"))
	m.complete()
	text := s.qqbtfs("status", m.dir)
	for _, word := range []string{m.dir, "album", "complete, seeding to", "(100.0%)", "hash failures", "trackers"} { // not the seed: two seeds part
		if !strings.Contains(text, word) {
			t.Errorf("status does not say %q:\n%s", word, text)
		}
	}
	if text := s.qqbtfs("status"); !strings.Contains(text, m.dir) {
		t.Errorf("the list of mounts lacks it:\n%s", text)
	}
	st := m.status()
	sock, err := filepath.Glob(s.path("run/qqbtfs/*.sock"))
	if err != nil || len(sock) != 1 {
		t.Fatalf("sockets: %v %v", sock, err)
	}
	if fi, err := os.Stat(sock[0]); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("the control socket's mode is %v, %v", fi.Mode(), err)
	}
	m.unmount()
	m.awaitGone(st.PID)
}

// What goes wrong in the child is told by the parent, in one line and by its code.
func TestMountFails(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	p := s.lonely("film.bin", 100_000)
	dir := s.mountpoint("mnt")
	s.fails(4, s.path("none")+" does not exist", "mount", p.torrent, s.path("none"))
	s.fails(3, "broken.torrent", "mount", s.write("broken.torrent", []byte("d4:infoe")), dir)
	s.fails(3, "missing.torrent", "mount", s.path("missing.torrent"), dir)
	s.fails(2, "--fill", "mount", "--fill", "some", p.torrent, dir)
	s.fails(2, "MOUNTPOINT", "mount", p.torrent)
	s.fails(7, dir, "status", dir)
	s.fails(7, dir, "umount", dir)
	host, port := freeAddr(t)
	busy := start(t, s.program("seed", p.torrent, "--data", p.file, "--listen", host+":"+itoa(port)))
	busy.awaitOutput(t, "\npeer ")
	s.fails(1, "--listen", "mount", "--listen", host+":"+itoa(port), p.torrent, dir)
	if left := (&mount{s, dir}).left(0); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// "Ctrl-C and SIGTERM unmount cleanly", and so does fusermount3 -u.
func TestEndsOfMount(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(t *testing.T, m *mount, p *process){
		"SIGINT":  func(t *testing.T, _ *mount, p *process) { _ = p.cmd.Process.Signal(syscall.SIGINT) },
		"SIGTERM": func(t *testing.T, _ *mount, p *process) { _ = p.cmd.Process.Signal(syscall.SIGTERM) },
		"umount":  func(t *testing.T, m *mount, _ *process) { m.s.qqbtfs("umount", m.dir) },
		"fusermount3": func(t *testing.T, m *mount, _ *process) {
			must(t, m.s.command(need(t, "fusermount3"), "-u", m.dir))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSandbox(t)
			pub := s.publish("film.bin", 1<<20)
			m := &mount{s, s.mountpoint("mnt")}
			p := start(t, s.program(m.args("-f", "--peer", pub.seed.addr, pub.torrent)...))
			p.awaitOutput(t, " mounted ")
			if got := readFile(t, m.dir+"/film.bin"); !bytes.Equal(got, pub.content) {
				t.Error("the mount has other content")
			}
			end(t, m, p)
			if err := p.wait(t); err != nil {
				t.Errorf("it ended with %v", err)
			}
			m.awaitGone(p.cmd.Process.Pid)
		})
	}
}

// A mount in the background ends by signals too.
func TestSignalInBackground(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	pub := s.lonely("film.bin", 1<<20)
	m := s.mount("--peer", nobody, pub.torrent)
	pid := m.status().PID
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	m.awaitGone(pid)
}

// unmountLimit is the bound of an unmount. The promise is two seconds, and `make bench`
// measures it; the rest is for a machine that is busy with other tests.
const unmountLimit = 4 * time.Second

// A read that waits does not hold up the unmount, and status tells what it waits for.
func TestUnmountWithBlockedRead(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	pub := s.lonely("film.bin", 1<<20)
	var args []string
	for i := range 3 {
		choker := peertest.Start(t, s.asPeer(pub), named{itoa(i), peertest.Says{wire.HaveAll{}}})
		args = append(args, "--peer", choker.Addr().String())
	}
	m := s.mount(append(args, pub.torrent)...)
	pid := m.status().PID
	cat := start(t, s.command("cat", m.dir+"/film.bin"))
	await(t, "a read that waits in words", func() bool {
		return strings.Contains(s.qqbtfs("status", m.dir), ": 3 peers have it, all choke us")
	})
	within(t, unmountLimit, "the unmount", m.unmount)
	if cat.wait(t) == nil {
		t.Error("the read succeeded")
	}
	m.awaitGone(pid)
}

// "a waiting read ends by --read-timeout with ETIMEDOUT and one log line that says
// which piece it waited for and how many peers have it"
func TestReadTimeout(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	pub := s.lonely("film.bin", 1<<20)
	liar := peertest.Start(t, s.asPeer(pub), peertest.Liar{})
	m := s.mount("--read-timeout", "1s", "--peer", liar.Addr().String(), pub.torrent)
	await(t, "a connection", func() bool { return len(m.torrent().Peers) == 1 && m.torrent().Peers[0].Progress == 1 })
	f, err := os.Open(m.dir + "/film.bin")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	began := time.Now()
	if _, err = f.ReadAt(make([]byte, 100), 5*64<<10); !isErrno(err, syscall.ETIMEDOUT) {
		t.Errorf("read: %v, want ETIMEDOUT", err)
	}
	if d := time.Since(began); d < 900*time.Millisecond || d > 10*time.Second {
		t.Errorf("the read ended after %v", d)
	}
	f.Close()
	m.unmount()
	lines := regexp.MustCompile(`(?m)^.*timed out.*$`).FindAllString(m.log(), -1)
	if len(lines) != 1 {
		t.Fatalf("lines about the timeout: %q", lines)
	}
	for _, word := range []string{"piece 5: 1 peer has it", "file=film.bin", "after=1s"} {
		if !strings.Contains(lines[0], word) {
			t.Errorf("no %q in %q", word, lines[0])
		}
	}
}

// With everything downloaded a mount needs nobody, also when it is mounted anew.
func TestRemountWithoutPeers(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	pub := s.publish("film.bin", 4<<20)
	m := s.mount("--peer", pub.seed.addr, pub.torrent)
	m.complete()
	m.unmount()
	if err := pub.seed.stop(t, syscall.SIGTERM); err != nil {
		t.Errorf("seed ended with %v", err)
	}
	m.again("--peer", nobody, pub.torrent)
	same(t, pub.file, m.dir+"/film.bin")
	if st := m.torrent(); !st.Complete || st.Downloaded != 0 {
		t.Errorf("complete: %v, downloaded %d bytes again", st.Complete, st.Downloaded)
	}
}

// After a kill -9 the place can be mounted again over what is left there, and what was
// there is there.
func TestKilledDaemon(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	pub := s.publish("film.bin", 4<<20)
	m := s.mount("--fill", "none", "--peer", pub.seed.addr, pub.torrent)
	if got := readPart(t, m.dir+"/film.bin", 1<<20); !bytes.Equal(got, pub.content[:1<<20]) {
		t.Error("the mount has other content")
	}
	st := m.status()
	// What is read is written behind the reader, so that a kill can lose the last.
	await(t, "pieces on disk", func() bool { return m.torrent().Cache.DiskBytes >= 1<<20 })
	if err := syscall.Kill(st.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await(t, "the end", func() bool { return !alive(st.PID) })
	if _, err := os.ReadFile(m.dir + "/film.bin"); err == nil {
		t.Error("a dead mount was read to its end")
	}
	s.fails(7, m.dir, "status", m.dir)
	m.again("--peer", pub.seed.addr, pub.torrent)
	same(t, pub.file, m.dir+"/film.bin")
	m.complete()
	if st := m.torrent(); st.Downloaded > 3<<20+256<<10 {
		t.Errorf("downloaded %d bytes again of 4 MiB, and 1 MiB was there", st.Downloaded)
	}
	m.unmount()
	// A dead mount can also just be taken away.
	m.again("--peer", pub.seed.addr, pub.torrent)
	pid := m.status().PID
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await(t, "the end", func() bool { return !alive(pid) })
	m.unmount()
}

// "several sources stand side by side, clashing names resolved the same way every
// time"
func TestClashingNames(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	one, two := s.write("one/film.bin", noise(1, 300_000)), s.write("two/film.bin", noise(2, 200_000))
	album := s.album("pub/album")
	var torrents []string
	args := []string{}
	for i, path := range []string{one, two, album} {
		file := s.path(itoa(i) + ".torrent")
		s.qqbtfs("create", path, "-o", file)
		torrents = append(torrents, file)
		args = append(args, "--peer", s.seed(file, path).addr)
	}
	m := s.mount(append(args, torrents...)...)
	before := names(t, m.dir)
	if len(before) != 3 || !slices.Contains(before, "album") || !slices.Contains(before, "film.bin") {
		t.Fatalf("the mount has %q", before)
	}
	same(t, album, m.dir+"/album")
	same(t, one, m.dir+"/film.bin") // the first source keeps its name
	for _, name := range before {
		if name != "album" && name != "film.bin" {
			same(t, two, m.dir+"/"+name)
		}
	}
	m.unmount()
	m.again(append(args, torrents...)...)
	if after := names(t, m.dir); !slices.Equal(after, before) {
		t.Errorf("names were %q, and then %q", before, after)
	}
	same(t, one, m.dir+"/film.bin")
}

// A SOURCE may be a URL.
func TestMountFromURL(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	pub := s.publish("film.bin", 300_000)
	srv := httptest.NewServer(http.FileServer(http.Dir(s.dir)))
	defer srv.Close()
	m := s.mount("--peer", pub.seed.addr, srv.URL+"/film.bin.torrent")
	same(t, pub.file, m.dir+"/film.bin")
	s.fails(3, "404", "info", srv.URL+"/none.torrent")
}

// The tree is read-only, tells about itself, and can be mapped.
func TestFileSystem(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	pub := s.publish("film.bin", 1<<20)
	m := s.mount("--peer", pub.seed.addr, pub.torrent)
	name := m.dir + "/film.bin"
	fi, err := os.Stat(name)
	if err != nil || fi.Mode() != 0o444 || fi.Size() != 1<<20 {
		t.Errorf("stat: %v %v", fi, err)
	}
	for what, err := range map[string]error{
		"write":  os.WriteFile(name, nil, 0o644),
		"create": os.WriteFile(m.dir+"/new", nil, 0o644),
		"remove": os.Remove(name),
		"rename": os.Rename(name, m.dir+"/other"),
		"mkdir":  os.Mkdir(m.dir+"/dir", 0o755),
		"chmod":  os.Chmod(name, 0o666),
	} {
		if !isErrno(err, syscall.EROFS) {
			t.Errorf("%s: %v, want EROFS", what, err)
		}
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := unix.Mmap(int(f.Fd()), 0, 1<<20, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, pub.content) {
		t.Error("mapped, it has other content")
	}
	if err := unix.Munmap(b); err != nil {
		t.Error(err)
	}
	hash := make([]byte, 100)
	n, err := unix.Getxattr(name, "user.qqbtfs.info-hash", hash)
	if err != nil || string(hash[:n]) != s.info(pub.torrent).InfoHash {
		t.Errorf("info-hash in xattr: %q, %v", hash[:max(n, 0)], err)
	}
}

func isErrno(err error, want syscall.Errno) bool {
	switch e := err.(type) {
	case *os.PathError:
		return e.Err == want
	case *os.LinkError:
		return e.Err == want
	}
	return false
}

// "With -v one sees announces, connections, handshakes and completed pieces with a
// running 74 / 79 (93.7%); and with -vv every wire message, by peer."
func TestVerbose(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	host, port := freeAddr(t)
	tracker := host + ":" + itoa(port)
	file := s.write("pub/film.bin", noise(3, 500_000))
	torrent := s.create(file, "--piece-length", "64KiB", "--tracker", "http://"+tracker+"/announce")
	seed := s.seed(torrent, file, "--with-tracker", tracker)
	for flag, words := range map[string][]string{
		"-v":  {"announced", "connected", "8 / 8 (100.0%)", seed.addr},
		"-vv": {"announced", "connected", "8 / 8 (100.0%)", seed.addr, "request 7:0+16384", "piece 0:16384+16384", "interested"},
	} {
		out := s.path("out" + flag)
		r := run(t, s.program("get", flag, torrent, "-o", out, "--listen", "127.0.0.1:0", "--peer", seed.addr, "--log-file", out+".log"))
		log := string(readFile(t, out+".log"))
		for _, word := range words {
			if r.code != 0 || !strings.Contains(log, word) {
				t.Errorf("%s: exit code %d, no %q in the log:\n%.3000s", flag, r.code, word, log)
			}
		}
	}
	r := run(t, s.program("get", "-v", "--log-format", "json", torrent, "-o", s.path("out3"), "--listen", "127.0.0.1:0", "--peer", seed.addr, "--log-file", s.path("json.log")))
	for line := range bytes.Lines(readFile(t, s.path("json.log"))) {
		if r.code != 0 || !json.Valid(line) {
			t.Errorf("exit code %d, log line %s", r.code, line)
		}
	}
}

// The kernel reads less far ahead of what is fetched than of what is here.
func TestReadAhead(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("to set it needs root")
	}
	s := newSandbox(t)
	pub := s.publish("film.bin", 300_000)
	link := "magnet:?xt=urn:btih:" + strings.Repeat("a", 40)
	kib := func(m *mount) string {
		var st unix.Stat_t
		if err := unix.Stat(m.dir, &st); err != nil {
			t.Fatal(err)
		}
		dev := fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev))
		return strings.TrimSpace(string(readFile(t, "/sys/class/bdi/"+dev+"/read_ahead_kb")))
	}
	for _, source := range []string{pub.torrent, link} {
		m := s.mount("--fill", "none", source)
		if got := kib(m); got != "1024" {
			t.Errorf("%s KiB while %s is fetched", got, source)
		}
		m.unmount()
	}
	m := s.mount("--peer", pub.seed.addr, pub.torrent)
	await(t, "4 MiB once all is here", func() bool { return kib(m) == "4096" })
}
