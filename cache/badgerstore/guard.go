package badgerstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/qqbtfs/qqbtfs/cache"
)

const (
	// slack is what Badger may write behind our back at any moment, in bytes: a
	// memtable on its way to a table, a compaction, the first pages of new files.
	slack = 24 << 20
	// maxFlush is what it takes to flush a full memtable.
	maxFlush = 10 << 20
	// ballastSize is enough for that while the disk is full; less under a quota,
	// where memtables stay small.
	ballastSize = 12 << 20

	ballastName = "ballast"
)

// guard watches the free space of the file system that dir is on.
type guard struct {
	dir     string
	minFree int64 // as in Options
	size    int64 // of the ballast
	statfs  func(dir string) (free, total int64, err error)
}

func statfs(dir string) (free, total int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, os.NewSyscallError("statfs", err)
	}
	return int64(st.Bavail) * int64(st.Bsize), int64(st.Blocks) * int64(st.Bsize), nil
}

// admit returns cache.ErrNoSpace unless need bytes can be written without
// touching the reserve.
func (g *guard) admit(need int64) error {
	free, total, err := g.statfs(g.dir)
	if err != nil {
		return err
	}
	reserve := g.minFree
	switch {
	case reserve == 0:
		reserve = min(1<<30, total/20)
	case reserve < 0:
		reserve = 0
	}
	if free < reserve+slack+need {
		if free < slack {
			g.giveUp()
		}
		return fmt.Errorf("%w: %d MiB free on disk, %d MiB kept free", cache.ErrNoSpace, free>>20, (reserve+slack)>>20)
	}
	if free > reserve+slack+need+2*g.size {
		return g.hold()
	}
	return nil
}

// room reports whether need bytes can be written at all, giving up the ballast
// if that helps. It is for what makes space or must be done.
func (g *guard) room(need int64) bool {
	free, _, err := g.statfs(g.dir)
	if err == nil && free < need {
		g.giveUp()
		free, _, err = g.statfs(g.dir)
	}
	return err != nil || free >= need
}

func (g *guard) ballast() string { return filepath.Join(g.dir, ballastName) }

// hold takes the ballast aboard unless it is there, and no more than that.
func (g *guard) hold() error {
	if info, err := os.Lstat(g.ballast()); err == nil && statBlocks(info) <= g.size+1<<20 {
		return nil
	}
	g.giveUp()
	f, err := os.OpenFile(g.ballast(), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	f.Close()
	return allocate(g.ballast(), 0, g.size)
}

// giveUp throws the ballast overboard.
func (g *guard) giveUp() { os.Remove(g.ballast()) }

// isFull reports whether err says that the disk, or a quota on it, is full.
// Badger turns errors into text, so their words count too.
func isFull(err error) bool {
	return errors.Is(err, cache.ErrNoSpace) || says(err, unix.ENOSPC, unix.EDQUOT)
}

// isSurroundings reports whether err tells of the machine and not of the
// database's content.
func isSurroundings(err error) bool {
	return says(err, unix.EROFS, unix.EACCES, unix.EPERM, unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.EIO, unix.ESTALE)
}

func says(err error, nos ...unix.Errno) bool {
	for _, no := range nos {
		if errors.Is(err, no) || err != nil && strings.Contains(err.Error(), no.Error()) {
			return true
		}
	}
	return false
}
