package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// filesContent returns a torrent of a folder with files of these sizes, in bytes, called
// "000.bin" and so on. It is laid out in the order of their names.
func (b *bench) filesContent(ctx context.Context, name string, sizes []int64) (*content, error) {
	return b.content(ctx, name, func(path string) (total int64, err error) {
		if err := os.MkdirAll(path, 0o755); err != nil {
			return 0, err
		}
		for i, size := range sizes {
			f, err := os.Create(filepath.Join(path, fileName(i)))
			if err != nil {
				return 0, err
			}
			n, err := io.Copy(f, io.LimitReader(rand.NewChaCha8([32]byte{byte(i), byte(len(sizes))}), size))
			f.Close()
			if err != nil {
				return 0, err
			}
			total += n
		}
		return total, nil
	})
}

func fileName(i int) string { return fmt.Sprintf("%03d.bin", i) }

// runTogether has two players and a cp read three files of one torrent.
func runTogether(ctx context.Context, b *bench) error {
	film, rest := choose[int64](b, 48<<20, 8<<20), choose[int64](b, 256<<20, 8<<20)
	c, err := b.filesContent(ctx, "together", []int64{film, film, rest})
	if err != nil {
		return err
	}
	return b.each(ctx, "together", "start of the later player, s", func(m mounter) error {
		return b.mounted(ctx, m, c, swarmOptions{content: c, seeds: 8, rate: choose(b, 500e3, 4e6), delay: 25 * time.Millisecond}, func(mnt *mount, dir string) error {
			var films [2]played
			var errs [2]error
			var copied atomic.Int64
			go readAll(filepath.Join(dir, fileName(2)), "", &copied) // ends with the mount, if not before
			err := within(ctx, b.opt.limit, func() error {
				var all sync.WaitGroup
				for i := range films {
					all.Go(func() {
						films[i], errs[i] = b.filmPlayer().play(filepath.Join(dir, fileName(i)), film, mnt.started)
					})
				}
				all.Wait()
				return errs[0]
			})
			if err == nil {
				err = errs[1]
			}
			if err != nil {
				return err
			}
			took := time.Since(mnt.started)
			b.table.set("together", "start of the later player, s", m.name, seconds(max(films[0].start, films[1].start)))
			b.table.set("together", "stalls of both", m.name, fmt.Sprint(films[0].stalls+films[1].stalls))
			b.table.set("together", "the later jump, s", m.name, seconds(max(films[0].jump, films[1].jump)))
			b.table.set("together", "cp beside them, MB/s", m.name, fmt.Sprintf("%.1f", float64(copied.Load())/took.Seconds()/1e6))
			return nil
		})
	})
}

// library is what a scanner looks through: the first file is a film.
type library struct {
	film, size int64 // bytes, of the film and each other file
	files      int   // without the film
}

// runScan has a scanner read the first and the last 64 KiB of many files, alone and
// beside a player. Only what is read is to be fetched.
func runScan(ctx context.Context, b *bench) error {
	lib := library{film: choose[int64](b, 48<<20, 8<<20), size: 1_000_000, files: choose(b, 200, 5)}
	sizes := []int64{lib.film}
	for range lib.files {
		sizes = append(sizes, lib.size)
	}
	c, err := b.filesContent(ctx, "library", sizes)
	if err != nil {
		return err
	}
	o := swarmOptions{content: c, seeds: 8, rate: choose(b, 1e6, 4e6), delay: 25 * time.Millisecond}
	return b.each(ctx, "scan", "alone, s", func(m mounter) error {
		if m.ours {
			m.command = append([]string{"env", "QQBTFS_FILL=none"}, m.command...)
		}
		s, err := b.startSwarm(ctx, o)
		if err != nil {
			return err
		}
		var took time.Duration
		err = b.mountedAlone(ctx, m, c, func(_ *mount, dir string) error {
			start := time.Now()
			defer func() { took = time.Since(start) }()
			return within(ctx, b.opt.limit, func() error { return lib.scan(dir) })
		})
		sent := s.stop()
		if err != nil {
			return err
		}
		b.table.set("scan", "alone, s", m.name, seconds(took))
		if sent >= 0 {
			b.table.set("scan", "sent by the seeders / pieces that were read", m.name, fmt.Sprintf("%.3f", float64(sent)/float64(lib.touched())))
		}
		return b.mounted(ctx, m, c, o, func(mnt *mount, dir string) error {
			scanned := make(chan error, 1)
			go func() { scanned <- lib.scan(dir) }()
			var p played
			err := within(ctx, b.opt.limit, func() (err error) {
				p, err = b.filmPlayer().play(filepath.Join(dir, fileName(0)), lib.film, mnt.started)
				return err
			})
			if err == nil {
				err = within(ctx, b.opt.limit, func() error { return <-scanned })
			}
			if err != nil {
				return err
			}
			b.table.set("scan", "beside a player: its start, s", m.name, seconds(p.start))
			b.table.set("scan", "its stalls", m.name, fmt.Sprint(p.stalls))
			b.table.set("scan", "its jump, s", m.name, seconds(p.jump))
			return nil
		})
	})
}

// scan reads the beginning and the end of every file but the film.
func (lib library) scan(dir string) error {
	for i := range lib.files {
		for _, off := range lib.offsets() {
			if _, err := partOf(filepath.Join(dir, fileName(1+i)), off, firstSize); err != nil {
				return err
			}
		}
	}
	return nil
}

// offsets are where a scan reads of each file.
func (lib library) offsets() []int64 { return []int64{0, lib.size - firstSize} }

// touched is how many bytes the pieces have that a scan reads of.
func (lib library) touched() int64 {
	pieces := map[int64]bool{}
	for i := range lib.files {
		for _, off := range lib.offsets() {
			first := lib.film + int64(i)*lib.size + off
			for at := first / pieceSize; at <= (first+firstSize-1)/pieceSize; at++ {
				pieces[at] = true
			}
		}
	}
	return int64(len(pieces)) * pieceSize
}
