package fs

import (
	"bytes"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// sigkill is SIGKILL's bit in a signal mask. The kernel sets it for every signal
// that ends the process.
const sigkill = 1 << (unix.SIGKILL - 1)

// dying reports whether a thread is dead or about to be. pid 0 is one that we cannot
// see, in another name space, and is taken for alive.
func dying(pid int) bool {
	if pid == 0 {
		return false
	}
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil { // dead, or /proc hides other users' processes
		return unix.Kill(pid, 0) == unix.ESRCH
	}
	for line := range bytes.Lines(status) {
		key, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch string(key) {
		case "State":
			if len(value) > 0 && (value[0] == 'Z' || value[0] == 'X') {
				return true
			}
		case "SigPnd", "ShdPnd":
			if mask, err := strconv.ParseUint(string(value), 16, 64); err == nil && mask&sigkill != 0 {
				return true
			}
		}
	}
	return false
}
