package main

import (
	"os"
	"runtime"
	"strconv"
	"strings"
)

// usage is what a process holds, to see whether it grows over time. A number that
// the system does not tell is zero.
type usage struct {
	Goroutines int   `json:"goroutines"`
	FDs        int   `json:"fds"`        // open file descriptors
	AnonBytes  int64 `json:"anon_bytes"` // resident memory that no file backs
}

// processUsage looks at this process.
func processUsage() usage {
	u := usage{Goroutines: runtime.NumGoroutine()}
	if fds, err := os.ReadDir("/proc/self/fd"); err == nil {
		u.FDs = len(fds) - 1 // the directory itself was open
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return u
	}
	_, rest, _ := strings.Cut(string(status), "\nRssAnon:")
	if words := strings.Fields(rest); len(words) > 0 {
		kib, _ := strconv.ParseInt(words[0], 10, 64)
		u.AnonBytes = kib << 10
	}
	return u
}
