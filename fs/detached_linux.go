package fs

import (
	"encoding/binary"
	"os"

	"golang.org/x/sys/unix"
)

// watch closes f.detached once the mount has left the mount table, until stop is
// written to. After a lazy unmount the kernel keeps the connection for as long as a
// file is open, and tells the daemon nothing.
func (f *FS) watch(stop *os.File) {
	// Not with os.Open: a change is told only once, and Go's own poller would take it.
	table, err := unix.Open("/proc/self/mountinfo", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		f.opt.Logger.Warn("a lazy unmount will not be noticed", "err", err)
		return
	}
	defer unix.Close(table)
	fds := []unix.PollFd{
		{Fd: int32(table), Events: unix.POLLPRI}, // proc(5): a change of the table
		{Fd: int32(stop.Fd()), Events: unix.POLLIN},
	}
	for {
		if !f.mounted() {
			close(f.detached)
			return
		}
		if _, err := unix.Poll(fds, -1); err != nil && err != unix.EINTR {
			f.opt.Logger.Warn("a lazy unmount will not be noticed", "err", err)
			return
		}
		if fds[1].Revents != 0 {
			return
		}
	}
}

// watched runs serve with watch beside it.
func (f *FS) watched(serve func()) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		f.opt.Logger.Warn("a lazy unmount will not be noticed", "err", err)
		serve()
		return
	}
	stop := os.NewFile(uintptr(fd), "eventfd")
	defer stop.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.watch(stop)
	}()
	serve()
	_, _ = stop.Write(binary.NativeEndian.AppendUint64(nil, 1))
	<-done
}
