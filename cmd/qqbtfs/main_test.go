package main

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

// asProgram makes the test binary be the program, for tests that need processes.
const asProgram = "RUN_TEST_BINARY_AS_QQBTFS"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "QQBTFS_") {
			os.Unsetenv(name)
		}
	}
	for _, name := range []string{"QQBTFS_DHT", "QQBTFS_LSD"} { // tests stay on this machine
		os.Setenv(name, "off")
	}
	os.Exit(m.Run())
}

// home gives the test a home of its own: config, cache and sockets.
func home(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "qq") // short: sockets need it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	for env, sub := range map[string]string{"HOME": "", "XDG_CONFIG_HOME": "config", "XDG_CACHE_HOME": "cache", "XDG_RUNTIME_DIR": "run"} {
		path := filepath.Join(dir, sub)
		if err := os.MkdirAll(path, 0o700); err != nil {
			t.Fatal(err)
		}
		t.Setenv(env, path)
	}
	return dir
}

// result is what a run of the program left behind.
type result struct {
	code     code
	out, err string
}

// run runs a command line in this process.
func run(t *testing.T, args ...string) result {
	t.Helper()
	var out, errs bytes.Buffer
	c := newApp(&out, &errs).run(t.Context(), args)
	return result{c, out.String(), errs.String()}
}

// program prepares a run of the program in a process of its own.
func program(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	return cmd
}

// A terminal and a parent process may both pass one Ctrl-C on.
func TestSecondSignal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, begin := make(chan os.Signal, 2), time.Now()
		for _, at := range []time.Duration{time.Second, time.Second, 1900 * time.Millisecond, 3 * time.Second} {
			time.AfterFunc(at, func() { c <- os.Interrupt })
		}
		firsts := 0
		twice(c, func() { firsts++ })
		if d := time.Since(begin); d != 3*time.Second || firsts != 1 {
			t.Errorf("forced after %v, first called %d times", d, firsts)
		}
	})
}

// golden compares got with a file under testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs, got:\n%s\nwant:\n%s", name, got, want)
	}
}

func writeTestFile(t *testing.T, path string, content []byte) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}
