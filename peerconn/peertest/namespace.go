package peertest

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// InNamespace runs the test again in a network namespace of its own, where it is root,
// and reports whether this is that run. The other one should return.
func InNamespace(t *testing.T) bool {
	t.Helper()
	const mark = "QQBTFS_TEST_NAMESPACE"
	if os.Getenv(mark) != "" {
		return true
	}
	if err := exec.Command("unshare", "-Urn", "ip", "link").Run(); err != nil {
		t.Skip("no network namespaces here: ", err)
	}
	cmd := exec.Command("unshare", "-Urn", os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), mark+"=1")
	if out, err := cmd.CombinedOutput(); err != nil || strings.Contains(string(out), "--- SKIP") {
		t.Errorf("in a namespace: %v\n%s", err, out)
	}
	return false
}

// IP runs the ip command.
func IP(t *testing.T, args string) {
	t.Helper()
	if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v\n%s", args, err, out)
	}
}
