package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// bench is one run.
type bench struct {
	opt      options
	work     string
	log      io.Writer // what is being done, and what fails
	tracker  *tracker
	seeder   seederKind
	mounters []mounter // who can mount, ours first
	aria2    bool
	table    table
	contents map[string]*content
	filled   map[string]bool // mounters whose data directory holds all of the content of cp
	tooSlow  map[string]bool // mounters that did not read all of it within the time limit
	failures []error
	dropped  bool // the kernel's caches could be dropped whenever they should
	started  time.Time
}

func newBench(ctx context.Context, o options, log io.Writer) (b *bench, err error) {
	if _, err := os.Stat(o.bin); err != nil {
		return nil, fmt.Errorf("-bin: %w", err)
	}
	b = &bench{opt: o, log: log, dropped: true, contents: map[string]*content{}, filled: map[string]bool{}, tooSlow: map[string]bool{}, started: time.Now()}
	if b.seeder, err = chooseSeeder(ctx, o.seeder); err != nil {
		return nil, err
	}
	if b.work = o.work; b.work == "" {
		b.work, err = os.MkdirTemp("", "qqbtfs-bench-")
	} else {
		err = os.MkdirAll(b.work, 0o755)
	}
	if err != nil {
		return nil, err
	}
	if b.tracker, err = startTracker(); err != nil {
		return nil, err
	}
	wanted := strings.Split(o.contenders, ",")
	for _, m := range allMounters(o.bin) {
		if slices.Contains(wanted, m.name) && installed(m.command[0]) {
			b.mounters = append(b.mounters, m)
		}
	}
	b.aria2 = slices.Contains(wanted, "aria2c") && installed("aria2c")
	for _, m := range b.mounters {
		b.table.addColumn(m.name)
	}
	if b.aria2 {
		b.table.addColumn("aria2c")
	}
	return b, nil
}

func (b *bench) close() {
	b.tracker.close()
	if b.opt.work == "" {
		os.RemoveAll(b.work)
	}
}

func (b *bench) path(elem ...string) string {
	return filepath.Join(append([]string{b.work}, elem...)...)
}

// say tells what is being measured now.
func (b *bench) say(format string, args ...any) { fmt.Fprintf(b.log, format+"\n", args...) }

// each runs a measurement for every mounter. What fails for one is said, shown
// in the table and does not keep the others from their turn. For ours it fails the run.
func (b *bench) each(ctx context.Context, scenario, label string, measure func(m mounter) error) error {
	for _, m := range b.mounters {
		b.say("%s: %s", scenario, m.name)
		err := measure(m)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil {
			continue
		}
		err = fmt.Errorf("%s: %s: %w", scenario, m.name, err)
		b.say("%v", err)
		cell := "failed"
		if errors.Is(err, errLimit) {
			cell = mark
		}
		b.table.set(scenario, label, m.name, cell)
		if m.ours {
			b.failures = append(b.failures, err)
		}
	}
	return nil
}

// dropCaches makes the kernel forget what it has cached of files. That takes root.
func (b *bench) dropCaches() {
	if os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0) != nil {
		b.dropped = false
	}
}

// choose returns full, or quick with -quick.
func choose[T any](b *bench, full, quick T) T {
	if b.opt.quick {
		return quick
	}
	return full
}
