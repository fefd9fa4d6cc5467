package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/qqbtfs/qqbtfs/cmd/qqbtfs/config"
	"github.com/qqbtfs/qqbtfs/fetch"
)

func (a *app) getCmd() *cobra.Command {
	g := &getting{a: a, dir: "."}
	cmd := &cobra.Command{
		Use:   "get [flags] SOURCE...",
		Short: "Download torrents to plain files, without a mount",
		Long: `Download torrents to plain files, several at once. What is there already is
checked and kept, so the same command goes on with an interrupted download. It
ends with 0 when everything is complete.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return oneArg("SOURCE")(cmd, args)
			}
			return nil
		},
		ValidArgsFunction: completeTorrents,
		RunE:              func(cmd *cobra.Command, args []string) error { return g.main(cmd.Context(), args) },
	}
	fs := cmd.Flags()
	fs.VarP(&g.dir, "output", "o", "directory to download to")
	fs.BoolVar(&g.seed, "seed", false, "go on seeding when complete, until interrupted or as --seed-ratio and --seed-time say")
	g.net.register(fs)
	g.net.complete(cmd)
	_ = cmd.MarkFlagDirname("output")
	return cmd
}

// getting is one run of the get command.
type getting struct {
	a     *app
	dir   config.Path
	seed  bool
	net   netFlags
	node  *node
	downs []*download
}

// download is one torrent on its way to plain files.
type download struct {
	*loaded
	content content
	files   []int // that are asked for, by their index in the metainfo; nil: all
	size    int64 // of these, in bytes
	check   *counter
	member  atomic.Pointer[member] // nil while what is there is checked
}

func (g *getting) main(ctx context.Context, sources []string) (err error) {
	if err := g.net.check(g.a.log.Logger); err != nil {
		return err
	}
	if _, err := os.Stat(string(g.dir)); err == nil && !isDir(string(g.dir)) || errors.Is(err, syscall.ENOTDIR) {
		return failf(codeDisk, "-o %s is not a directory", g.dir)
	}
	torrents, err := g.a.loadSources(ctx, g.net.policy, sources)
	if err != nil {
		return err
	}
	if g.node, err = g.a.newNode(&g.net, 0); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.node.close()) }()
	if err := g.node.complete(ctx, torrents...); err != nil {
		return err
	}
	if err := g.plan(torrents); err != nil {
		return err
	}
	tasks := make([]task, len(g.downs))
	for i, d := range g.downs {
		tasks[i] = task{d.meta.Info.Name, d.sample}
	}
	if err := g.a.runWithBars(tasks, func() error { return g.fetchAll(ctx) }); err != nil {
		return err
	}
	for _, d := range g.downs {
		fmt.Fprintf(g.a.out, "%s  complete, %s\n", d.content.path(), formatBytes(d.size))
	}
	if g.seed {
		ctx, cancel := g.node.untilSeeded(ctx)
		defer cancel()
		g.a.showProgress(ctx, g.a.err, func() string { return progressText(g.node.status()) })
	}
	return nil
}

// plan decides where the torrents go and refuses two at the same place.
func (g *getting) plan(torrents []*loaded) error {
	taken := map[string]string{}
	for _, l := range torrents {
		files, err := l.selected()
		if err != nil {
			return err
		}
		c := downloadContent(string(g.dir), l.meta)
		// Some file systems do not tell upper case from lower case.
		key := strings.ToLower(c.path())
		if other, clash := taken[key]; clash {
			return failf(codeUsage, "%s and %s would both go to %s: get them one by one into different directories (-o)", other, l.source, c.path())
		}
		taken[key] = l.source
		d := &download{loaded: l, content: c, files: files, size: l.meta.Info.Total, check: newCounter()}
		if files != nil {
			d.size = 0
		}
		for _, i := range files {
			d.size += l.meta.Info.Files[i].Length
		}
		g.downs = append(g.downs, d)
	}
	return nil
}

// fetchAll returns when all downloads are complete and on disk, or one can't be.
func (g *getting) fetchAll(ctx context.Context) error {
	eg, ectx := errgroup.WithContext(ctx)
	for _, d := range g.downs {
		disk, err := d.content.open(ctx, d.loaded, false, d.check.set)
		if err != nil {
			return errors.Join(err, eg.Wait())
		}
		m, err := g.node.join(d.loaded, joinOptions{disk: disk, fill: true})
		if err != nil {
			return errors.Join(err, eg.Wait())
		}
		d.member.Store(m)
		eg.Go(func() error { return d.await(ectx) })
	}
	err := eg.Wait()
	if ctx.Err() != nil {
		return failf(codeIncomplete, "interrupted at %s: the same command goes on", g.progress())
	}
	return err
}

func (g *getting) progress() string {
	var have, all int64
	for _, d := range g.downs {
		all += d.size
		have += d.have()
	}
	return percent(have, all)
}

// await returns when the download is complete and on disk. A disk that takes
// nothing more is an error: waiting for space is what a mount can afford.
func (d *download) await(ctx context.Context) error {
	m := d.member.Load()
	watch := time.NewTicker(time.Second)
	defer watch.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-m.t.Done():
			if err := m.store.Flush(ctx); err != nil {
				return failf(codeDisk, "%s: %w", d.content.path(), err)
			}
			return nil
		case <-watch.C:
			if s := m.store.Stats().State; s != "ok" {
				return failf(codeDisk, "%s: %s: make room, and the same command goes on", d.content.path(), strings.TrimSuffix(s, ": RAM only"))
			}
		}
	}
}

// sample is the download's progress.
func (d *download) sample() (done, total int64, text string) {
	m := d.member.Load()
	if m == nil {
		done, total, text = d.check.sample()
		return done, total, "checking what is there  " + text
	}
	s := m.t.Status()
	if d.files != nil {
		s.BytesHave, s.Bytes = d.have(), d.size
		s.Complete = s.BytesHave == s.Bytes
	}
	return s.BytesHave, s.Bytes, downloadText(s)
}

// have is how many bytes are here of those that are asked for.
func (d *download) have() (sum int64) {
	m := d.member.Load()
	switch {
	case m == nil:
		return 0
	case d.files == nil:
		return m.store.Stats().Bytes
	}
	l := local{fetch.Layout(d.meta), m.store}
	for _, i := range d.files {
		if d.meta.Info.Files[i].Length > 0 {
			sum += l.bytes(i)
		}
	}
	return sum
}

func downloadText(s fetch.Status) string {
	text := fmt.Sprintf("of %s  %s  ", formatBytes(s.Bytes), formatRate(s.DownRate))
	switch {
	case s.Complete:
		return text + "complete"
	case len(s.Peers) == 0:
		return text + s.State
	}
	return text + plural(len(s.Peers), "peer") + strings.Replace(left(s), ", ", "  ", 1)
}
