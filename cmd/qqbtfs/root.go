package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/qqbtfs/qqbtfs/cmd/qqbtfs/config"
	"github.com/qqbtfs/qqbtfs/cmd/qqbtfs/daemon"
)

const rootHelp = `qqbtfs mounts torrents: their files are there at once, and reading them fetches
what is read, first.

A SOURCE is a .torrent file, an http(s) URL of one, or a magnet link (put these two
in quotes).

Every long flag can also be set by an environment variable (--cache-dir is
QQBTFS_CACHE_DIR; lists are separated by commas) and in the config file, by a
line such as "cache-dir = /srv/cache". The command line wins over the
environment, that over the config file.`

func (a *app) rootCmd() *cobra.Command {
	root := &cobra.Command{
		Use:           "qqbtfs",
		Short:         "Mount torrents as files",
		Version:       programVersion(),
		Long:          rootHelp + "\n\n" + strings.TrimSpace(exitHelp()),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return a.unknownCommand(cmd, args[0])
		},
		PersistentPreRunE: a.prepare,
	}
	root.SetVersionTemplate(versionLine())
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if bad := (*pflag.InvalidValueError)(nil); errors.As(err, &bad) {
			err = fmt.Errorf("--%s: %w", bad.GetFlag().Name, config.Plain(bad))
		}
		return failf(codeUsage, "%w (see: %s --help)", err, cmd.CommandPath())
	})
	a.common.register(root)
	for _, cmd := range []*cobra.Command{
		a.mountCmd(), a.umountCmd(), a.getCmd(), a.statusCmd(),
		a.infoCmd(), a.createCmd(), a.seedCmd(), a.versionCmd(),
	} {
		cmd.Flags().SortFlags = false
		root.AddCommand(cmd)
	}
	root.SuggestionsMinimumDistance = 2
	return root
}

func (a *app) unknownCommand(root *cobra.Command, name string) error {
	hint := "see: qqbtfs --help"
	if near := root.SuggestionsFor(name); len(near) > 0 {
		hint = "did you mean " + strings.Join(near, " or ") + "?"
	} else if isURL(name) || isMagnet(name) || strings.HasSuffix(name, ".torrent") {
		hint = "did you mean: qqbtfs mount " + shownSource(name) + " MOUNTPOINT?"
	}
	return failf(codeUsage, "there is no command %q (%s)", shownSource(name), hint)
}

// own names the flags that are no settings.
var own = []string{"help", "version", "config"}

// prepare fills in the settings of cmd and starts the log, before cmd runs.
func (a *app) prepare(cmd *cobra.Command, _ []string) error {
	if isHelper(cmd) {
		return nil
	}
	file, err := a.loadConfig(cmd)
	if err != nil {
		return err
	}
	if err := config.Apply(cmd.Flags(), os.LookupEnv, file, own...); err != nil {
		return err
	}
	if err := a.common.check(); err != nil {
		return err
	}
	a.log.open(&a.common)
	a.warnUnknownEnv(cmd.Root())
	a.started = true
	return nil
}

// isHelper reports whether cmd is one of cobra's own commands, which must work
// also with a broken config file.
func isHelper(cmd *cobra.Command) bool {
	for c := cmd; c != nil; c = c.Parent() {
		switch c.Name() {
		case "help", "completion", cobra.ShellCompRequestCmd, cobra.ShellCompNoDescRequestCmd:
			return true
		}
	}
	return false
}

func (a *app) loadConfig(cmd *cobra.Command) (config.File, error) {
	name, must := string(a.common.config), true
	if !cmd.Flags().Changed("config") {
		if name, must = os.LookupEnv(config.EnvName("config")); name == "" {
			name, must = config.DefaultFile(), false
		}
	}
	if name == "" {
		return config.File{}, nil
	}
	file, err := config.Load(name, must)
	if err != nil {
		return file, err
	}
	known := settings(cmd.Root())
	return file, file.CheckKeys(func(k string) bool { return known[k] })
}

// settings returns the names of all flags of all commands that can be set in
// the environment and in the config file.
func settings(root *cobra.Command) map[string]bool {
	known := map[string]bool{}
	add := func(f *pflag.Flag) { known[f.Name] = true }
	root.PersistentFlags().VisitAll(add)
	for _, c := range root.Commands() {
		if !isHelper(c) {
			c.LocalFlags().VisitAll(add)
		}
	}
	for _, name := range own {
		delete(known, name)
	}
	return known
}

func (a *app) warnUnknownEnv(root *cobra.Command) {
	vars := map[string]bool{daemon.EnvFD: true, config.EnvName("config"): true}
	for name := range settings(root) {
		vars[config.EnvName(name)] = true
	}
	for _, name := range config.UnknownEnv(os.Environ(), func(n string) bool { return vars[n] }) {
		a.log.Warn("environment variable is no setting of qqbtfs, ignored", "name", name)
	}
}
