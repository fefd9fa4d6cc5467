package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"time"
)

func runFind(ctx context.Context, b *bench) error {
	folders, files := choose(b, 200, 5), choose(b, 300, 10)
	c, err := b.treeContent(ctx, folders, files)
	if err != nil {
		return err
	}
	entries := folders*(files+1) + 1
	first, again := "first, s", "again, s"
	err = b.each(ctx, "find", first, func(m mounter) error {
		return b.mounted(ctx, m, c, swarmOptions{content: c, seeds: 1}, func(_ *mount, path string) error {
			for _, label := range []string{first, again} {
				took, err := b.find(ctx, path, entries)
				if err != nil {
					return err
				}
				b.table.set("find", label, m.name, seconds(took))
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	b.say("find: the plain files")
	for _, label := range []string{first, again} {
		if label == first {
			b.dropCaches()
		}
		took, err := b.find(ctx, c.path(), entries)
		if err != nil {
			return err
		}
		b.table.set("find", label, plainFile, seconds(took))
	}
	return nil
}

// find times find -ls and checks how much it lists.
func (b *bench) find(ctx context.Context, path string, entries int) (time.Duration, error) {
	start := time.Now()
	var out []byte
	err := within(ctx, b.opt.limit, func() (err error) {
		out, err = exec.CommandContext(ctx, "find", path, "-ls").Output()
		return err
	})
	took := time.Since(start)
	if err != nil {
		return took, err
	}
	if n := bytes.Count(out, []byte("\n")); n != entries {
		return took, fmt.Errorf("find lists %d entries instead of %d", n, entries)
	}
	return took, nil
}
