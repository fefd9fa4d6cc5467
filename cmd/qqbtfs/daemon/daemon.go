// Package daemon puts a command into the background.
//
// A Go program cannot fork, so the command starts its own binary again with the
// same arguments, in a session of its own. The child inherits the write end of a
// pipe and says on it once, in one line of JSON, that it is ready or why it
// failed; the parent waits for that line and exits accordingly. A child that
// dies without a word closes the pipe, which says enough.
//
// The package does not know what the command does and does not write its log:
// the child's output goes to the file that the parent hands over.
package daemon

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

// EnvFD is the environment variable that tells a child the number of its pipe.
const EnvFD = "QQBTFS_READY_FD"

// killAfter bounds how long a child may take to obey SIGTERM while the parent
// gives up on it.
const killAfter = 5 * time.Second

// maxReport bounds the child's line, in bytes.
const maxReport = 64 << 10

// Report is what the child says to its parent.
type Report struct {
	Error string `json:"error,omitempty"` // empty: ready
	Code  int    `json:"code,omitempty"`  // the exit code that goes with Error
	Note  string `json:"note,omitempty"`  // what else whoever started it should know
}

// ErrDied is returned by Spawn for a child that ended without a report.
var ErrDied = errors.New("the background process died before it was ready")

// Spawn starts the running binary again with args (args[0] is its name) in the
// background, with output and log messages going to log, and waits for its
// report. It returns the child's process id. When ctx ends first the child is
// told to stop, and has stopped when Spawn returns.
func Spawn(ctx context.Context, args []string, log *os.File) (Report, int, error) {
	exe, err := executable()
	if err != nil {
		return Report{}, 0, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return Report{}, 0, err
	}
	defer r.Close()
	cmd := &exec.Cmd{
		Path:        exe,
		Args:        args,
		Env:         append(os.Environ(), EnvFD+"=3"),
		Stdout:      log,
		Stderr:      log,
		ExtraFiles:  []*os.File{w},
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	err = cmd.Start()
	w.Close()
	if err != nil {
		return Report{}, 0, fmt.Errorf("start %s in the background: %w", exe, err)
	}
	return await(ctx, cmd, r)
}

// await waits for the child's report, its end, or ctx.
func await(ctx context.Context, cmd *exec.Cmd, r *os.File) (Report, int, error) {
	stop := context.AfterFunc(ctx, func() { terminate(cmd.Process, r) })
	rep, err := readReport(r)
	if !stop() {
		_ = cmd.Wait()
		return Report{}, 0, ctx.Err()
	}
	pid := cmd.Process.Pid
	if err == nil && rep.Error == "" {
		return rep, pid, cmd.Process.Release()
	}
	werr := cmd.Wait()
	if err != nil {
		return Report{}, 0, fmt.Errorf("%w (%s)", ErrDied, ending(werr))
	}
	return rep, pid, nil
}

// terminate asks p to stop and kills it when it does not close r in time.
func terminate(p *os.Process, r *os.File) {
	_ = p.Signal(syscall.SIGTERM)
	time.AfterFunc(killAfter, func() { _ = p.Kill() })
	_ = r.SetReadDeadline(time.Now().Add(killAfter))
}

func ending(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}

func readReport(r io.Reader) (rep Report, err error) {
	line, err := bufio.NewReader(io.LimitReader(r, maxReport)).ReadBytes('\n')
	if err != nil {
		return rep, err
	}
	return rep, json.Unmarshal(line, &rep)
}

// executable names the running binary so that it can be started also after the
// file was replaced or removed. Where it still is its path is better: the kernel names
// the process by that.
func executable() (string, error) {
	const self = "/proc/self/exe"
	path, err := os.Executable()
	if runtime.GOOS != "linux" {
		return path, err
	}
	running, err := os.Stat(self)
	if now, serr := os.Stat(path); err == nil && serr == nil && os.SameFile(running, now) {
		return path, nil
	}
	return self, nil
}

// Parent is the child's end of the pipe. The nil Parent, which a process in the
// foreground has, swallows reports.
type Parent struct{ pipe *os.File }

// Inherited returns the pipe to the parent that started this process with
// Spawn, or nil. It takes the pipe out of the environment, so that no process
// started from here keeps it open.
func Inherited() *Parent {
	fd, err := strconv.Atoi(os.Getenv(EnvFD))
	os.Unsetenv(EnvFD)
	if err != nil || fd < 3 {
		return nil
	}
	syscall.CloseOnExec(fd)
	pipe := os.NewFile(uintptr(fd), "ready pipe")
	if fi, err := pipe.Stat(); err != nil || fi.Mode()&os.ModeNamedPipe == 0 {
		return nil
	}
	return &Parent{pipe}
}

// Ready tells the parent that all is well, and maybe a note for people, and lets it go.
func (p *Parent) Ready(note string) error { return p.report(Report{Note: note}) }

// Fail tells the parent why this process will end, and with which exit code.
// After Ready it does nothing.
func (p *Parent) Fail(msg string, code int) error { return p.report(Report{Error: msg, Code: code}) }

func (p *Parent) report(r Report) error {
	if p == nil || p.pipe == nil {
		return nil
	}
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = p.pipe.Write(append(b, '\n'))
	cerr := p.pipe.Close()
	p.pipe = nil
	return errors.Join(err, cerr)
}
