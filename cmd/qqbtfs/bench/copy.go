package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync/atomic"
	"time"
)

// readSize is how much a program like cp reads at once.
const readSize = 128 << 10

// readAll reads the file at path to its end, compares it with the one at want
// unless that is "", and counts the bytes as they come.
func readAll(path, want string, n *atomic.Int64) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	var ref *os.File
	if want != "" {
		if ref, err = os.Open(want); err != nil {
			return err
		}
		defer ref.Close()
	}
	got, expected := make([]byte, readSize), make([]byte, readSize)
	for {
		k, err := io.ReadFull(f, got)
		if err == io.EOF {
			return nil
		}
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		if ref != nil {
			if _, err := io.ReadFull(ref, expected[:k]); err != nil {
				return err
			}
			if !bytes.Equal(got[:k], expected[:k]) {
				return fmt.Errorf("wrong bytes between %d and %d", n.Load(), n.Load()+int64(k))
			}
		}
		n.Add(int64(k))
	}
}

// copied is how far a whole read came.
type copied struct {
	bytes, all int64
	took       time.Duration
}

func (c copied) complete() bool { return c.bytes == c.all }

// rate is in MB/s, marked when the time was over first.
func (c copied) rate() string {
	text := fmt.Sprintf("%.1f", float64(c.bytes)/c.took.Seconds()/1e6)
	if !c.complete() {
		text += mark
	}
	return text
}

// copyOut reads all of a mounted file. Running into the limit is no error.
func (b *bench) copyOut(ctx context.Context, path string, c *content) (copied, error) {
	var n atomic.Int64
	start := time.Now()
	err := within(ctx, b.opt.limit, func() error { return readAll(path, c.path(), &n) })
	r := copied{n.Load(), c.size, time.Since(start)}
	if errors.Is(err, errLimit) {
		err = nil
	} else if err == nil && !r.complete() {
		err = fmt.Errorf("the file ends after %d of %d bytes", r.bytes, r.all)
	}
	return r, err
}

func (b *bench) bigContent(ctx context.Context) (*content, error) {
	return b.fileContent(ctx, choose(b, b.opt.size, 8<<20))
}

func runCopy(ctx context.Context, b *bench) error {
	c, err := b.bigContent(ctx)
	if err != nil {
		return err
	}
	if err := b.each(ctx, "cp", "MB/s", func(m mounter) error { return b.measureCopy(ctx, m, c) }); err != nil {
		return err
	}
	return b.measureAria2(ctx, "cp", c)
}

// measureCopy leaves a data directory with everything in it.
func (b *bench) measureCopy(ctx context.Context, m mounter, c *content) error {
	s, err := b.startSwarm(ctx, swarmOptions{content: c, seeds: 4})
	if err != nil {
		return err
	}
	r, mnt, err := b.fill(ctx, m, c)
	sent := s.stop()
	if err != nil {
		return err
	}
	b.table.set("cp", "MB/s", m.name, r.rate())
	b.table.set("cp", "CPU time, s", m.name, seconds(mnt.cpu()))
	b.table.set("cp", "anonymous memory at most, MB", m.name, fmt.Sprint(mnt.anon.Load()/1e6))
	if sent >= 0 && r.complete() {
		b.table.set("cp", "sent by the seeders / content", m.name, fmt.Sprintf("%.3f", float64(sent)/float64(c.size)))
	}
	return nil
}

// fill reads everything out of a new mount and stops it.
func (b *bench) fill(ctx context.Context, m mounter, c *content) (r copied, mnt *mount, err error) {
	if mnt, err = b.mount(ctx, m, c, false); err != nil {
		return r, nil, err
	}
	defer mnt.stop()
	path, err := mnt.await(ctx, c.name, b.opt.limit)
	if err != nil {
		return r, mnt, err
	}
	r, err = b.copyOut(ctx, path, c)
	mnt.stop()
	b.filled[m.name] = err == nil && r.complete()
	b.tooSlow[m.name] = err == nil && !r.complete()
	return r, mnt, err
}

// refill makes sure that the mounter has all of c in its data directory.
func (b *bench) refill(ctx context.Context, m mounter, c *content) error {
	if b.filled[m.name] {
		return nil
	}
	if b.tooSlow[m.name] {
		return fmt.Errorf("the download before it: %w", errLimit)
	}
	s, err := b.startSwarm(ctx, swarmOptions{content: c, seeds: 4})
	if err != nil {
		return err
	}
	defer s.stop()
	if _, _, err := b.fill(ctx, m, c); err != nil {
		return err
	}
	if !b.filled[m.name] {
		return fmt.Errorf("the download before it: %w", errLimit)
	}
	return nil
}

// measureAria2 downloads c with aria2c, to disk.
func (b *bench) measureAria2(ctx context.Context, scenario string, c *content) error {
	if !b.aria2 {
		return nil
	}
	b.say("%s: aria2c", scenario)
	dir := b.path("aria2")
	return b.measureDownload(ctx, scenario, "aria2c", c, dir, exec.CommandContext(ctx, "aria2c", "-q", "--no-conf",
		"--enable-dht=false", "--bt-enable-lpd=false", "--seed-time=0", "--file-allocation=none",
		"-d", dir, c.torrent))
}

func runGet(ctx context.Context, b *bench) error {
	c, err := b.bigContent(ctx)
	if err != nil {
		return err
	}
	for _, m := range b.mounters {
		if !m.ours {
			continue
		}
		b.say("get: %s", m.name)
		dir := b.path("get")
		cmd := exec.CommandContext(ctx, b.opt.bin, "get", c.torrent, "-o", dir, "--listen", "127.0.0.1:0")
		if err := b.measureDownload(ctx, "get", m.name, c, dir, cmd); err != nil {
			return err
		}
	}
	return b.measureAria2(ctx, "get", c)
}

// measureDownload measures a download to plain files in dir, which it removes, and
// compares what came.
func (b *bench) measureDownload(ctx context.Context, scenario, who string, c *content, dir string, cmd *exec.Cmd) error {
	s, err := b.startSwarm(ctx, swarmOptions{content: c, seeds: 4})
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	cmd.Env = cleanEnv()
	start := time.Now()
	err = within(ctx, b.opt.limit, cmd.Run)
	took := time.Since(start)
	if errors.Is(err, errLimit) {
		cmd.Process.Kill()
	}
	sent := s.stop()
	if err == nil {
		var n atomic.Int64
		err = readAll(dir+"/"+c.name, c.path(), &n)
		if err == nil && n.Load() != c.size {
			err = fmt.Errorf("%d of %d bytes", n.Load(), c.size)
		}
	}
	if err != nil {
		b.table.set(scenario, "MB/s", who, "failed")
		b.failures = append(b.failures, fmt.Errorf("%s: %s: %w", scenario, who, err))
		return ctx.Err()
	}
	b.table.set(scenario, "MB/s", who, copied{c.size, c.size, took}.rate())
	b.table.set(scenario, "CPU time, s", who, seconds(cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime()))
	if sent >= 0 {
		b.table.set(scenario, "sent by the seeders / content", who, fmt.Sprintf("%.3f", float64(sent)/float64(c.size)))
	}
	return nil
}
