// Command qqbtfs mounts torrents as read-only file systems, and downloads,
// creates, seeds and inspects them.
//
// Every command has a file of its own; it parses the command line, builds the
// concrete parts, runs them and ends with a documented exit code (exit.go). What
// a torrent, a swarm, a cache or a file system is, is decided in the packages
// beside this one; nothing here knows a protocol.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/qqbtfs/qqbtfs/cmd/qqbtfs/daemon"
)

// gcPercent is how much garbage the heap may have, in percent of what lives, unless GOGC
// says otherwise: most of it are buffers, which cost nothing to collect, and a page that
// is used again is cheaper than one that is touched for the first time.
const gcPercent = 40

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	a := newApp(os.Stdout, os.Stderr)
	a.parent = daemon.Inherited()
	os.Exit(int(a.run(a.interruptible(), os.Args[1:])))
}

// app is one invocation of the program: where it writes, and what all commands
// share.
type app struct {
	out, err io.Writer
	args     []string // of the command line, without the program's name
	log      logging
	common   commonFlags
	// parent waits for this process, which runs in its background; nil in the
	// foreground.
	parent *daemon.Parent
	// started is set when flags and settings were accepted: an error before
	// that is one of usage.
	started bool
	// force, if not nil, is called before a second signal ends the process.
	force atomic.Pointer[func()]
}

func newApp(out, err io.Writer) *app {
	return &app{out: out, err: err, log: newLogging(err)}
}

// sameSignal is how long after the first signal another one counts as the same:
// a terminal and whoever started us may both send one.
const sameSignal = time.Second

// interruptible returns a context that ends with the first SIGINT, SIGTERM or
// SIGHUP. A later one ends the process.
func (a *app) interruptible() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	c := make(chan os.Signal, 2)
	signal.Notify(c, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		twice(c, func() {
			if f, live := terminal(a.err); live {
				fmt.Fprint(f, clearLine) // the terminal's own ^C, which would shift the progress
			}
			cancel()
		})
		if f := a.force.Load(); f != nil {
			(*f)()
		}
		begin := ""
		if _, live := terminal(a.err); live {
			begin = clearLine
		}
		fmt.Fprintln(a.err, begin+"qqbtfs: forced to end")
		os.Exit(int(codeIncomplete))
	}()
	return ctx
}

// twice calls first for the first signal on c and returns with the second.
func twice(c <-chan os.Signal, first func()) {
	<-c
	at := time.Now()
	first()
	for range c {
		if time.Since(at) >= sameSignal {
			return
		}
	}
}

// run executes the command line args and returns the exit code. The error, if
// any, is on a.err or with the parent by then.
func (a *app) run(ctx context.Context, args []string) code {
	a.args = args
	root := a.rootCmd()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	a.log.close()
	if err == nil {
		return codeOK
	}
	if !a.started && exitCode(err) == codeFailure {
		err = failf(codeUsage, "%w (see: %s --help)", err, cmd.CommandPath())
	}
	c := exitCode(err)
	_ = a.parent.Fail(oneLine(err), int(c))
	fmt.Fprintf(a.err, "qqbtfs: %s\n", oneLine(err))
	return c
}
