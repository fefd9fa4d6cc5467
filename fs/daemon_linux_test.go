package fs_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/qqbtfs/qqbtfs/fs"
	"github.com/qqbtfs/qqbtfs/fs/fstest"
)

// childEnv makes the test binary another process of the test: a daemon ("mount DIR",
// "mount-other DIR") or a program that uses a mount ("umount DIR", "mmap FILE",
// "mmap-random FILE").
const childEnv = "QQBTFS_FS_TEST_CHILD"

const nobody = 65534

// deviceEnv names a device that the test binary puts in the place of /dev/fuse, in a mount
// namespace of its own.
const deviceEnv = "QQBTFS_FS_TEST_DEVICE"

func TestMain(m *testing.M) {
	if device := os.Getenv(deviceEnv); device != "" {
		if err := unix.Mount(device, "/dev/fuse", "", unix.MS_BIND, ""); err != nil {
			fmt.Println("bind:", err)
			os.Exit(1)
		}
		os.Unsetenv(deviceEnv)
	}
	if job := os.Getenv(childEnv); job != "" {
		what, dir, _ := strings.Cut(job, " ")
		if err := child(what, dir); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// childTorrent has its first half.
func childTorrent() *fstest.Torrent {
	t := fstest.New(fstest.Config{Name: "half", Length: 1 << 20, PieceLength: 1 << 19})
	t.Arrive(0)
	return t
}

func child(what, dir string) error {
	opt := own
	switch what {
	case "umount":
		return fs.Unmount(dir)
	case "mmap", "mmap-random":
		return mapFile(dir, what == "mmap-random")
	case "mount-other":
		opt.AllowOther = true
	}
	tor := childTorrent()
	f, err := fs.Mount(dir, []fs.Torrent{tor}, opt)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	go func() {
		tor.Await(context.Background(), func(s fstest.State) bool { return s.Waiting > 0 })
		fmt.Println("waiting")
	}()
	go func() { // the parent says stop by closing our input
		io.Copy(io.Discard, os.Stdin)
		start := time.Now()
		if err := f.Unmount(context.Background()); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("stopped in", time.Since(start))
		os.Exit(0)
	}()
	<-f.Done()
	select {} // the line above decides
}

// mapFile maps a file, for reading in order or at random, prints its hash and keeps it mapped until its input is closed.
func mapFile(name string, random bool) error {
	fd, err := unix.Open(name, unix.O_RDONLY, 0)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	p, err := unix.Mmap(fd, 0, int(st.Size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	unix.Close(fd)
	if random {
		if err := unix.Madvise(p, unix.MADV_RANDOM); err != nil {
			return err
		}
	}
	fmt.Printf("%x\n", sha256.Sum256(p))
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// process is a running child.
type process struct {
	*exec.Cmd
	in  io.Closer
	out *bufio.Reader
}

func asUser(cmd *exec.Cmd, uid uint32) *exec.Cmd {
	if uid != uint32(os.Geteuid()) {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	}
	cmd.Dir = "/"
	return cmd
}

// start runs the test binary again; exe is a copy that the user can execute.
func start(t *testing.T, exe string, uid uint32, job string) *process {
	t.Helper()
	cmd := asUser(exec.Command(exe), uid)
	cmd.Env = append(os.Environ(), childEnv+"="+job)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return &process{cmd, in, bufio.NewReader(out)}
}

// line is the child's next line of output.
func (p *process) line() string {
	s, _ := p.out.ReadString('\n')
	return strings.TrimSpace(s)
}

// asPlainUser runs f with a directory that belongs to nobody, and a copy of this binary.
// Where plain users may not open /dev/fuse the whole test runs in another process, in a
// mount namespace where they may.
func asPlainUser(t *testing.T, f func(t *testing.T, dir, exe string)) {
	t.Helper()
	fstest.Require(t)
	if os.Geteuid() != 0 {
		t.Skip("needs root to become another user")
	}
	if _, err := exec.LookPath("fusermount3"); err != nil {
		t.Skip("no fusermount3")
	}
	if st, err := os.Stat("/dev/fuse"); err != nil || st.Mode().Perm()&0o006 != 0o006 {
		withDevice(t)
		return
	}
	dir, exe := plainUser(t)
	f(t, dir, exe)
}

// withDevice runs the test again where everybody may open /dev/fuse, as udev makes it on
// most machines.
func withDevice(t *testing.T) {
	t.Helper()
	device := filepath.Join(t.TempDir(), "fuse")
	if err := unix.Mknod(device, unix.S_IFCHR, int(unix.Mkdev(10, 229))); err != nil {
		t.Skip("/dev/fuse is not for plain users, and no other can be made: ", err)
	}
	if err := os.Chmod(device, 0o666); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.count=1", "-test.v")
	cmd.Env = append(os.Environ(), deviceEnv+"="+device)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS} // and all mounts private
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("in a mount namespace of its own: %v\n%s", err, out)
	}
}

// plainUser makes a directory that belongs to nobody, with a copy of this binary
// beside it.
func plainUser(t *testing.T) (dir, exe string) {
	t.Helper()
	base, err := os.MkdirTemp("", "fs-plain-user")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(base) })
	dir, exe = filepath.Join(base, "mnt"), filepath.Join(base, "fs.test")
	binary, err := os.ReadFile("/proc/self/exe")
	for _, err := range []error{err, os.Chmod(base, 0o755), os.WriteFile(exe, binary, 0o755),
		os.Mkdir(dir, 0o755), os.Chown(dir, nobody, nobody)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	fstest.Guard(t, dir)
	return dir, exe
}

func TestStaleMountIsCleared(t *testing.T) {
	fstest.Require(t)
	dir := t.TempDir()
	fstest.Guard(t, dir)
	if cleared, err := fs.ClearStale(dir); cleared || err != nil {
		t.Errorf("nothing there: %v, %v", cleared, err)
	}
	for _, how := range []string{"clear", "unmount", "mount"} {
		p := start(t, "/proc/self/exe", uint32(os.Geteuid()), "mount "+dir)
		if s := p.line(); s != "ready" {
			t.Fatal(s)
		}
		if cleared, err := fs.ClearStale(dir); cleared || err != nil {
			t.Fatalf("a living mount: %v, %v", cleared, err)
		}
		if _, err := fs.Mount(dir, nil, own); err == nil || !strings.Contains(err.Error(), "umount") {
			t.Fatalf("mounted over a living mount: %v", err)
		}
		file, err := os.Open(filepath.Join(dir, "half")) // keeps it busy
		if err != nil {
			t.Fatal(err)
		}
		p.Process.Kill()
		p.Wait()
		if _, err := os.ReadDir(dir); err == nil {
			t.Fatal("the dead mount answers")
		}
		switch how {
		case "clear":
			if cleared, err := fs.ClearStale(dir); !cleared || err != nil {
				t.Errorf("clear: %v, %v", cleared, err)
			}
		case "unmount":
			if err := fs.Unmount(dir); err != nil {
				t.Error(err)
			}
		case "mount":
			f, err := fs.Mount(dir, []fs.Torrent{childTorrent()}, own)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(filepath.Join(dir, "half")); err != nil {
				t.Error(err)
			}
			if err := f.Unmount(t.Context()); err != nil {
				t.Error(err)
			}
		}
		file.Close()
		if names, err := os.ReadDir(dir); err != nil || len(names) != 0 {
			t.Fatalf("%s: after that the directory has %v, %v", how, names, err)
		}
	}
	if err := fs.Unmount(dir); err == nil || !strings.Contains(err.Error(), "no qqbtfs") {
		t.Errorf("unmounting nothing: %v", err)
	}
}

func TestPlainUser(t *testing.T) { asPlainUser(t, mountAndUnmount) }

func mountAndUnmount(t *testing.T, dir, exe string) {
	p := start(t, exe, nobody, "mount "+dir)
	if s := p.line(); s != "ready" {
		t.Fatal(s)
	}
	mounts, err := fs.Mounts()
	if err != nil || !contains(mounts, dir) {
		t.Errorf("not in the list of mounts: %v, %v", mounts, err)
	}
	got, err := asUser(exec.Command("head", "-c", "262144", dir+"/half"), nobody).Output()
	if err != nil || string(got) != string(childTorrent().Content(0)[:1<<18]) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
	if s := start(t, exe, nobody, "umount "+dir).line(); s != "" {
		t.Errorf("a plain user cannot unmount their own: %s", s)
	}
	if mounts, _ := fs.Mounts(); contains(mounts, dir) {
		t.Error("still mounted")
	}
}

func contains(mounts []fs.MountPoint, dir string) bool {
	for _, m := range mounts {
		if m.Dir == dir {
			return m.Source == "qqbtfs"
		}
	}
	return false
}

// A plain user's daemon cannot end its connection as root can.
func TestPlainUserStopsWithABlockedReader(t *testing.T) { asPlainUser(t, stopWithABlockedReader) }

func stopWithABlockedReader(t *testing.T, dir, exe string) {
	p := start(t, exe, nobody, "mount "+dir)
	if s := p.line(); s != "ready" {
		t.Fatal(s)
	}
	reader := asUser(exec.Command("cat", dir+"/half"), nobody)
	if err := reader.Start(); err != nil {
		t.Fatal(err)
	}
	if s := p.line(); s != "waiting" {
		t.Fatal(s)
	}
	if s := start(t, exe, nobody, "umount "+dir).line(); !strings.Contains(s, "busy") {
		t.Errorf("a busy mount: %q", s)
	}
	begin := time.Now()
	p.in.Close()
	said := p.line()
	if err := reader.Wait(); err == nil {
		t.Error("the reader got to an end")
	}
	if took := time.Since(begin); took > 2500*time.Millisecond {
		t.Errorf("took %v, %q", took, said)
	}
	if mounts, _ := fs.Mounts(); contains(mounts, dir) {
		t.Error("still mounted")
	}
}

func TestPlainUserIsToldWhy(t *testing.T) { asPlainUser(t, tellWhy) }

func tellWhy(t *testing.T, dir, exe string) {
	if s := start(t, exe, nobody, "mount /usr").line(); !strings.Contains(s, "/usr") || !strings.Contains(s, "may not write") {
		t.Errorf("at /usr: %q", s)
	}
	conf, _ := os.ReadFile("/etc/fuse.conf")
	if strings.Contains("\n"+string(conf), "\nuser_allow_other") {
		t.Skip("/etc/fuse.conf lets plain users set allow_other")
	}
	if s := start(t, exe, nobody, "mount-other "+dir).line(); !strings.Contains(s, "user_allow_other") {
		t.Errorf("allow_other: %q", s)
	}
}
