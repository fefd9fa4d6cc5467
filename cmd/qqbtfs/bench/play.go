package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"
)

// player is how a video player reads a file: what it needs before it starts, at
// what rate it consumes, and how far ahead it buffers.
type player struct {
	rate   float64 // bytes per second of film
	start  int64   // bytes that it wants before it starts, also after a jump
	resume int64   // and after a stall
	ahead  int64   // bytes that it buffers at most
	length time.Duration
}

// filmPlayer plays a film of 1 MB/s.
func (b *bench) filmPlayer() player {
	return player{rate: 1e6, start: 2e6, resume: 1e6, ahead: 5e6, length: choose(b, 15*time.Second, time.Second)}
}

// played is what somebody in front of the player saw.
type played struct {
	start   time.Duration // from the start of the process to the first picture
	stalls  int
	stalled time.Duration
	jump    time.Duration // from a jump to the next picture
}

func runPlay(ctx context.Context, b *bench) error {
	c, err := b.fileContent(ctx, choose[int64](b, 64<<20, 8<<20))
	if err != nil {
		return err
	}
	o := swarmOptions{content: c, seeds: 8, rate: choose(b, 190e3, 2e6), delay: 25 * time.Millisecond}
	return b.each(ctx, "play", "start, s", func(m mounter) error {
		return b.mounted(ctx, m, c, o, func(mnt *mount, path string) error {
			var r played
			if err := within(ctx, b.opt.limit, func() (err error) {
				r, err = b.filmPlayer().play(path, c.size, mnt.started)
				return err
			}); err != nil {
				return err
			}
			b.table.set("play", "start, s", m.name, seconds(r.start))
			b.table.set("play", "stalls", m.name, fmt.Sprint(r.stalls))
			b.table.set("play", "stalled in all, s", m.name, seconds(r.stalled))
			b.table.set("play", "a jump, s", m.name, seconds(r.jump))
			return nil
		})
	})
}

// play watches the file from its start for the player's length, then jumps to
// five eighths of it.
func (p player) play(path string, size int64, since time.Time) (r played, err error) {
	f, err := os.Open(path)
	if err != nil {
		return r, err
	}
	defer f.Close()
	// The container's header, and its index at the end.
	for _, part := range []struct{ off, n int64 }{{0, 64 << 10}, {size - 256<<10, 256 << 10}} {
		if err := readOn(f, part.off, part.n); err != nil {
			return r, err
		}
	}
	read := p.start
	if err := readOn(f, 0, read); err != nil {
		return r, err
	}
	r.start = time.Since(since)
	clock := time.Now() // the film's zero; moves with every stall
	for time.Since(clock) < p.length {
		need := int64(p.rate * time.Since(clock).Seconds())
		switch {
		case read >= need+p.ahead || read >= size:
			time.Sleep(20 * time.Millisecond)
			continue
		case read < need:
			stop := time.Now()
			if err := readOn(f, read, p.resume); err != nil {
				return r, err
			}
			read += p.resume
			r.stalls++
			r.stalled += time.Since(stop)
			clock = clock.Add(time.Since(stop))
		default:
			if err := readOn(f, read, firstSize); err != nil {
				return r, err
			}
			read += firstSize
		}
	}
	jump := time.Now()
	err = readOn(f, size/8*5, p.start)
	r.jump = time.Since(jump)
	return r, err
}

// readOn reads n bytes from off on, or up to the end, in the portions that a
// player uses.
func readOn(f *os.File, off, n int64) error {
	_, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{io.NewSectionReader(f, off, n)}, make([]byte, firstSize))
	return err
}
