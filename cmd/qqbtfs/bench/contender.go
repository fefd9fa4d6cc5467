package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// stopLimit bounds the wait for a process that was told to end.
const stopLimit = 30 * time.Second

// errLimit is returned for what was not done within the time limit.
var errLimit = errors.New("not done within the time limit")

// mounter is a program that mounts a torrent and stays in the foreground.
type mounter struct {
	name    string
	ours    bool
	command []string // with {torrent}, {mnt} and {data}
}

func allMounters(bin string) []mounter {
	return []mounter{
		{"qqbtfs", true, []string{bin, "mount", "-f", "--cache-dir", "{data}", "--listen", "127.0.0.1:0", "{torrent}", "{mnt}"}},
		{"btfs", false, []string{"btfs", "-f", "--keep", "--data-directory={data}", "{torrent}", "{mnt}"}},
	}
}

func installed(program string) bool {
	_, err := exec.LookPath(program)
	return err == nil
}

// cleanEnv is the environment without settings of qqbtfs but that nothing leaves this
// machine.
func cleanEnv() (env []string) {
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "QQBTFS_") {
			env = append(env, kv)
		}
	}
	return append(env, "QQBTFS_CONFIG=/dev/null", "QQBTFS_DHT=off", "QQBTFS_LSD=off")
}

// mount is a running mounter.
type mount struct {
	cmd     *exec.Cmd
	dir     string
	started time.Time
	exited  chan struct{}
	log     string
	anon    atomic.Int64 // most anonymous memory seen, in bytes; mapped cache files are the kernel's to drop
}

// dataDir is where a mounter keeps what it fetched.
func (b *bench) dataDir(m mounter) string { return b.path("data-" + m.name) }

// mount starts a mounter, with an empty data directory unless keep is set.
func (b *bench) mount(ctx context.Context, m mounter, c *content, keep bool) (*mount, error) {
	mnt, data := b.path("mnt-"+m.name), b.dataDir(m)
	if !keep {
		b.filled[m.name] = false
		if err := os.RemoveAll(data); err != nil {
			return nil, err
		}
	}
	for _, dir := range []string{mnt, data} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	log, err := os.OpenFile(b.path(m.name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	args := make([]string, len(m.command))
	for i, a := range m.command {
		args[i] = strings.NewReplacer("{torrent}", c.torrent, "{mnt}", mnt, "{data}", data).Replace(a)
	}
	r := &mount{cmd: exec.CommandContext(ctx, args[0], args[1:]...), dir: mnt, exited: make(chan struct{}), log: log.Name()}
	r.cmd.Env, r.cmd.Stdout, r.cmd.Stderr = cleanEnv(), log, log
	r.cmd.Cancel = func() error { return r.cmd.Process.Signal(syscall.SIGTERM) }
	r.cmd.WaitDelay = stopLimit
	r.started = time.Now()
	if err := r.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		r.cmd.Wait()
		close(r.exited)
	}()
	go r.watchMemory()
	return r, nil
}

// mounted runs f on a new mount of c, whose seeders are there.
func (b *bench) mounted(ctx context.Context, m mounter, c *content, o swarmOptions, f func(mnt *mount, path string) error) error {
	s, err := b.startSwarm(ctx, o)
	if err != nil {
		return err
	}
	defer s.stop()
	return b.mountedAlone(ctx, m, c, f)
}

// mountedAlone leaves the seeders to its caller.
func (b *bench) mountedAlone(ctx context.Context, m mounter, c *content, f func(mnt *mount, path string) error) error {
	mnt, err := b.mount(ctx, m, c, false)
	if err != nil {
		return err
	}
	defer mnt.stop()
	path, err := mnt.await(ctx, c.name, b.opt.limit)
	if err != nil {
		return err
	}
	return f(mnt, path)
}

func (r *mount) watchMemory() {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.cmd.Process.Pid))
		if err != nil {
			return
		}
		if _, after, ok := strings.Cut(string(status), "RssAnon:"); ok {
			kib, _ := strconv.ParseInt(strings.Fields(after)[0], 10, 64)
			r.anon.Store(max(r.anon.Load(), kib<<10))
		}
		select {
		case <-r.exited:
			return
		case <-tick.C:
		}
	}
}

// mounted reports whether something is mounted at the mount point.
func (r *mount) mounted() bool {
	dir, err := os.Stat(r.dir)
	if err != nil {
		return true // not even this is answered: a dead mount
	}
	above, err := os.Stat(filepath.Dir(r.dir))
	return err == nil && device(dir) != device(above)
}

func device(fi os.FileInfo) uint64 {
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Dev)
	}
	return 0
}

// await returns the path of what the mount shows under name, when it does.
func (r *mount) await(ctx context.Context, name string, limit time.Duration) (string, error) {
	path := filepath.Join(r.dir, name)
	for time.Since(r.started) < limit {
		if r.mounted() {
			if _, err := os.Stat(path); err == nil {
				return path, nil
			}
		}
		select {
		case <-r.exited:
			return "", fmt.Errorf("it ended: %s", r.lastLine())
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(2 * time.Millisecond):
		}
	}
	return "", fmt.Errorf("%s does not appear: %w", name, errLimit)
}

// lastLine is the last that the process said.
func (r *mount) lastLine() string {
	text, _ := os.ReadFile(r.log)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return lines[len(lines)-1]
}

// stop ends the process by SIGTERM, and the mount whatever the process does, and
// returns how long that took.
func (r *mount) stop() time.Duration {
	start := time.Now()
	r.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-r.exited:
	case <-time.After(stopLimit):
		r.cmd.Process.Kill()
		<-r.exited
	}
	if r.mounted() {
		exec.Command("fusermount3", "-uz", r.dir).Run()
	}
	return time.Since(start)
}

// cpu is the processor time that the process took. Valid after stop.
func (r *mount) cpu() time.Duration {
	return r.cmd.ProcessState.UserTime() + r.cmd.ProcessState.SystemTime()
}

// within runs f and waits for it, for limit at most: f may hang in a read of a
// mount until that ends. What f still does after that is its own.
func within(ctx context.Context, limit time.Duration, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return errLimit
	case <-ctx.Done():
		return ctx.Err()
	}
}
