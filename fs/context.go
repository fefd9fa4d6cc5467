package fs

import (
	"context"
	"sync"
	"time"
)

const (
	// callerCheck is how often a read that waits looks whether its caller still
	// lives. The kernel tells nothing of the death of a reader whose pages are being
	// read ahead.
	callerCheck = time.Second
	// interruptedCheck is the same after an interrupt, which comes only once.
	interruptedCheck = 100 * time.Millisecond
)

// readContext is the context of one read. It is done when nobody waits for the
// answer any more, because the caller was killed or the connection to the kernel has
// ended, and when the file system ends.
// An interrupt alone does not end it. The kernel sends one for any signal, and a read
// that failed for a mere SIGCHLD would be EINTR to a program that expects none from a
// file, and SIGBUS to one that has it mapped.
//
// It costs nothing until somebody asks for Done, so a read that is answered from the
// cache starts no goroutine.
type readContext struct {
	interrupt <-chan struct{} // may be closed for any signal
	ending    <-chan struct{} // closed when the file system ends
	abandoned func(interrupted bool) bool

	mu       sync.Mutex
	done     chan struct{} // nil until somebody waits
	over     chan struct{} // closed by finish; nil without a watcher
	exited   chan struct{} // closed by the watcher
	finished bool
	ended    bool // by the watcher
	gone     bool // because of the caller
}

func (c *readContext) Deadline() (time.Time, bool) { return time.Time{}, false }
func (c *readContext) Value(any) any               { return nil }

func (c *readContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done != nil {
		return c.done
	}
	c.done = make(chan struct{})
	if c.finished {
		close(c.done)
		return c.done
	}
	c.over, c.exited = make(chan struct{}), make(chan struct{})
	go c.watch(c.over)
	return c.done
}

func (c *readContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.finished || c.ended {
		return context.Canceled
	}
	return nil
}

// finish ends the context after the read and reports whether the read was abandoned
// before. It waits for the watcher.
func (c *readContext) finish() (abandoned bool) {
	c.mu.Lock()
	c.finished = true
	over, exited := c.over, c.exited
	c.mu.Unlock()
	if over != nil {
		close(over)
		<-exited
	}
	return c.gone
}

func (c *readContext) watch(over <-chan struct{}) {
	defer close(c.exited)
	defer close(c.done)
	tick := time.NewTicker(callerCheck)
	defer tick.Stop()
	interrupt, interrupted := c.interrupt, false
	for {
		select {
		case <-over:
			return
		case <-c.ending:
			c.end(false)
			return
		case <-interrupt:
			interrupt, interrupted = nil, true
			tick.Reset(interruptedCheck)
		case <-tick.C:
		}
		if c.abandoned(interrupted) {
			c.end(true)
			return
		}
	}
}

func (c *readContext) end(gone bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended, c.gone = true, gone
}
