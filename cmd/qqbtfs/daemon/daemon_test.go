package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// role makes the test binary play the child.
const role = "DAEMON_TEST_ROLE"

func TestMain(m *testing.M) {
	if r := os.Getenv(role); r != "" {
		os.Exit(child(r))
	}
	os.Exit(m.Run())
}

func child(r string) int {
	p := Inherited()
	if p == nil {
		fmt.Println("no pipe")
		return 9
	}
	switch r {
	case "ready":
		comm, _ := os.ReadFile("/proc/self/comm") // proc(5): the name that top shows
		fmt.Printf("session %v args %v env %q comm %s\n", getsid() == os.Getpid(), os.Args[1:], os.Getenv(EnvFD), bytes.TrimSpace(comm))
		if p.Ready("by the way") != nil || p.Fail("too late", 1) != nil {
			return 9
		}
	case "fail":
		p.Fail("no fuse here", 4)
		return 4
	case "panic":
		panic("as broken as it gets")
	case "hang":
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGTERM)
		fmt.Println("waiting")
		<-c
		fmt.Println("told to stop")
	}
	return 0
}

func getsid() int {
	sid, _ := unix.Getsid(0)
	return sid
}

// spawn runs the test binary in the role r and returns also what it wrote.
func spawn(t *testing.T, ctx context.Context, r string) (Report, int, func() string, error) {
	t.Helper()
	t.Setenv(role, r)
	log, err := OpenLog(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	rep, pid, err := Spawn(ctx, []string{"qqbtfs", "mount", "x y"}, log)
	return rep, pid, func() string {
		b, err := os.ReadFile(log.Name())
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}, err
}

func TestReady(t *testing.T) {
	rep, pid, log, err := spawn(t, t.Context(), "ready")
	if err != nil || rep.Error != "" || pid == 0 || pid == os.Getpid() {
		t.Fatalf("Spawn = %+v, %d, %v", rep, pid, err)
	}
	comm := ""
	if runtime.GOOS == "linux" {
		comm = "daemon.test"
	}
	if want := "session true args [mount x y] env \"\" comm " + comm + "\n"; log() != want {
		t.Errorf("child wrote %q, want %q", log(), want)
	}
}

func TestFailIsHandedOver(t *testing.T) {
	rep, _, _, err := spawn(t, t.Context(), "fail")
	if err != nil || rep.Error != "no fuse here" || rep.Code != 4 {
		t.Fatalf("Spawn = %+v, %v", rep, err)
	}
}

func TestChildDies(t *testing.T) {
	_, _, log, err := spawn(t, t.Context(), "panic")
	if !errors.Is(err, ErrDied) || !strings.Contains(err.Error(), "exit status 2") {
		t.Errorf("error = %v, want ErrDied with exit status 2", err)
	}
	if !strings.Contains(log(), "as broken as it gets") {
		t.Errorf("the panic is not in the log: %q", log())
	}
}

func TestParentGivesUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, _, err := spawn(t, ctx, "hang")
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v, want %v", err, context.Canceled)
	}
}

func TestNoParent(t *testing.T) {
	if p := Inherited(); p != nil {
		t.Fatal("a pipe without a parent")
	}
	var p *Parent
	if err := errors.Join(p.Ready(""), p.Fail("x", 1)); err != nil {
		t.Error(err)
	}
}

func TestOpenLogRotates(t *testing.T) {
	name := filepath.Join(t.TempDir(), "new", "log")
	for _, run := range []string{"one", "two", "three"} {
		f, err := OpenLog(name)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(f, run)
		f.Close()
	}
	for file, want := range map[string]string{name: "three", name + ".1": "two"} {
		b, err := os.ReadFile(file)
		if err != nil || string(b) != want {
			t.Errorf("%s holds %q (%v), want %q", file, b, err, want)
		}
		if fi, err := os.Stat(file); err == nil && fi.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", file, fi.Mode())
		}
	}
	f, err := OpenLog(name)
	if err != nil {
		t.Fatal(err)
	}
	DropLog(f)
	DropLog(f) // is gone: what has its name stays
	f.Close()
	if b, err := os.ReadFile(name); err != nil || string(b) != "three" {
		t.Errorf("after a run that came to nothing the log is %q, %v", b, err)
	}
	if f, err := OpenLog("/dev/null"); err != nil {
		t.Errorf("/dev/null: %v", err)
	} else {
		f.Close()
	}
}
