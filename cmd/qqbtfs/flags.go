package main

import (
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/qqbtfs/qqbtfs/cmd/qqbtfs/config"
)

// commonFlags are the flags of every command.
type commonFlags struct {
	config    config.Path
	cacheDir  config.Path
	logFile   config.Path
	logFormat config.Choice
	verbose   int
}

func (c *commonFlags) register(root *cobra.Command) {
	c.config = config.Path(config.DefaultFile())
	c.cacheDir = config.Path(defaultCacheDir())
	c.logFormat = config.Choice{Value: "text", Choices: []string{"text", "json"}}
	fs := root.PersistentFlags()
	fs.SortFlags = false
	fs.Var(&c.cacheDir, "cache-dir", "where downloaded pieces are kept")
	fs.CountVarP(&c.verbose, "verbose", "v", "log announces, connections and pieces; twice: every wire message")
	fs.Var(&c.logFormat, "log-format", "how log lines look")
	fs.Var(&c.logFile, "log-file", "write the log there (default: standard error; for a mount in the background a file in the cache directory)")
	fs.Var(&c.config, "config", "read settings from this file")
	complete(root, "log-format", c.logFormat.Choices...)
	_ = root.MarkPersistentFlagDirname("cache-dir")
}

func (c *commonFlags) check() error {
	if c.cacheDir == "" {
		return failf(codeUsage, "there is no home directory to keep a cache in: set --cache-dir")
	}
	dir, err := filepath.Abs(string(c.cacheDir))
	if err != nil {
		return failf(codeUsage, "--cache-dir %s: %w", c.cacheDir, err)
	}
	c.cacheDir = config.Path(dir)
	return nil
}

// defaultCacheDir is $XDG_CACHE_HOME/qqbtfs, or "" without a home directory.
func defaultCacheDir() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "qqbtfs")
}

// cacheFlags are the flags of commands that keep pieces in the cache directory.
type cacheFlags struct {
	limit, minFree, ram config.Size
}

func (c *cacheFlags) register(fs *pflag.FlagSet) {
	c.ram = 48 << 20
	fs.Var(&c.limit, "cache-size", "disk space that the cache of each torrent may take, garbage included (0: no limit)")
	fs.Var(&c.limit, "cache-limit", "old name of --cache-size")
	_ = fs.MarkHidden("cache-limit")
	fs.Var(&c.minFree, "min-free", "disk space to leave free (0: 1 GiB, or 5 % of a small disk)")
	fs.Var(&c.ram, "ram", "memory for hot pieces of each torrent")
}

// mountFlags are the flags of mount itself.
type mountFlags struct {
	foreground  bool
	fill        config.Choice
	readTimeout config.Duration
	allowOther  bool
	sparseView  bool
	uid, gid    int
	umask       config.Mode
}

func (m *mountFlags) register(fs *pflag.FlagSet) {
	m.fill = config.Choice{Value: "all", Choices: []string{"all", "none"}}
	m.readTimeout = config.Duration(2 * time.Minute)
	fs.BoolVarP(&m.foreground, "foreground", "f", false, "stay in the foreground and show progress")
	fs.Var(&m.fill, "fill", "what to download beside what is read: everything in the background, or nothing")
	fs.Var(&m.readTimeout, "read-timeout", "fail a read that waited that long for the swarm (0: never)")
	fs.BoolVar(&m.allowOther, "allow-other", false, "let other users see the mount")
	fs.BoolVar(&m.sparseView, "sparse-view", false, "show what is not here as holes to SEEK_DATA and SEEK_HOLE (cp then copies zeros for it)")
	fs.IntVar(&m.uid, "uid", -1, "owner of the files (default: you)")
	fs.IntVar(&m.gid, "gid", -1, "group of the files (default: yours)")
	fs.Var(&m.umask, "umask", "permission bits to take away, in octal")
	for _, name := range []string{"uid", "gid"} {
		fs.Lookup(name).DefValue = "0" // not shown: the help says it in words
	}
}

func (m *mountFlags) check() error {
	for name, id := range map[string]int{"uid": m.uid, "gid": m.gid} {
		if id < -1 || int64(id) > 1<<32-2 {
			return failf(codeUsage, "--%s %d: not a valid id", name, id)
		}
	}
	if m.umask&0o400 != 0 && os.Geteuid() != 0 && m.uid == -1 {
		return failf(codeUsage, "--umask %s: takes away your own right to read the files", m.umask.String())
	}
	return nil
}

// complete registers fixed words as completions of a flag.
func complete(cmd *cobra.Command, flag string, words ...string) {
	err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
	if err != nil {
		panic("BUG: completion of --" + flag + ": " + err.Error())
	}
}
