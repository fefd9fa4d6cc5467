package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// task is something with a progress that takes a while.
type task struct {
	name string
	// sample tells how much of how much is done, in bytes, and what else there is
	// to say.
	sample func() (done, total int64, text string)
}

// showBars shows the progress of tasks until ctx ends: a bar each on a terminal,
// elsewhere a line now and then.
func (a *app) showBars(ctx context.Context, tasks []task) {
	f, live := terminal(a.err)
	if !live {
		a.plainBars(ctx, tasks)
		return
	}
	p := mpb.New(mpb.WithOutput(f), mpb.WithRefreshRate(liveEvery/2))
	if a.log.file == nil {
		a.log.out.set(p)
		defer a.log.out.set(a.err)
	}
	defer p.Wait()
	bars := make([]*mpb.Bar, len(tasks))
	texts := make([]atomic.Pointer[string], len(tasks))
	for i, t := range tasks {
		// A total of 0 keeps the bar alive when it is full.
		bars[i] = p.AddBar(0,
			mpb.PrependDecorators(decor.Name(cut(printable(t.name), 30), decor.WCSyncSpaceR)),
			mpb.AppendDecorators(decor.Any(func(decor.Statistics) string {
				if s := texts[i].Load(); s != nil {
					return *s
				}
				return ""
			})))
	}
	draw := func() {
		for i, t := range tasks {
			done, total, text := t.sample()
			text = percent(done, total) + "  " + text
			texts[i].Store(&text)
			bars[i].SetTotal(max(total, 1), false)
			bars[i].SetCurrent(done)
		}
	}
	draw()
	every(ctx, liveEvery, draw)
	draw()
	for _, b := range bars {
		b.Abort(false) // keeps what it shows
	}
}

func (a *app) plainBars(ctx context.Context, tasks []task) {
	prints := make([]func(), len(tasks))
	for i, t := range tasks {
		prints[i] = a.plainProgress(a.err, func() string {
			done, total, text := t.sample()
			return fmt.Sprintf("%s  %s  %s", printable(t.name), percent(done, total), text)
		})
	}
	every(ctx, plainEvery, func() {
		for _, p := range prints {
			p()
		}
	})
}

// runWithBars shows tasks while f runs. The last picture is that after f.
func (a *app) runWithBars(tasks []task, f func() error) error {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.showBars(ctx, tasks)
	}()
	err := f()
	cancel()
	<-done
	return err
}

// counter is progress that one goroutine makes and another shows.
type counter struct {
	done, total atomic.Int64
	start       time.Time
}

func newCounter() *counter { return &counter{start: time.Now()} }

func (c *counter) set(done, total int64) {
	c.total.Store(total)
	c.done.Store(done)
}

// sample is a task's sample: the rate and the time left.
func (c *counter) sample() (done, total int64, text string) {
	done, total = c.done.Load(), c.total.Load()
	rate := float64(done) / max(time.Since(c.start).Seconds(), 1e-3)
	text = fmt.Sprintf("of %s  %s", formatBytes(total), formatRate(rate))
	if d := remaining(total-done, rate); d > 0 {
		text += "  " + formatDuration(d) + " left"
	}
	return done, total, text
}
