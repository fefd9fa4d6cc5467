package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// binary is the program under test, an absolute path.
var binary string

func TestMain(m *testing.M) {
	code, err := runTests(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func runTests(m *testing.M) (int, error) {
	if bin := os.Getenv("QQBTFS_BIN"); bin != "" {
		var err error
		if binary, err = filepath.Abs(bin); err != nil {
			return 0, err
		}
		return runAndTell(m)
	}
	dir, err := os.MkdirTemp("", "qqbtfs-e2e")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "qqbtfs")
	build := exec.Command("go", "build", "-o", binary, "..")
	if out, err := build.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("go build: %w\n%s", err, out)
	}
	return runAndTell(m)
}

// runAndTell runs the tests, and writes the table of what passed if it is wanted.
func runAndTell(m *testing.M) (int, error) {
	code := m.Run()
	if tableFile == "" {
		return code, nil
	}
	return code, interop.write(tableFile)
}
