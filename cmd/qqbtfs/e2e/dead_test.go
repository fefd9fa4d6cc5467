package e2e

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/qqbtfs/qqbtfs/fetch"
)

const (
	deadReaders = 16
	// slowdown is how much longer reads of other files may take beside dead readers.
	slowdown = 1.2
)

// foreground is a mount whose process writes to the test.
func (s *sandbox) foreground(args ...string) (*mount, *process) {
	s.t.Helper()
	m := &mount{s, s.mountpoint("mnt" + itoa(int(mounts.Add(1))))}
	p := start(s.t, s.program(m.args(append([]string{"-f"}, args...)...)...))
	p.awaitOutput(s.t, " mounted ")
	return m, p
}

// named is the status of the torrent of that name.
func (st status) named(t *testing.T, name string) fetch.Status {
	t.Helper()
	i := slices.IndexFunc(st.Torrents, func(x fetch.Status) bool { return x.Name == name })
	if i < 0 {
		t.Fatalf("status lacks %s", name)
	}
	return st.Torrents[i]
}

// "A dead piece blocks only who reads it. Sixteen readers on pieces that nobody has,
// and reads of other files answer within 1.2 x their usual time. SIGKILLed readers
// leave nothing behind."
//
// One other file is in the cache, and its pages are dropped before each read, so that
// every read goes through the daemon; each read of another fetches a piece. What is usual is measured in turn with what is
// not, on a second mount, so that whatever else the machine does falls on both. Nothing
// runs beside this test.
func TestDeadPieces(t *testing.T) {
	s := newSandbox(t)
	live := s.publish("live.bin", 4<<20)
	dead := s.lonely("dead.bin", deadReaders*64<<10)
	remote := s.publish("remote.bin", remotePieces*64<<10)
	args := []string{"--fill", "none", "--peer", live.seed.addr, "--peer", remote.seed.addr, dead.torrent, live.torrent, remote.torrent}
	usual := s.mount(append([]string{"--cache-dir", s.mkdir("cache2")}, args...)...)
	m, p := s.foreground(args...)
	for _, m := range []*mount{usual, m} {
		same(t, live.file, m.dir+"/live.bin")
	}
	fds := openFDs(t, p.cmd.Process.Pid)
	var readers []*process
	for i := range deadReaders {
		readers = append(readers, start(t, s.command("dd", "if="+m.dir+"/dead.bin", "bs=64K", "count=1", "skip="+itoa(i))))
	}
	waits := func() int { return m.status().named(t, "dead.bin").Waits }
	await(t, "sixteen waits", func() bool { return waits() == deadReaders })

	ratio := 0.0
	for range 3 { // a real slowdown is there each time
		if ratio = compareReads(t, usual.dir+"/live.bin", m.dir+"/live.bin"); ratio <= slowdown {
			break
		}
	}
	t.Logf("reads beside %d dead readers take %.2f x their usual time", deadReaders, ratio)
	if ratio > slowdown {
		t.Errorf("they take %.2f x their usual time, at most %.1f is allowed", ratio, slowdown)
	}
	for try := range 3 {
		if ratio = compareFetches(t, usual.dir+"/remote.bin", m.dir+"/remote.bin", try); ratio <= slowdown {
			break
		}
	}
	t.Logf("reads that fetch take %.2f x their usual time", ratio)
	if ratio > slowdown {
		t.Errorf("reads that fetch take %.2f x their usual time, at most %.1f is allowed", ratio, slowdown)
	}
	if got := waits(); got != deadReaders {
		t.Errorf("%d pieces are waited for by now, want %d", got, deadReaders)
	}

	within(t, 5*time.Second, "the end of killed readers and their waits", func() {
		for _, r := range readers {
			_ = r.cmd.Process.Kill()
		}
		for _, r := range readers {
			_ = r.wait(t)
		}
		await(t, "no wait", func() bool { return waits() == 0 })
	})
	await(t, "no more open files than before", func() bool { return openFDs(t, p.cmd.Process.Pid) <= fds })
	if err := p.stop(t, syscall.SIGQUIT); err == nil {
		t.Error("SIGQUIT gave no goroutines")
	}
	stacks := p.out.String()
	if !strings.Contains(stacks, "goroutine ") {
		t.Fatal("no stacks in the output")
	}
	if left := regexp.MustCompile(`(?m)^.*fetch\.\(\*Reader\).*$`).FindAllString(stacks, -1); len(left) > 0 {
		t.Errorf("goroutines of readers are left: %q", left)
	}
	m.unmount() // it is a dead mount now
}

// compareReads returns how many times longer the median read of b takes than that of a.
func compareReads(t *testing.T, a, b string) float64 {
	t.Helper()
	var took [2][]time.Duration
	var files [2]*os.File
	for i, name := range []string{a, b} {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files[i] = f
	}
	buf := make([]byte, 64<<10)
	for k := range 1000 {
		off := int64(k*7%64) * int64(len(buf))
		for i, f := range files {
			if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			if _, err := f.ReadAt(buf, off); err != nil {
				t.Fatal(err)
			}
			took[i] = append(took[i], time.Since(began))
		}
	}
	slices.Sort(took[0])
	slices.Sort(took[1])
	return float64(took[1][500]) / float64(took[0][500])
}

// remotePieces is how many pieces there are to fetch, for three tries.
const remotePieces = 3 * 100

// compareFetches does the same with reads of pieces that no try before has read.
func compareFetches(t *testing.T, a, b string, try int) float64 {
	t.Helper()
	var took [2][]time.Duration
	for k := try * 100; k < (try+1)*100; k++ {
		off := int64(k*7%remotePieces) * 64 << 10
		for i, name := range []string{a, b} {
			f, err := os.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_RANDOM); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			if _, err := f.ReadAt(make([]byte, 4096), off); err != nil {
				t.Fatal(err)
			}
			took[i] = append(took[i], time.Since(began))
			f.Close()
		}
	}
	slices.Sort(took[0])
	slices.Sort(took[1])
	return float64(took[1][50]) / float64(took[0][50])
}

// openFDs is how many files a process has open.
func openFDs(t *testing.T, pid int) int {
	t.Helper()
	return len(names(t, "/proc/"+itoa(pid)+"/fd"))
}
