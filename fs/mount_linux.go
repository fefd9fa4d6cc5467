package fs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// connection is our end of a mount: the open /dev/fuse. We mount by ourselves and
// hand go-fuse the descriptor, for errors that say what is wrong and to be able to
// ask whether the connection still stands.
type connection struct {
	dir   string
	fd    int    // given to go-fuse, which closes it; -1 once given
	probe int    // our duplicate, for poll
	dev   string // major:minor of the mount
}

// connect mounts at dir, directly as root and through fusermount3 as anybody else.
func connect(dir string, opt Options) (*connection, error) {
	mount := mountFusermount
	if os.Geteuid() == 0 {
		mount = mountDirect
	}
	fd, err := mount(dir, opt)
	if err != nil {
		return nil, err
	}
	c := &connection{dir: dir, fd: fd, probe: -1}
	if c.probe, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0); err != nil {
		c.close()
		return nil, err
	}
	if m, ok := mountedAt(dir); ok {
		c.dev = m.Dev
	}
	return c, nil
}

// serve starts the protocol. The kernel's first request is answered when it returns.
func (c *connection) serve(raw fuse.RawFileSystem, opt Options) (*fuse.Server, error) {
	fd := c.fd
	c.fd = -1 // go-fuse closes it in any case
	server, err := fuse.NewServer(raw, "/dev/fd/"+strconv.Itoa(fd), opt.fuse())
	if err == nil {
		c.setReadAhead(opt.MaxReadAhead)
		return server, nil
	}
	detach(c.dir)
	return nil, err
}

// ready has nothing to wait for: a mount made by mount(2) is there.
func (c *connection) ready(*fuse.Server) error { return nil }

func (c *connection) close() {
	if c.fd >= 0 {
		detach(c.dir)
		unix.Close(c.fd)
	}
	if c.probe >= 0 {
		unix.Close(c.probe)
	}
}

// ended reports whether the kernel has closed the connection: unmounted or aborted.
func (c *connection) ended() bool {
	p := []unix.PollFd{{Fd: int32(c.probe)}}
	n, err := unix.Poll(p, 0)
	return err == nil && n == 1 && p[0].Revents&unix.POLLERR != 0
}

// abandoned implements filesystem.abandoned.
func (c *connection) abandoned(pid uint32, _ bool) bool { return c.ended() || dying(int(pid)) }

// setReadAhead lifts the limit of 128 KiB that the kernel gives to FUSE, which
// costs half of the speed of a sequential read. It needs root and is not needed for
// anything else, so failure is no news.
func (c *connection) setReadAhead(n int) {
	if c.dev == "" || n <= 0 {
		return
	}
	file := filepath.Join("/sys/class/bdi", c.dev, "read_ahead_kb")
	os.WriteFile(file, strconv.AppendInt(nil, int64(n>>10), 10), 0)
}

// mountDirect mounts by mount(2).
func mountDirect(dir string, opt Options) (fd int, err error) {
	fd, err = unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, deviceError(err)
	}
	data := fmt.Sprintf("fd=%d,rootmode=%o,user_id=%d,group_id=%d,max_read=%d",
		fd, unix.S_IFDIR, os.Geteuid(), os.Getegid(), maxRequest)
	if opt.AllowOther {
		data += ",allow_other,default_permissions"
	}
	const flags = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV
	if err = unix.Mount(opt.FSName, dir, "fuse."+subtype, flags, data); err != nil {
		unix.Close(fd)
		if errors.Is(err, unix.EPERM) {
			err = fmt.Errorf("%w (a container needs CAP_SYS_ADMIN for it)", err)
		}
		return -1, err
	}
	return fd, nil
}

func deviceError(err error) error {
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV):
		return errors.New(`there is no /dev/fuse: load the kernel's module with "modprobe fuse", or give the device to this container`)
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("/dev/fuse: %w", err)
	}
	return fmt.Errorf("open /dev/fuse: %w", err)
}

// mountFusermount has the set-uid helper mount, which passes the descriptor back
// over a socket.
func mountFusermount(dir string, opt Options) (int, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "fusermount"), os.NewFile(uintptr(pair[1]), "fusermount")
	defer ours.Close()
	defer theirs.Close()

	flags := append(opt.flags(), "fsname="+escapeOption(opt.FSName), "subtype="+subtype,
		"max_read="+strconv.Itoa(maxRequest))
	if opt.AllowOther {
		flags = append(flags, "allow_other")
	}
	if err := fusermount([]*os.File{theirs}, "-o", strings.Join(flags, ","), "--", dir); err != nil {
		return -1, err
	}
	return receiveFD(int(ours.Fd()))
}

func escapeOption(s string) string { return strings.NewReplacer(`\`, `\\`, `,`, `\,`).Replace(s) }

// receiveFD reads the one descriptor that is sent over a socket.
func receiveFD(socket int) (int, error) {
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(socket, make([]byte, 1), oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return -1, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil {
		return -1, err
	}
	for _, m := range messages {
		if fds, err := unix.ParseUnixRights(&m); err == nil && len(fds) == 1 {
			return fds[0], nil
		}
	}
	return -1, errors.New("fusermount3 gave no descriptor")
}

// fusermount runs the helper; its error is the last line that it said.
func fusermount(files []*os.File, args ...string) error {
	bin, err := exec.LookPath("fusermount3")
	if err != nil {
		if bin, err = exec.LookPath("/bin/fusermount3"); err != nil {
			return errors.New("fusermount3 is not installed: it is in the package fuse3")
		}
	}
	var said bytes.Buffer
	cmd := exec.Command(bin, args...)
	cmd.Stderr, cmd.ExtraFiles = &said, files
	cmd.Env = append(os.Environ(), "_FUSE_COMMFD=3", "LC_ALL=C")
	if err = cmd.Run(); err == nil {
		return nil
	}
	lines := strings.Split(strings.TrimSpace(said.String()), "\n")
	switch line := lines[len(lines)-1]; {
	case line == "":
		return fmt.Errorf("fusermount3: %w", err)
	case strings.HasSuffix(line, "Device or resource busy"):
		return unix.EBUSY
	default:
		return errors.New(line)
	}
}
