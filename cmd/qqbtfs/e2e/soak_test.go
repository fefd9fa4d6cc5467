package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/qqbtfs/qqbtfs/peerconn/peertest"
)

// soakEnv names how long TestSoak takes, as in 30m; `make soak` sets it.
const soakEnv = "QQBTFS_SOAK"

// TestSoak lets seeders come and go, peers misbehave, readers read and the mount be
// mounted anew. Every byte read is right, and at the end the process holds no more than
// when it had warmed up.
func TestSoak(t *testing.T) {
	t.Parallel()
	total := 10 * time.Second
	if v := os.Getenv(soakEnv); v != "" {
		var err error
		if total, err = time.ParseDuration(v); err != nil {
			t.Fatalf("%s: %v", soakEnv, err)
		}
	}
	k := newSoak(t)
	k.m = k.s.mount(k.args...)
	// Half of the time for remounts, and half for one process to grow if it leaks.
	lives := max(1, int(total/(2*time.Minute)))
	for range lives {
		k.churn(total / 2 / time.Duration(lives))
		k.remount()
	}
	k.churn(total / 4)
	k.warm = k.quiet()
	k.churn(total / 4)
	k.settle()
	t.Logf("%d reads of %d MiB, %d seeders started, %d remounts; then %+v, when warm %+v",
		k.reads, k.bytes>>20, k.seeds, k.remounts, k.last, k.warm)
	if k.reads == 0 || k.seeds < 2 || k.remounts == 0 {
		t.Error("the soak did nothing")
	}
}

// held is what a process holds: process in the answer of status --json.
type held struct {
	Goroutines int   `json:"goroutines"`
	FDs        int   `json:"fds"`
	AnonBytes  int64 `json:"anon_bytes"`
}

type soak struct {
	t     *testing.T
	s     *sandbox
	pub   published
	m     *mount
	args  []string
	addrs []string // of the seeders that come and go

	seeders    []*process // nil: not there now
	seeds      int
	remounts   int
	warm, last held

	mu    sync.Mutex
	reads int
	bytes int64
}

// newSoak makes the content, which is larger than its cache, so that there is always
// something to fetch.
func newSoak(t *testing.T) *soak {
	k := &soak{t: t, s: newSandbox(t), seeders: make([]*process, 3)}
	k.pub = k.s.lonely("film.bin", 40<<20)
	k.args = []string{"--cache-size", "24MiB", "--ram", "8MiB", "--read-timeout", "0"}
	for range k.seeders {
		k.addrs = append(k.addrs, fmt.Sprintf("127.0.0.1:%d", freePort(t, "127.0.0.1")))
		k.args = append(k.args, "--peer", k.addrs[len(k.addrs)-1])
	}
	tor := k.s.asPeer(k.pub)
	for name, script := range map[string]peertest.Script{
		"liar": peertest.Liar{}, "staller": peertest.Staller{}, "garbage": peertest.Garbage{},
		"flooder": peertest.Flooder{}, "pusher": peertest.Pusher{}, "oversize": peertest.Oversizer{},
		"poisoner": peertest.Poisoner{},
	} {
		k.args = append(k.args, "--peer", peertest.Start(t, tor, named{name, script}).Addr().String())
	}
	k.args = append(k.args, k.pub.torrent)
	k.toggle(0)
	return k
}

// toggle starts a seeder or ends it, one time in two with a kill.
func (k *soak) toggle(i int) {
	if p := k.seeders[i]; p != nil {
		sig := syscall.SIGTERM
		if k.seeds%2 == 0 {
			sig = syscall.SIGKILL
		}
		_ = p.stop(k.t, sig)
		k.seeders[i] = nil
		return
	}
	p := start(k.t, k.s.program("seed", k.pub.torrent, "--data", k.pub.file, "--listen", k.addrs[i], "--upload-limit", "20MB/s"))
	p.awaitOutput(k.t, "\npeer ")
	k.seeders[i] = p
	k.seeds++
}

// churn reads from several places while seeders come and go, one of them always there.
func (k *soak) churn(d time.Duration) {
	end := time.Now().Add(d)
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for time.Now().Before(end) {
				if err := k.readSome(); err != nil {
					k.t.Error(err)
					return
				}
			}
		})
	}
	tick := time.NewTicker(700 * time.Millisecond)
	defer tick.Stop()
	for time.Now().Before(end) {
		<-tick.C
		k.toggle(1 + rand.IntN(len(k.seeders)-1))
	}
	readers.Wait()
}

// readSome opens the file, reads one to four MiB at a random place and compares.
func (k *soak) readSome() error {
	f, err := os.Open(k.m.dir + "/film.bin")
	if err != nil {
		return err
	}
	defer f.Close()
	b := make([]byte, 1<<20+rand.IntN(3<<20))
	off := rand.IntN(len(k.pub.content) - len(b))
	if _, err := f.ReadAt(b, int64(off)); err != nil {
		return err
	}
	if !bytes.Equal(b, k.pub.content[off:off+len(b)]) {
		return fmt.Errorf("wrong bytes in [%d, %d)", off, off+len(b))
	}
	// So that the next read comes from us, and not from the kernel.
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.reads++
	k.bytes += int64(len(b))
	return nil
}

// remount ends the mount, by turns as a user does and with kill -9, and mounts again.
func (k *soak) remount() {
	if k.remounts%2 == 0 {
		k.m.kill()
	} else {
		k.m.unmount()
	}
	k.m.again(k.args...)
	k.remounts++
}

func (k *soak) held() held {
	k.t.Helper()
	var st struct {
		Process held `json:"process"`
	}
	if err := json.Unmarshal([]byte(k.s.qqbtfs("status", k.m.dir, "--json")), &st); err != nil {
		k.t.Fatal(err)
	}
	return st.Process
}

// quiet returns what the process holds when nobody reads.
func (k *soak) quiet() (h held) {
	k.t.Helper()
	await(k.t, "no read that waits", func() bool { return k.m.torrent().Waits == 0 })
	return k.held()
}

// settle waits until the process holds no more than when it was warm, give or take the
// connections that are open by chance.
func (k *soak) settle() {
	k.t.Helper()
	await(k.t, fmt.Sprintf("a process that holds what it held: %+v", k.warm), func() bool {
		k.last = k.held()
		return k.last.Goroutines <= k.warm.Goroutines+20 && k.last.FDs <= k.warm.FDs+10 && k.last.AnonBytes <= k.warm.AnonBytes+48<<20
	})
}
