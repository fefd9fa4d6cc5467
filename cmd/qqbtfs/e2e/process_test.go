package e2e

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait for something that has to happen. It is long, for the
// machine may be busy with other tests.
const patience = 60 * time.Second

// poll is how often a condition that nobody reports is looked at, at first. Many a look
// starts a process or reads files, so they become rarer the longer they are in vain.
const poll = 20 * time.Millisecond

// await returns once ok is true.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	awaitFor(t, patience, what, ok)
}

// awaitFor is await for what somebody is known to take his time for.
func awaitFor(t *testing.T, patience time.Duration, what string, ok func() bool) {
	t.Helper()
	began, deadline := time.Now(), time.After(patience)
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("waited %v in vain: %s", patience, what)
		case <-time.After(min(poll+time.Since(began)/10, 10*poll)):
		}
	}
}

// process is a program that runs beside the test.
type process struct {
	cmd  *exec.Cmd
	out  output        // standard output and error
	done chan struct{} // closed when it has ended
	err  error         // what Wait returned; valid once done is closed
}

// start runs a command until the end of the test at the latest: it is killed then.
func start(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{cmd: cmd, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &p.out, &p.out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-p.done
		if t.Failed() {
			t.Logf("output of %s:\n%s", strings.Join(cmd.Args, " "), p.out.tail(4000))
		}
	})
	return p
}

// awaitOutput returns once the output holds text, and fails the test if the process
// ends without.
func (p *process) awaitOutput(t *testing.T, text string) {
	t.Helper()
	await(t, p.cmd.Args[0]+" says "+text, func() bool {
		ended := p.ended()
		if strings.Contains(p.out.String(), text) {
			return true
		}
		if ended {
			t.Fatalf("%s ended (%v) without saying %q:\n%s", p.cmd.Args[0], p.err, text, p.out.String())
		}
		return false
	})
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// wait returns how the process ended.
func (p *process) wait(t *testing.T) error {
	t.Helper()
	select {
	case <-p.done:
		return p.err
	case <-time.After(patience):
		t.Fatalf("%s does not end:\n%s", strings.Join(p.cmd.Args, " "), p.out.tail(4000))
		return nil
	}
}

// stop ends the process with a signal and returns how it ended.
func (p *process) stop(t *testing.T, sig syscall.Signal) error {
	t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		t.Fatalf("%s: %v", p.cmd.Args[0], err)
	}
	return p.wait(t)
}

// output collects what a process writes. It is safe for concurrent use.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// tail is the end of the output, at most n bytes of it.
func (o *output) tail(n int) string {
	s := o.String()
	return s[max(0, len(s)-n):]
}

// result is what a command left behind.
type result struct {
	code     int
	out, err string
}

// run runs a command to its end.
func run(t *testing.T, cmd *exec.Cmd) result {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	// For a process that it leaves behind with the same output. Where the machine is busy the
	// rest of its own takes a while too.
	cmd.WaitDelay = 10 * time.Second
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })()
	if err := cmd.Wait(); err != nil && cmd.ProcessState == nil {
		t.Fatalf("%s: %v", cmd.Args[0], err)
	}
	if ctx.Err() != nil {
		t.Fatalf("%s does not end: %s%s", strings.Join(cmd.Args, " "), &out, &errs)
	}
	return result{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

// must runs a command that has to succeed, and returns its output.
func must(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	r := run(t, cmd)
	if r.code != 0 {
		t.Fatalf("%s: exit code %d: %s%s", strings.Join(cmd.Args, " "), r.code, r.out, r.err)
	}
	return r.out
}

// need skips the test where a program is not installed, and returns its path.
func need(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Skipf("%s is not installed", program)
	}
	return path
}

// alive reports whether a process runs; a zombie does not.
func alive(pid int) bool {
	stat, err := os.ReadFile("/proc/" + itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(after, "Z") && !strings.HasPrefix(after, "X")
}
