package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"time"
)

// firstSize is what a program reads of a file before it knows what it is.
const firstSize = 64 << 10

func runTTFB(ctx context.Context, b *bench) error {
	c, err := b.fileContent(ctx, choose[int64](b, 256<<20, 8<<20))
	if err != nil {
		return err
	}
	for _, net := range []struct {
		label string
		delay time.Duration
	}{{"local, s", 0}, {"round trip of 50 ms, s", 25 * time.Millisecond}} {
		s, err := b.startSwarm(ctx, swarmOptions{content: c, seeds: 4, delay: net.delay})
		if err != nil {
			return err
		}
		err = b.each(ctx, "ttfb", net.label, func(m mounter) error {
			var all []time.Duration
			for range choose(b, 5, 1) {
				_, first, err := b.firstByte(ctx, m, c, false)
				if err != nil {
					return err
				}
				all = append(all, first)
			}
			b.table.set("ttfb", net.label, m.name, seconds(quantile(all, 0.5)))
			return nil
		})
		s.stop()
		if err != nil {
			return err
		}
	}
	return nil
}

// firstByte mounts and returns how long after the start of the process the file
// was there and its first bytes were read.
func (b *bench) firstByte(ctx context.Context, m mounter, c *content, keep bool) (visible, first time.Duration, err error) {
	mnt, err := b.mount(ctx, m, c, keep)
	if err != nil {
		return 0, 0, err
	}
	defer mnt.stop()
	path, err := mnt.await(ctx, c.name, b.opt.limit)
	if err != nil {
		return 0, 0, err
	}
	visible = time.Since(mnt.started)
	err = within(ctx, b.opt.limit, func() error {
		return readPart(path, c.path(), 0, firstSize)
	})
	return visible, time.Since(mnt.started), err
}

// readPart reads n bytes at off and compares them with those of the file want.
func readPart(path, want string, off int64, n int) error {
	got, err := partOf(path, off, n)
	if err != nil {
		return err
	}
	expected, err := partOf(want, off, n)
	if err == nil && !bytes.Equal(got, expected) {
		err = fmt.Errorf("wrong bytes at %d", off)
	}
	return err
}

func partOf(path string, off int64, n int) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	p := make([]byte, n)
	if _, err := f.ReadAt(p, off); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return p, nil
}

func runSeek(ctx context.Context, b *bench) error {
	c, err := b.fileContent(ctx, choose[int64](b, 512<<20, 8<<20))
	if err != nil {
		return err
	}
	return b.each(ctx, "seek", "median, s", func(m mounter) error {
		s, err := b.startSwarm(ctx, swarmOptions{content: c, seeds: 8, rate: 500e3, delay: 25 * time.Millisecond})
		if err != nil {
			return err
		}
		defer s.stop()
		all, err := b.seeks(ctx, m, c)
		if err != nil {
			return err
		}
		late := ""
		if len(all) < b.numSeeks() {
			late = mark
		}
		b.table.set("seek", "median, s", m.name, seconds(quantile(all, 0.5))+late)
		b.table.set("seek", "95 of 100, s", m.name, seconds(quantile(all, 0.95))+late)
		b.table.set("seek", "longest, s", m.name, seconds(slices.Max(all))+late)
		return nil
	})
}

func (b *bench) numSeeks() int { return choose(b, 20, 3) }

// seeks times reads at random places, the same for every mounter, until the time
// limit has passed.
func (b *bench) seeks(ctx context.Context, m mounter, c *content) ([]time.Duration, error) {
	mnt, err := b.mount(ctx, m, c, false)
	if err != nil {
		return nil, err
	}
	defer mnt.stop()
	path, err := mnt.await(ctx, c.name, b.opt.limit)
	if err != nil {
		return nil, err
	}
	if err := within(ctx, b.opt.limit, func() error { return readPart(path, c.path(), 0, firstSize) }); err != nil {
		return nil, err
	}
	pause(ctx, choose(b, 2*time.Second, 0)) // let the download get up to speed
	rnd := rand.New(rand.NewPCG(3, 4))
	var all []time.Duration
	for begun := time.Now(); len(all) < b.numSeeks() && time.Since(begun) < b.opt.limit; {
		off := rnd.Int64N(c.size-firstSize) &^ 4095
		start := time.Now()
		if err := within(ctx, b.opt.limit, func() error { return readPart(path, c.path(), off, firstSize) }); err != nil {
			return nil, err
		}
		all = append(all, time.Since(start))
		pause(ctx, choose(b, 200*time.Millisecond, 0))
	}
	return all, nil
}

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// quantile returns the q-th of the sorted durations.
func quantile(all []time.Duration, q float64) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[min(int(float64(len(sorted))*q), len(sorted)-1)]
}

func seconds(d time.Duration) string {
	if d < 10*time.Second {
		return fmt.Sprintf("%.3f", d.Seconds())
	}
	return fmt.Sprintf("%.1f", d.Seconds())
}
