package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// holders use a mount in every way that keeps it busy: an open file, a mapped one, a
// directory that somebody is in, and a read that waits.
type holders struct {
	file    *os.File
	mapped  []byte
	shell   *process
	blocked *process
}

// hold uses the torrents of TestUnmountInUse.
func hold(t *testing.T, m *mount) *holders {
	t.Helper()
	f, err := os.Open(m.dir + "/live.bin")
	if err != nil {
		t.Fatal(err)
	}
	h := &holders{file: f}
	if h.mapped, err = unix.Mmap(int(f.Fd()), 0, 64<<10, unix.PROT_READ, unix.MAP_SHARED); err != nil {
		t.Fatal(err)
	}
	if h.mapped[0] != noise(1<<20, 1)[0] {
		t.Error("mapped, it has other content")
	}
	h.shell = start(t, m.s.command("sh", "-c", `cd "$0" && echo inside && exec sleep 1000`, m.dir))
	h.shell.awaitOutput(t, "inside")
	h.blocked = start(t, m.s.command("cat", m.dir+"/dead.bin"))
	await(t, "a read that waits", func() bool { return m.status().named(t, "dead.bin").Waits > 0 })
	return h
}

// release gives all of it back. The reader that waited must have got an error.
func (h *holders) release(t *testing.T) {
	t.Helper()
	if h.blocked.wait(t) == nil {
		t.Error("the read of a dead piece succeeded")
	}
	_ = h.shell.cmd.Process.Kill()
	if err := unix.Munmap(h.mapped); err != nil {
		t.Error(err)
	}
	h.file.Close()
}

// "It always stops. Unmount with blocked reads, open files, open mmaps, a hung tracker:
// <= 2 s, exit code says how. SIGTERM, SIGINT, fusermount3 -u, umount -l, abort through
// /sys/fs/fuse/connections, kill -9 and start again over the stale mount. No goroutine,
// fd, mount or temporary file is left."
func TestUnmountInUse(t *testing.T) {
	t.Parallel()
	signal := func(sig syscall.Signal) func(*testing.T, *mount, *process) {
		return func(t *testing.T, _ *mount, p *process) { _ = p.cmd.Process.Signal(sig) }
	}
	for name, end := range map[string]func(t *testing.T, m *mount, p *process){
		"umount":  func(t *testing.T, m *mount, _ *process) { m.s.qqbtfs("umount", m.dir) },
		"SIGTERM": signal(syscall.SIGTERM),
		"SIGINT":  signal(syscall.SIGINT),
		"umount -l": func(t *testing.T, m *mount, _ *process) {
			must(t, m.s.command(need(t, "fusermount3"), "-u", "-z", m.dir))
		},
		"abort": abort,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t)
			s.env = append(s.env, "TMPDIR="+s.mkdir("tmp"))
			live := s.publish("live.bin", 1<<20)
			dead := s.lonely("dead.bin", 1<<20)
			url, _ := hungTracker(t)
			s.qqbtfs("create", dead.file, "-o", dead.torrent, "--force", "--tracker", url)
			m, p := s.foreground("--peer", live.seed.addr, live.torrent, dead.torrent)
			h := hold(t, m)
			within(t, unmountLimit, name, func() {
				end(t, m, p)
				if err := p.wait(t); err != nil && !(name == "umount -l" && leftOpen(err, p)) {
					t.Errorf("it ended with %v", err)
				}
			})
			h.release(t)
			m.awaitGone(p.cmd.Process.Pid)
			s.noTempFiles()
		})
	}
}

// leftOpen reports whether a process says, also by its exit code, that it has ended
// while programs had files open: it could not take them away, because nobody has mounted
// the control file system of FUSE.
func leftOpen(err error, p *process) bool {
	exit, ok := err.(*exec.ExitError)
	return ok && exit.ExitCode() == 4 && strings.Contains(p.out.String(), "programs still have files of it open")
}

// abort ends a mount's connection as an administrator does.
func abort(t *testing.T, m *mount, _ *process) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(m.dir, &st); err != nil {
		t.Fatal(err)
	}
	control := "/sys/fs/fuse/connections"
	if len(names(t, control)) == 0 { // it is not mounted
		control = m.s.mkdir("fusectl")
		if err := unix.Mount("none", control, "fusectl", 0, ""); err != nil {
			m.unmount()
			t.Skip("no control of FUSE connections here: ", err)
		}
		defer func() {
			if err := unix.Unmount(control, 0); err != nil {
				t.Error(err)
			}
		}()
	}
	if err := os.WriteFile(control+"/"+itoa(int(unix.Minor(st.Dev)))+"/abort", []byte("1"), 0); err != nil {
		t.Error(err)
	}
}

// noTempFiles fails the test if the program has left some.
func (s *sandbox) noTempFiles() {
	s.t.Helper()
	if left := names(s.t, s.path("tmp")); len(left) > 0 {
		s.t.Errorf("temporary files are left: %q", left)
	}
	err := filepath.WalkDir(s.path("cache"), func(path string, d os.DirEntry, err error) error {
		if base := filepath.Base(path); strings.Contains(base, "tmp") || base == "lock.new" {
			s.t.Errorf("%s is left", path)
		}
		return err
	})
	if err != nil {
		s.t.Error(err)
	}
}

// A killed mount that programs still use can be mounted over at once. They get errors,
// and the new mount works.
func TestKilledInUse(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	live := s.publish("live.bin", 1<<20)
	dead := s.lonely("dead.bin", 1<<20)
	m := s.mount("--peer", live.seed.addr, live.torrent, dead.torrent)
	h := hold(t, m)
	pid := m.status().PID
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await(t, "the end", func() bool { return !alive(pid) })
	within(t, unmountLimit, "mounting again", func() { m.again("--peer", live.seed.addr, live.torrent, dead.torrent) })
	same(t, live.file, m.dir+"/live.bin")
	h.release(t)
	within(t, unmountLimit, "the unmount", m.unmount)
}
