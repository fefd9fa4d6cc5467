package fs

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestReadContextCostsNothingUnused(t *testing.T) {
	c := &readContext{abandoned: func(bool) bool { t.Error("asked"); return true }}
	if c.Err() != nil || c.finish() || c.over != nil {
		t.Error("a read that did not wait was watched")
	}
	select {
	case <-c.Done():
	default:
		t.Error("not done after the read")
	}
	if !errors.Is(c.Err(), context.Canceled) {
		t.Error("no error after the read")
	}
}

// The kernel sends an interrupt for any signal, also for one that the caller handles.
func TestReadContextOutlivesAnInterrupt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		interrupt := make(chan struct{})
		var gone, told atomic.Bool
		c := &readContext{interrupt: interrupt, abandoned: func(interrupted bool) bool {
			told.Store(interrupted)
			return gone.Load()
		}}
		done := c.Done()
		close(interrupt)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if c.Err() != nil || !told.Load() {
			t.Fatalf("after an interrupt: %v, told %v", c.Err(), told.Load())
		}
		gone.Store(true)
		start := time.Now()
		<-done
		if waited := time.Since(start); waited > interruptedCheck {
			t.Errorf("the death of the caller was seen after %v", waited)
		}
		if c.Err() == nil || !c.finish() {
			t.Error("the read does not count as abandoned")
		}
	})
}

func TestReadContextSeesADeadCallerWithoutInterrupt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &readContext{abandoned: func(interrupted bool) bool { return !interrupted }}
		start := time.Now()
		<-c.Done()
		if waited := time.Since(start); waited != callerCheck {
			t.Errorf("took %v", waited)
		}
		c.finish()
	})
}

func TestReadContextWatcherEndsWithTheRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // fails if a goroutine is left
		c := &readContext{abandoned: func(bool) bool { return false }}
		child, cancel := context.WithTimeout(c, time.Hour)
		defer cancel()
		if c.finish() {
			t.Error("abandoned")
		}
		<-child.Done()
		if !errors.Is(child.Err(), context.Canceled) {
			t.Errorf("a derived context says %v", child.Err())
		}
	})
}

func TestReadContextEndsWithTheFileSystem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ending := make(chan struct{})
		c := &readContext{ending: ending, abandoned: func(bool) bool { return false }}
		done := c.Done()
		close(ending)
		<-done
		if !errors.Is(c.Err(), context.Canceled) || c.finish() {
			t.Error("the caller of a read that ends with the file system is told EINTR")
		}
	})
}
