package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// asUser prepares a run of a command by the user that the program runs as.
func (s *sandbox) asUser(name string, args ...string) *exec.Cmd {
	line := append(append(append([]string{}, s.as...), name), args...)
	return s.command(line[0], line[1:]...)
}

// becomeNobody makes the program run as the user nobody, who owns the sandbox from now
// on, in a mount namespace where everybody may use FUSE, as it is on most machines.
func (s *sandbox) becomeNobody() {
	s.t.Helper()
	const uid, gid = 65534, 65534
	for _, name := range []string{"unshare", "nsenter", "setpriv"} {
		need(s.t, name)
	}
	s.bin = s.path("qqbtfs") // the other one may be out of reach
	if err := os.WriteFile(s.bin, readFile(s.t, binary), 0o755); err != nil {
		s.t.Fatal(err)
	}
	err := filepath.WalkDir(s.dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, uid, gid)
	})
	if err != nil {
		s.t.Fatal(err)
	}
	device := s.path("fuse")
	if err := unix.Mknod(device, unix.S_IFCHR|0o666, int(unix.Mkdev(10, 229))); err != nil {
		s.t.Skip("no device can be made here: ", err)
	}
	if err := os.Chmod(device, 0o666); err != nil {
		s.t.Fatal(err)
	}
	space := start(s.t, s.command("unshare", "--mount", "sh", "-c", `mount --bind "$0" /dev/fuse && echo ready && exec sleep 1000`, device))
	space.awaitOutput(s.t, "ready")
	s.as = []string{
		"nsenter", fmt.Sprintf("--mount=/proc/%d/ns/mnt", space.cmd.Process.Pid),
		"setpriv", fmt.Sprintf("--reuid=%d", uid), fmt.Sprintf("--regid=%d", gid), "--clear-groups",
	}
}

// A user without privileges mounts, reads and unmounts.
func TestUnprivilegedUser(t *testing.T) {
	t.Parallel()
	need(t, "fusermount3")
	s := newSandbox(t)
	pub := s.publish("film.bin", 1<<20)
	m := &mount{s, s.mountpoint("mnt")}
	if os.Geteuid() == 0 {
		s.becomeNobody()
	}
	mounted := func() bool { // in the namespace of that user
		return strings.Contains(must(t, s.asUser("cat", "/proc/self/mountinfo")), m.dir)
	}
	m.again("--peer", pub.seed.addr, pub.torrent)
	if got := must(t, s.asUser("cat", m.dir+"/film.bin")); got != string(pub.content) {
		t.Errorf("the mount has other content: %d bytes", len(got))
	}
	m.complete()
	pid := m.status().PID
	m.unmount()
	m.awaitGone(pid)
	if mounted() {
		t.Error("it is still mounted after umount")
	}
	m.again("--peer", nobody, pub.torrent)
	pid = m.status().PID
	must(t, s.asUser("fusermount3", "-u", m.dir))
	m.awaitGone(pid)
	if mounted() {
		t.Error("it is still mounted after fusermount3 -u")
	}
}
