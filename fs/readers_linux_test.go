package fs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/qqbtfs/qqbtfs/fs"
	"github.com/qqbtfs/qqbtfs/fs/fstest"
)

// pread reads in a goroutine and sends the error.
func pread(t *testing.T, name string, off int64) <-chan error {
	t.Helper()
	fd, err := unix.Open(name, unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	result := make(chan error, 1)
	go func() {
		_, err := unix.Pread(fd, make([]byte, 4096), off)
		unix.Close(fd)
		result <- err
	}()
	return result
}

// within fails the test if f takes longer than d.
func within(t *testing.T, d time.Duration, what string, f func()) {
	t.Helper()
	start := time.Now()
	f()
	if took := time.Since(start); took > d {
		t.Errorf("%s took %v", what, took)
	}
}

func waiting(n int) func(fstest.State) bool {
	return func(s fstest.State) bool { return s.Waiting >= n }
}

func TestReadWaitsForItsPiece(t *testing.T) {
	tor := fstest.New(fstest.Config{Name: "x", Length: 1 << 20})
	f := fstest.Mount(t, own, tor)
	result := pread(t, f.Dir()+"/x", 500_000)
	await(t, tor, waiting(1))
	select {
	case err := <-result:
		t.Fatal("did not wait: ", err)
	default:
	}
	tor.Complete()
	if err := <-result; err != nil {
		t.Error(err)
	}
}

// With the kernel's default of 12 the live file would have to wait for the others.
func TestDeadReadersDoNotStallALiveFile(t *testing.T) {
	dead := fstest.Config{Name: "dead", PieceLength: 1 << 20}
	for i := range 16 {
		dead.Files = append(dead.Files, fs.File{Path: []string{fmt.Sprint(i)}, Length: 4 << 20})
	}
	tor := fstest.New(dead)
	live := fstest.New(fstest.Config{Name: "live", Length: 4 << 20}).Complete()
	f := fstest.Mount(t, own, tor, live)
	var results []<-chan error
	for i := range 16 {
		results = append(results, pread(t, fmt.Sprintf("%s/dead/%d", f.Dir(), i), 0))
	}
	await(t, tor, waiting(16))
	within(t, 10*time.Second, "reading the live file", func() {
		got, err := exec.Command("cat", f.Dir()+"/live").Output()
		if err != nil || !bytes.Equal(got, live.Content(0)) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	})
	tor.Fail(os.ErrDeadlineExceeded)
	for _, result := range results {
		if err := <-result; err != unix.ETIMEDOUT {
			t.Errorf("a read that timed out says %v", err)
		}
	}
}

func TestReadErrors(t *testing.T) {
	for err, want := range map[error]syscall.Errno{
		os.ErrDeadlineExceeded: unix.ETIMEDOUT,
		os.ErrClosed:           unix.EIO,
		errors.New("bad"):      unix.EIO,
	} {
		tor := fstest.New(fstest.Config{Name: "x", Length: 100_000}).Complete()
		f := fstest.Mount(t, own, tor)
		tor.Fail(err)
		if got := <-pread(t, f.Dir()+"/x", 0); got != want {
			t.Errorf("%v is %v, want %v", err, got, want)
		}
		tor.Fail(nil) // nothing is remembered of it
		if got := <-pread(t, f.Dir()+"/x", 0); got != nil {
			t.Errorf("after %v: %v", err, got)
		}
	}
}

// A handle that answers short must not become zeros in the page cache.
func TestShortAnswerIsAnError(t *testing.T) {
	tor := &shortTorrent{fstest.New(fstest.Config{Name: "x", Length: 100_000})}
	f := fstest.Mount(t, own, tor)
	if err := <-pread(t, f.Dir()+"/x", 0); err != unix.EIO {
		t.Errorf("a short answer: %v", err)
	}
}

type shortTorrent struct{ *fstest.Torrent }

func (*shortTorrent) Open(int) (fs.Handle, error) { return short{}, nil }

type short struct{}

func (short) Read(_ context.Context, p []byte, _ int64) (fs.Data, error) {
	return fs.Data{Parts: [][]byte{p[:len(p)/2]}}, nil
}
func (short) Close() error { return nil }

// The kernel does not tell of the death of a reader, be it that pages are read ahead
// for it (cat) or that it has a mapping in random order, where it hangs unkillable
// until its read is answered.
func TestKilledReaderLeavesNothing(t *testing.T) {
	tor := fstest.New(fstest.Config{Name: "d", Files: []fs.File{
		{Path: []string{"a"}, Length: 1 << 20}, {Path: []string{"b"}, Length: 1 << 20}}})
	f := fstest.Mount(t, own, tor)
	cat := exec.Command("cat", f.Dir()+"/d/a")
	random := start(t, "/proc/self/exe", uint32(os.Geteuid()), "mmap-random "+f.Dir()+"/d/b")
	if err := cat.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, tor, func(s fstest.State) bool { return s.Waiting >= 2 && s.Open == 2 })
	within(t, 4*time.Second, "the end of the readers", func() {
		for _, p := range []*exec.Cmd{cat, random.Cmd} {
			p.Process.Kill()
			p.Wait()
		}
		await(t, tor, func(s fstest.State) bool { return s.Waiting == 0 && s.Open == 0 })
	})
}

// A signal that a program handles must not disturb its reads.
func TestHandledSignalDoesNotEndARead(t *testing.T) {
	tor := fstest.New(fstest.Config{Name: "x", Length: 1 << 20})
	f := fstest.Mount(t, own, tor)
	p := start(t, "/proc/self/exe", uint32(os.Geteuid()), "mmap-random "+f.Dir()+"/x")
	await(t, tor, waiting(1))
	for range 20 {
		p.Process.Signal(unix.SIGURG)
	}
	tor.Complete()
	if s := p.line(); s == "" {
		t.Error("the reader died")
	}
}

// holders keep a mount busy in every way there is.
func holders(t *testing.T, f *fs.FS, tor *fstest.Torrent) (blocked <-chan error) {
	t.Helper()
	fd, err := unix.Open(f.Dir()+"/d/live", unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	mapped := start(t, "/proc/self/exe", uint32(os.Geteuid()), "mmap "+f.Dir()+"/d/live")
	mapped.line()
	blocked = pread(t, f.Dir()+"/d/dead", 0)
	await(t, tor, waiting(1))
	return blocked
}

func halfDead() *fstest.Torrent {
	tor := fstest.New(fstest.Config{Name: "d", Files: []fs.File{
		{Path: []string{"live"}, Length: 16384}, {Path: []string{"dead"}, Length: 100_000}}})
	tor.Arrive(0)
	return tor
}

func TestUnmountWhileBusy(t *testing.T) {
	tor := halfDead()
	f := fstest.Mount(t, own, tor)
	blocked := holders(t, f, tor)
	within(t, 2*time.Second, "the unmount", func() {
		if err := f.Unmount(t.Context()); err != nil {
			t.Error(err)
		}
	})
	<-f.Done()
	if err := <-blocked; err == nil {
		t.Error("the blocked read got an answer")
	}
	if s := tor.State(); s.Open != 0 || s.Waiting != 0 {
		t.Errorf("left behind: %+v", s)
	}
	if err := f.Unmount(t.Context()); err != nil {
		t.Errorf("a second unmount: %v", err)
	}
}

func TestUnmountFromOutside(t *testing.T) {
	tor := halfDead()
	f := fstest.Mount(t, own, tor)
	if err := exec.Command("umount", f.Dir()).Run(); err != nil {
		t.Fatal(err)
	}
	<-f.Done()

	tor = halfDead()
	f = fstest.Mount(t, own, tor)
	blocked := holders(t, f, tor)
	if err := fs.Unmount(f.Dir()); !errors.Is(err, fs.ErrBusy) {
		t.Errorf("a busy mount: %v", err)
	}
	within(t, 2*time.Second, "the end after being detached", func() {
		if err := fs.Detach(f.Dir()); err != nil {
			t.Error(err)
		}
		<-f.Done()
		<-blocked
	})
}

func TestNothingIsLeaked(t *testing.T) {
	fstest.Require(t)
	dir := t.TempDir()
	fstest.Guard(t, dir)
	cycle := func() {
		tor := halfDead()
		f, err := fs.Mount(dir, []fs.Torrent{tor}, own)
		if err != nil {
			t.Fatal(err)
		}
		blocked := pread(t, dir+"/d/dead", 0)
		await(t, tor, waiting(1))
		if err := f.Unmount(t.Context()); err != nil {
			t.Error(err)
		}
		<-blocked
	}
	count := func() (fds, goroutines int) {
		names, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(names), runtime.NumGoroutine()
	}
	cycle() // the first opens what the runtime keeps
	fds, goroutines := count()
	for range 5 {
		cycle()
	}
	if f, g := count(); f > fds || g > goroutines+1 { // the one that sent to blocked may be ending
		t.Errorf("descriptors from %d to %d, goroutines from %d to %d", fds, f, goroutines, g)
	}
}

// A lazy unmount leaves the connection up as long as files are open.
func TestUnmountAfterLazyUnmountFromOutside(t *testing.T) {
	tor := halfDead()
	f := fstest.Mount(t, own, tor)
	blocked := holders(t, f, tor)
	if err := unix.Unmount(f.Dir(), unix.MNT_DETACH); err != nil {
		t.Skip(err)
	}
	select {
	case <-f.Done():
		t.Error("ended although files are open")
	default:
	}
	within(t, 2*time.Second, "the unmount", func() { f.Unmount(t.Context()) })
	if err := <-blocked; err == nil {
		t.Error("the blocked read got an answer")
	}
}
