package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/cmd/qqbtfs/control"
	"github.com/qqbtfs/qqbtfs/fs"
)

// scene is a torrent, a process that seeds it, and a home for everything else.
type scene struct {
	dir, torrent, peer string
	content            []byte
	mnt                string
}

// newScene needs FUSE. Without serve nobody has the content.
func newScene(t *testing.T, size int, serve bool) *scene {
	t.Helper()
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skip("no FUSE on this machine: ", err)
	}
	s := &scene{dir: home(t), content: noise(7, size)}
	s.torrent, s.mnt = s.dir+"/film.torrent", s.dir+"/mnt"
	data := writeTestFile(t, s.dir+"/pub/film.bin", s.content)
	if r := run(t, "create", data, "-o", s.torrent); r.code != codeOK {
		t.Fatalf("create: %d %s", r.code, r.err)
	}
	if err := os.Mkdir(s.mnt, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = fs.Detach(s.mnt) })
	if serve {
		s.peer = startSeed(t, s.torrent, "--data", data)
	} else {
		s.peer = "127.0.0.1:1"
	}
	return s
}

// startSeed runs the seed command until the test ends and returns its address.
func startSeed(t *testing.T, args ...string) (peer string) {
	t.Helper()
	cmd := program(t, append([]string{"seed", "--listen", "127.0.0.1:0"}, args...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("seed ended with %v: %s", err, errs.String())
		}
	})
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if addr, ok := strings.CutPrefix(lines.Text(), "peer "); ok {
			return addr
		}
	}
	t.Fatal("seed does not tell its address: " + errs.String())
	return ""
}

func (s *scene) mountArgs(more ...string) []string {
	return append(append([]string{"mount", "--listen", "127.0.0.1:0", "--peer", s.peer}, more...), s.torrent, s.mnt)
}

func (s *scene) mounted(t *testing.T) bool {
	t.Helper()
	mounts, err := fs.Mounts()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mounts {
		if m.Dir == s.mnt {
			return true
		}
	}
	return false
}

// A mount in the background is usable when the command returns; its life ends
// with umount, which returns when everything is let go of.
func TestMountInBackground(t *testing.T) {
	s := newScene(t, 3<<20, true)
	for round := range 2 { // the second one finds the cache
		if out, err := program(t, s.mountArgs()...).CombinedOutput(); err != nil {
			t.Fatalf("round %d: mount: %v: %s", round, err, out)
		}
		if got, err := os.ReadFile(s.mnt + "/film.bin"); err != nil || !bytes.Equal(got, s.content) {
			t.Errorf("round %d: %d bytes, %v", round, len(got), err)
		}
		var st mountStatus
		r := run(t, "status", s.mnt, "--json")
		if err := json.Unmarshal([]byte(r.out), &st); err != nil || st.Mountpoint != s.mnt || len(st.Torrents) != 1 || !st.Torrents[0].Complete {
			t.Errorf("round %d: status: %v %+v %s", round, err, st, r.err)
		}
		if round == 1 && st.Torrents[0].Downloaded != 0 {
			t.Errorf("downloaded %d bytes again", st.Torrents[0].Downloaded)
		}
		if r := run(t, "status"); !strings.Contains(r.out, s.mnt) {
			t.Errorf("list of mounts: %q", r.out)
		}
		if r := run(t, s.mountArgs("-f")...); r.code != codeMount || !strings.Contains(r.err, "umount") {
			t.Errorf("mounted twice: code %d, %q", r.code, r.err)
		}
		if r := run(t, "umount", s.mnt); r.code != codeOK || r.out+r.err != "" {
			t.Fatalf("round %d: umount: code %d, %q", round, r.code, r.out+r.err)
		}
		if s.mounted(t) {
			t.Errorf("round %d: still mounted", round)
		}
	}
	if r := run(t, "status"); r.code != codeOK || strings.Contains(r.out, s.mnt) { // root may have others
		t.Errorf("after all: code %d %q", r.code, r.out)
	}
	log, err := os.ReadFile(filepath.Join(s.dir, "cache/qqbtfs", logName(s.mnt)))
	if err != nil || !strings.Contains(string(log), "mounted") {
		t.Errorf("log: %v %q", err, log)
	}
	s.checkCacheDir(t)
}

func (s *scene) checkCacheDir(t *testing.T) {
	t.Helper()
	dirs, err := filepath.Glob(s.dir + "/cache/qqbtfs/*/meta.torrent")
	if err != nil || len(dirs) != 1 {
		t.Fatalf("cache: %v %v", dirs, err)
	}
	copied, err := os.ReadFile(dirs[0])
	orig, err2 := os.ReadFile(s.torrent)
	if err != nil || err2 != nil || !bytes.Equal(copied, orig) {
		t.Errorf("copy of the torrent: %v %v", err, err2)
	}
	if fi, err := os.Stat(filepath.Dir(dirs[0])); err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("mode of the cache: %v %v", fi.Mode(), err)
	}
}

// Whoever waits for the end of a mount may stop waiting.
func TestUmountInterrupted(t *testing.T) {
	dir := home(t)
	srv, err := control.Listen([]string{dir + "/run/qqbtfs"}, dir+"/mnt", func(string) (any, error) { return nil, nil })
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var errs bytes.Buffer
	if c := newApp(&errs, &errs).run(ctx, []string{"umount", dir + "/mnt"}); c != codeIncomplete || !strings.Contains(errs.String(), "interrupted") {
		t.Errorf("code %d: %s", c, errs.String())
	}
}

// What goes wrong in the background is said by the command, with its code.
func TestMountFailsInBackground(t *testing.T) {
	s := newScene(t, 1000, false)
	if err := os.Remove(s.mnt); err != nil {
		t.Fatal(err)
	}
	out, err := program(t, s.mountArgs()...).CombinedOutput()
	exit, ok := err.(*exec.ExitError)
	if !ok || code(exit.ExitCode()) != codeMount || !strings.Contains(string(out), s.mnt+" does not exist") {
		t.Errorf("%v: %s", err, out)
	}
	if strings.Count(string(out), "\n") != 1 {
		t.Errorf("not one line: %q", out)
	}
	if err := os.Mkdir(s.mnt, 0o755); err != nil {
		t.Fatal(err)
	}
	args := append(s.mountArgs()[:5], s.dir+"/missing.torrent", s.mnt)
	if r := program(t, args...); r.Run() == nil || code(r.ProcessState.ExitCode()) != codeSource {
		t.Errorf("a missing torrent: %v", r.ProcessState)
	}
	if logs, _ := filepath.Glob(s.dir + "/cache/qqbtfs/*.log*"); logs != nil {
		t.Errorf("logs of what was never mounted: %v", logs)
	}
}

// A mount that is refused leaves the log of the one that lives there alone.
func TestRefusedMountLeavesLog(t *testing.T) {
	s := newScene(t, 1000, false)
	if out, err := program(t, s.mountArgs()...).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v: %s", err, out)
	}
	out, err := program(t, s.mountArgs()...).CombinedOutput()
	if exit, ok := err.(*exec.ExitError); !ok || code(exit.ExitCode()) != codeMount || !strings.Contains(string(out), "already") {
		t.Errorf("again: %v: %s", err, out)
	}
	if r := run(t, "umount", s.mnt); r.code != codeOK {
		t.Errorf("umount: %d %s", r.code, r.err)
	}
	name := filepath.Join(s.dir, "cache/qqbtfs", logName(s.mnt))
	log, err := os.ReadFile(name)
	if err != nil || !strings.Contains(string(log), "mounted") || !strings.Contains(string(log), "ended") {
		t.Errorf("log: %v %q", err, log)
	}
	if _, err := os.Stat(name + ".1"); err == nil {
		t.Error("the log was moved away")
	}
}

// foreground starts a mount with -f and waits until it is there.
func (s *scene) foreground(t *testing.T, more ...string) (cmd *exec.Cmd, errs *bytes.Buffer) {
	t.Helper()
	cmd, errs = program(t, s.mountArgs(append(more, "-f")...)...), &bytes.Buffer{}
	pipe, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(pipe)
	for {
		line, err := lines.ReadString('\n')
		errs.WriteString(line)
		if err != nil {
			t.Fatalf("mount -f: %v: %s", err, errs)
		}
		if strings.Contains(line, "info  mounted") {
			break
		}
	}
	go io.Copy(io.Discard, lines) //nolint:errcheck // ends with the process
	return cmd, errs
}

// An interrupt while a read waits for pieces that nobody has ends the read, the
// mount and the process within a second, with success.
func TestInterruptWithBlockedRead(t *testing.T) {
	s := newScene(t, 1<<20, false)
	cmd, _ := s.foreground(t)
	f, err := os.Open(s.mnt + "/film.bin")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	read := make(chan error, 1)
	go func() {
		_, err := f.Read(make([]byte, 1))
		read <- err
	}()
	for { // until the read waits
		var st mountStatus
		if r := run(t, "status", s.mnt, "--json"); json.Unmarshal([]byte(r.out), &st) == nil && len(st.Torrents[0].Waiting) > 0 {
			break
		}
	}
	start := time.Now()
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := <-read; err == nil {
		t.Error("the read succeeded")
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("exit: %v", err)
	}
	if d := time.Since(start); d > 3*time.Second {
		t.Errorf("it took %v", d)
	}
	if s.mounted(t) {
		t.Error("still mounted")
	}
}

// An unmount from outside ends the process, and the place can be used again at
// once, although the process may still be closing its cache.
func TestUnmountFromOutside(t *testing.T) {
	s := newScene(t, 1<<20, false)
	cmd, _ := s.foreground(t)
	if err := fs.Unmount(s.mnt); err != nil {
		t.Fatal(err)
	}
	again, _ := s.foreground(t)
	if err := cmd.Wait(); err != nil {
		t.Errorf("exit: %v", err)
	}
	if r := run(t, "umount", s.mnt); r.code != codeOK {
		t.Errorf("umount: %d %s", r.code, r.err)
	}
	if err := again.Wait(); err != nil {
		t.Errorf("exit: %v", err)
	}
}

// After a kill -9 the dead mount and the dead socket are in nobody's way.
func TestKilled(t *testing.T) {
	s := newScene(t, 1<<20, true)
	cmd, _ := s.foreground(t)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if r := run(t, "status", s.mnt); r.code != codeNoMount {
		t.Errorf("status: code %d %q", r.code, r.err)
	}
	if out, err := program(t, s.mountArgs()...).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v: %s", err, out)
	}
	if got, err := os.ReadFile(s.mnt + "/film.bin"); err != nil || !bytes.Equal(got, s.content) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if r := run(t, "umount", s.mnt); r.code != codeOK {
		t.Errorf("umount: %d %s", r.code, r.err)
	}
}

func TestGet(t *testing.T) {
	s := newScene(t, 2<<20, true)
	out := s.dir + "/out"
	args := []string{"get", s.torrent, "-o", out, "--listen", "127.0.0.1:0", "--peer", s.peer}
	want := out + "/film.bin  complete, 2.0 MiB\n"
	if r := run(t, args...); r.code != codeOK || r.out != want {
		t.Fatalf("code %d, %q %q", r.code, r.out, r.err)
	}
	got, err := os.ReadFile(out + "/film.bin")
	if err != nil || !bytes.Equal(got, s.content) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	// What is there is found again, without a peer; a broken part is mended.
	args[len(args)-1] = "127.0.0.1:1"
	if r := run(t, args...); r.code != codeOK || r.out != want {
		t.Errorf("again: code %d, %q %q", r.code, r.out, r.err)
	}
	args[len(args)-1] = s.peer
	f, err := os.OpenFile(out+"/film.bin", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("rot"), 1<<20); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if r := run(t, args...); r.code != codeOK {
		t.Errorf("mending: code %d %q", r.code, r.err)
	}
	if got, err := os.ReadFile(out + "/film.bin"); err != nil || !bytes.Equal(got, s.content) {
		t.Errorf("after mending: %d bytes, %v", len(got), err)
	}
}

func TestGetInterrupted(t *testing.T) {
	s := newScene(t, 1<<20, false)
	cmd := program(t, "get", s.torrent, "-o", s.dir+"/out", "--listen", "127.0.0.1:0", "-v", "--log-file", s.dir+"/log")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for { // until it listens to signals
		if b, err := os.ReadFile(s.dir + "/log"); err == nil && b != nil {
			break
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if c := cmd.ProcessState.ExitCode(); code(c) != codeIncomplete || !strings.Contains(errs.String(), "interrupted") {
		t.Errorf("code %d, %q", c, errs.String())
	}
}

func TestGetToOnePlace(t *testing.T) {
	dir := home(t)
	one := writeTestFile(t, dir+"/1.torrent", tinyTorrent(t, "tiny"))
	two := writeTestFile(t, dir+"/2.torrent", tinyTorrent(t, "TINY"))
	if r := run(t, "get", one, two); r.code != codeUsage || !strings.Contains(r.err, "2.torrent would both go to") {
		t.Errorf("code %d, %q", r.code, r.err)
	}
}

// The tracker beside the seed is enough to find it.
func TestSeedWithTracker(t *testing.T) {
	s := newScene(t, 1<<20, false)
	cmd := program(t, "seed", s.torrent, "--data", s.dir+"/pub", "--listen", "127.0.0.1:0", "--with-tracker", "127.0.0.1:0", "-v")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	errs, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var tracker string
	for lines := bufio.NewScanner(out); tracker == "" && lines.Scan(); {
		tracker, _ = strings.CutPrefix(lines.Text(), "tracker ")
		if strings.Contains(tracker, " ") {
			tracker = ""
		}
	}
	logs := bufio.NewScanner(errs)
	for logs.Scan() && !strings.Contains(logs.Text(), " announced ") {
	}
	go io.Copy(io.Discard, errs) //nolint:errcheck // ends with the process
	if r := run(t, "create", s.dir+"/pub/film.bin", "-o", s.torrent, "--force", "--tracker", tracker); r.code != codeOK {
		t.Fatalf("create: %q", r.err)
	}
	if r := run(t, "get", s.torrent, "-o", s.dir+"/out", "--listen", "127.0.0.1:0"); r.code != codeOK {
		t.Errorf("get: code %d %q", r.code, r.err)
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Errorf("seed: %v", err)
	}
}

func TestSeedOfNothing(t *testing.T) {
	s := newScene(t, 1000, false)
	writeTestFile(t, s.dir+"/wrong/film.bin", noise(8, 1000))
	if r := run(t, "seed", s.torrent, "--data", s.dir+"/wrong", "--listen", "127.0.0.1:0"); r.code != codeIncomplete || !strings.Contains(r.err, "--data") {
		t.Errorf("code %d, %q", r.code, r.err)
	}
}
