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
// on, in a mount namespace where everybody may use FUSE, as it is on most machines, and
// where more commands of a shell have run.
func (s *sandbox) becomeNobody(commands ...string) *space {
	s.t.Helper()
	const uid, gid = 65534, 65534
	need(s.t, "setpriv")
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
	n := s.space("private", strings.Join(append(commands, "mount --bind "+device+" /dev/fuse"), "\n"))
	s.as = append(n.enter(), asUID(uid)...)
	return n
}

// asUID is what comes before a command line to run it as a user without privileges.
func asUID(uid int) []string {
	return []string{"setpriv", fmt.Sprintf("--reuid=%d", uid), fmt.Sprintf("--regid=%d", uid), "--clear-groups"}
}

// A plain user may let others in where /etc/fuse.conf says so, is told when it does not,
// and without the flag nobody else gets in.
func TestAllowOtherAsPlainUser(t *testing.T) {
	t.Parallel()
	need(t, "fusermount3")
	for name, c := range map[string]struct {
		conf, flag, refusal string
		others              bool
	}{
		"allowed":     {"user_allow_other\n", "--allow-other", "", true},
		"not asked":   {"user_allow_other\n", "--fill=all", "", false},
		"not allowed": {"#user_allow_other\n", "--allow-other", "/etc/fuse.conf needs a line that says user_allow_other", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t)
			pub := s.publish("film.bin", 100_000)
			m := &mount{s, s.mountpoint("mnt")}
			conf := s.write("fuse.conf", []byte(c.conf))
			n := s.becomeNobody("chown root "+conf, "mount --bind "+conf+" /etc/fuse.conf")
			if err := os.Chmod(s.dir, 0o755); err != nil { // others have to get to the mount point
				t.Fatal(err)
			}
			if err := os.Chmod(m.dir, 0o755); err != nil {
				t.Fatal(err)
			}
			args := m.args(c.flag, "--peer", pub.seed.addr, pub.torrent)
			if c.refusal != "" {
				s.fails(4, c.refusal, args...)
				return
			}
			s.qqbtfs(args...)
			for who, command := range map[string][]string{"another user": asUID(65533), "root": {"env"}} {
				r := run(t, n.command(command[0], append(command[1:], "cat", m.dir+"/film.bin")...))
				if got := r.out == string(pub.content); got != c.others {
					t.Errorf("%s reads it: %v, want %v: exit code %d, %s", who, got, c.others, r.code, r.err)
				}
			}
			pid := m.status().PID
			m.unmount()
			m.awaitGone(pid)
			if n.mounted(m.dir) {
				t.Error("it is still mounted")
			}
		})
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
