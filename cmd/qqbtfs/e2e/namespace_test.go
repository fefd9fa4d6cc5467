package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// space is a mount namespace, held by a process that sleeps in it.
type space struct {
	*process
	s *sandbox
}

// space makes a mount namespace in which script has run. Mounts come and go in it as
// unshare(1) --propagation says.
func (s *sandbox) space(propagation, script string) *space {
	s.t.Helper()
	need(s.t, "unshare")
	need(s.t, "nsenter")
	if os.Geteuid() != 0 {
		s.t.Skip("needs root to make a mount namespace")
	}
	p := start(s.t, s.command("unshare", "--mount", "--propagation", propagation, "sh", "-ec", script+"\necho ready\nexec sleep 1000"))
	p.awaitOutput(s.t, "ready")
	return &space{p, s}
}

// enter is what comes before a command line to run it in there.
func (n *space) enter() []string {
	return []string{"nsenter", fmt.Sprintf("--mount=/proc/%d/ns/mnt", n.cmd.Process.Pid)}
}

// command prepares a run of some program in there.
func (n *space) command(name string, args ...string) *exec.Cmd {
	line := append(append(n.enter(), name), args...)
	return n.s.command(line[0], line[1:]...)
}

// mounted reports whether a directory is a mount point in there.
func (n *space) mounted(dir string) bool {
	n.s.t.Helper()
	return strings.Contains(must(n.s.t, n.command("cat", "/proc/self/mountinfo")), " "+dir+" ")
}

// Where the control file system of FUSE is mounted, as it is on most machines, an
// unmount ends programs that use the mount also after a lazy unmount from outside, and
// an abort through it ends the mount. The exit code is 0 then.
func TestControlFileSystem(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]string{
		"lazy unmount": `umount -l "$0"`,
		"abort":        `echo 1 > /sys/fs/fuse/connections/$(mountpoint -d "$0" | cut -d: -f2)/abort`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t)
			live, dead := s.publish("live.bin", 1<<20), s.lonely("dead.bin", 1<<20)
			n := s.space("private", "mountpoint -q /sys/fs/fuse/connections || mount -t fusectl none /sys/fs/fuse/connections")
			s.as = n.enter()
			m, p := s.foreground("--peer", live.seed.addr, live.torrent, dead.torrent)
			holder := start(t, n.command("sh", "-c", `exec 3<"$0/live.bin" && cd "$0" && echo inside && exec sleep 1000`, m.dir))
			holder.awaitOutput(t, "inside")
			blocked := start(t, n.command("cat", m.dir+"/dead.bin"))
			await(t, "a read that waits", func() bool { return m.status().named(t, "dead.bin").Waits > 0 })
			within(t, unmountLimit, name, func() {
				must(t, n.command("sh", "-ec", end, m.dir))
				if err := p.wait(t); err != nil {
					t.Errorf("it ended with %v: %s", err, p.out.tail(500))
				}
			})
			if blocked.wait(t) == nil {
				t.Error("the read of a dead piece succeeded")
			}
			if n.mounted(m.dir) {
				t.Error("it is still mounted")
			}
			_ = holder.cmd.Process.Kill()
			m.awaitGone(p.cmd.Process.Pid)
		})
	}
}

// A namespace that was made after the mount has a copy of it, which nobody outside can
// unmount. The unmount of the first ends the process nevertheless; it says why it could
// not wait for more, and programs in there get errors.
func TestSecondNamespace(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(t *testing.T, m *mount, p *process){
		"SIGTERM":       func(_ *testing.T, _ *mount, p *process) { _ = p.cmd.Process.Signal(syscall.SIGTERM) },
		"qqbtfs umount": func(t *testing.T, m *mount, _ *process) { _ = run(t, m.s.program("umount", m.dir)) },
		"umount":        func(t *testing.T, m *mount, _ *process) { must(t, m.s.command("umount", m.dir)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t)
			live := s.publish("live.bin", 1<<20)
			m, p := s.foreground("--peer", live.seed.addr, live.torrent)
			same(t, live.file, m.dir+"/live.bin")
			n := s.space("private", "exec 3<"+m.dir+"/live.bin")
			if !n.mounted(m.dir) {
				t.Fatal("the namespace has no copy of the mount")
			}
			within(t, unmountLimit, name, func() {
				end(t, m, p)
				err := p.wait(t)
				if exit := (*exec.ExitError)(nil); err != nil && (!errors.As(err, &exit) || !leftOpen(err, p)) {
					t.Errorf("it ended with %v: %s", err, p.out.tail(500))
				}
			})
			m.awaitGone(p.cmd.Process.Pid)
			if r := run(t, n.command("cat", m.dir+"/live.bin")); r.code == 0 {
				t.Error("the copy of the mount can still be read")
			}
			// The place is free, whatever the copy is.
			m.again("--peer", live.seed.addr, live.torrent)
			same(t, live.file, m.dir+"/live.bin")
			m.unmount()
		})
	}
}

// Where mounts are shared between namespaces, as systemd does it, the unmount of one is
// that of all.
func TestSharedNamespaces(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	live := s.publish("live.bin", 1<<20)
	shared := s.mkdir("shared")
	first := s.space("private", fmt.Sprintf("mount --bind %[1]s %[1]s && mount --make-shared %[1]s && mkdir -p %[1]s/mnt", shared))
	s.as = first.enter()
	second := &space{start(t, first.command("unshare", "--mount", "--propagation", "unchanged", "sh", "-ec", "echo ready\nexec sleep 1000")), s}
	second.awaitOutput(t, "ready")
	m := &mount{s, shared + "/mnt"}
	p := start(t, s.program(m.args("-f", "--peer", live.seed.addr, live.torrent)...))
	p.awaitOutput(t, " mounted ")
	if got := must(t, second.command("cat", m.dir+"/live.bin")); got != string(live.content) {
		t.Errorf("in the second namespace it has other content: %d bytes", len(got))
	}
	within(t, unmountLimit, "the unmount in the second", func() {
		must(t, second.command("umount", m.dir))
		if err := p.wait(t); err != nil {
			t.Errorf("it ended with %v: %s", err, p.out.tail(500))
		}
	})
	if first.mounted(m.dir) || second.mounted(m.dir) {
		t.Error("it is still mounted")
	}
	m.awaitGone(p.cmd.Process.Pid)
}
