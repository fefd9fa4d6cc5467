package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/qqbtfs/qqbtfs/cmd/qqbtfs/control"
	"github.com/qqbtfs/qqbtfs/fs"
)

// stopTimeout bounds the wait for a mount's process to end.
const stopTimeout = 30 * time.Second

func (a *app) umountCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "umount MOUNTPOINT",
		Aliases: []string{"unmount"},
		Short:   "End a mount",
		Long: `End a mount and wait until its process has stored everything and ended. Programs
that still use its files get errors. A mount whose process has died is cleared away.`,
		Args:              oneArg("MOUNTPOINT"),
		ValidArgsFunction: a.completeMounts,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.umount(cmd.Context(), args[0]) },
	}
}

// oneArg accepts exactly one argument of that name.
func oneArg(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch len(args) {
		case 0:
			return failf(codeUsage, "%s needs a %s (see: %s --help)", cmd.Name(), name, cmd.CommandPath())
		case 1:
			return nil
		default:
			return failf(codeUsage, "%s takes one %s, but %q follows (see: %s --help)", cmd.Name(), name, args[1], cmd.CommandPath())
		}
	}
}

func (a *app) umount(ctx context.Context, mountpoint string) error {
	path, err := realPath(mountpoint)
	if err != nil {
		return failf(codeNoMount, "%s: %w", mountpoint, err)
	}
	c, err := control.Dial(control.Dirs(string(a.common.cacheDir)), path)
	if err != nil {
		return a.umountDirectly(path)
	}
	defer c.Close()
	wait, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	err = c.Call(wait, opStop, nil)
	if err == nil {
		err = c.Wait(wait)
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return failf(codeIncomplete, "interrupted: the mount at %s ends without being waited for", path)
	case wait.Err() != nil:
		return failf(codeMount, "%s: its process has not ended within %s", path, formatDuration(stopTimeout))
	default:
		return failf(codeMount, "%s: %w", path, err)
	}
}

// umountDirectly unmounts without the help of the mount's process, which is dead
// or somebody else's.
func (a *app) umountDirectly(path string) error {
	mounts, err := fs.Mounts()
	if err != nil {
		return fail(codeMount, err)
	}
	for _, m := range mounts {
		if m.Dir != path {
			continue
		}
		err := fs.Unmount(path)
		if errors.Is(err, fs.ErrBusy) {
			return failf(codeMount, "%s is %w: close them and try again", path, fs.ErrBusy)
		}
		return fail(codeMount, err)
	}
	return failf(codeNoMount, "no qqbtfs is mounted at %s (see: qqbtfs status)", path)
}

// completeMounts completes the mount points of live mounts.
func (a *app) completeMounts(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	mounts, err := fs.Mounts()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var words []string
	for _, m := range mounts {
		words = append(words, m.Dir)
	}
	return words, cobra.ShellCompDirectiveNoFileComp
}
