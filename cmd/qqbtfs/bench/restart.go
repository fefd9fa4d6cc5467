package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync/atomic"
	"time"
)

func runRemount(ctx context.Context, b *bench) error {
	c, err := b.bigContent(ctx)
	if err != nil {
		return err
	}
	return b.each(ctx, "remount", "file visible, s", func(m mounter) error {
		if err := b.refill(ctx, m, c); err != nil {
			return err
		}
		visible, first, err := b.firstByte(ctx, m, c, true)
		if err == nil {
			b.table.set("remount", "file visible, s", m.name, seconds(visible))
			b.table.set("remount", "first 64 KiB, s", m.name, seconds(first))
		}
		return err
	})
}

func runWarm(ctx context.Context, b *bench) error {
	c, err := b.bigContent(ctx)
	if err != nil {
		return err
	}
	err = b.each(ctx, "warm", "MB/s", func(m mounter) error {
		if err := b.refill(ctx, m, c); err != nil {
			return err
		}
		b.dropCaches()
		mnt, err := b.mount(ctx, m, c, true)
		if err != nil {
			return err
		}
		defer mnt.stop()
		path, err := mnt.await(ctx, c.name, b.opt.limit)
		if err != nil {
			return err
		}
		r, err := b.copyOut(ctx, path, c)
		if err != nil {
			return err
		}
		b.table.set("warm", "MB/s", m.name, r.rate())
		return b.measureAgain(ctx, m.name, path, c)
	})
	if err != nil {
		return err
	}
	b.say("warm: the plain file")
	b.dropCaches()
	var n atomic.Int64
	start := time.Now()
	if err := readAll(c.path(), "", &n); err != nil {
		return err
	}
	b.table.set("warm", "MB/s", plainFile, copied{n.Load(), c.size, time.Since(start)}.rate())
	return b.measureAgain(ctx, plainFile, c.path(), c)
}

// measureAgain reads a file that was just read, three times, and enters the best.
func (b *bench) measureAgain(ctx context.Context, who, path string, c *content) error {
	var best copied
	for range 3 {
		var n atomic.Int64
		start := time.Now()
		if err := within(ctx, b.opt.limit, func() error { return readAll(path, "", &n) }); err != nil {
			return err
		}
		if took := time.Since(start); best.took == 0 || took < best.took {
			best = copied{n.Load(), c.size, took}
		}
	}
	b.table.set("warm", "again, MB/s", who, best.rate())
	return nil
}

// runUnmount ends a mount while a read waits for what nobody has.
func runUnmount(ctx context.Context, b *bench) error {
	c, err := b.fileContent(ctx, choose[int64](b, 256<<20, 8<<20))
	if err != nil {
		return err
	}
	return b.each(ctx, "unmount", "process and mount gone, s", func(m mounter) error {
		mnt, err := b.mount(ctx, m, c, false)
		if err != nil {
			return err
		}
		defer mnt.stop()
		path, err := mnt.await(ctx, c.name, b.opt.limit)
		if err != nil {
			return err
		}
		reader := exec.Command("head", "-c", "1", path)
		if err := reader.Start(); err != nil {
			return err
		}
		ended := make(chan error, 1)
		go func() { ended <- reader.Wait() }()
		select {
		case <-ended:
			return errors.New("the read did not wait")
		case <-time.After(500 * time.Millisecond):
		}
		took := mnt.stop()
		if mnt.mounted() {
			return fmt.Errorf("%s is still mounted", mnt.dir)
		}
		reader.Process.Signal(os.Kill)
		<-ended
		text := seconds(took)
		if took >= stopLimit {
			text += mark // and then killed
		}
		b.table.set("unmount", "process and mount gone, s", m.name, text)
		return nil
	})
}
