package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
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

// netFlags are the flags of every command that takes part in a swarm.
type netFlags struct {
	listen   listenFlag
	peers    peersFlag
	maxPeers int
	maxConns int
	down, up config.Rate
	noUpload bool
	ratio    float64
	seedTime config.Duration
}

func (n *netFlags) register(fs *pflag.FlagSet) {
	fs.Var(&n.listen, "listen", "accept peers there; a port or HOST:PORT, repeatable (default: port 6881, or another if that is taken)")
	fs.Var(&n.peers, "peer", "connect to this peer directly, HOST:PORT, repeatable")
	fs.IntVar(&n.maxPeers, "max-peers", 200, "connections for each torrent")
	fs.IntVar(&n.maxConns, "max-connections", 1000, "connections for all torrents together")
	fs.Var(&n.down, "download-limit", "limit of all downloads together, such as 2MB/s")
	fs.Var(&n.up, "upload-limit", "limit of all uploads together")
	fs.BoolVar(&n.noUpload, "no-upload", false, "serve no peer; most of them will serve you little then")
	fs.Float64Var(&n.ratio, "seed-ratio", 0, "stop serving a complete torrent after uploading so many times its size (0: never)")
	fs.Var(&n.seedTime, "seed-time", "stop serving a complete torrent after that time (0: never)")
}

func (n *netFlags) check() error {
	if n.maxPeers < 1 || n.maxPeers > 10000 {
		return failf(codeUsage, "--max-peers %d: must be between 1 and 10000", n.maxPeers)
	}
	if n.maxConns < 1 || n.maxConns > 100000 {
		return failf(codeUsage, "--max-connections %d: must be between 1 and 100000", n.maxConns)
	}
	if !(n.ratio >= 0 && n.ratio <= 1e6) {
		return failf(codeUsage, "--seed-ratio %v: must be between 0 and 1000000", n.ratio)
	}
	return nil
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

// listenFlag is a list of addresses to accept connections on.
type listenFlag struct{ list []string }

// Set adds an address: a port alone, ":PORT" or "HOST:PORT".
func (l *listenFlag) Set(s string) error {
	addr := s
	if _, err := strconv.ParseUint(s, 10, 16); err == nil {
		addr = ":" + s
	}
	_, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("%q is not a port or HOST:PORT", s)
	}
	l.list = append(l.list, addr)
	return nil
}

func (l *listenFlag) Type() string   { return "addr" }
func (l *listenFlag) String() string { return strings.Join(l.list, ",") }

// Append, Replace and GetSlice make it a pflag.SliceValue.
func (l *listenFlag) Append(s string) error       { return l.Set(s) }
func (l *listenFlag) Replace(list []string) error { l.list = nil; return setAll(l, list) }
func (l *listenFlag) GetSlice() []string          { return l.list }

// peersFlag is a list of peers as HOST:PORT; names are looked up when used.
type peersFlag struct{ list []string }

// Set adds a peer.
func (p *peersFlag) Set(s string) error {
	host, port, err := net.SplitHostPort(s)
	if n, perr := strconv.ParseUint(port, 10, 16); err != nil || perr != nil || n == 0 || host == "" {
		return fmt.Errorf("%q is not HOST:PORT (an IPv6 address stands in brackets)", s)
	}
	p.list = append(p.list, s)
	return nil
}

func (p *peersFlag) Type() string   { return "addr" }
func (p *peersFlag) String() string { return strings.Join(p.list, ",") }

// Append, Replace and GetSlice make it a pflag.SliceValue.
func (p *peersFlag) Append(s string) error       { return p.Set(s) }
func (p *peersFlag) Replace(list []string) error { p.list = nil; return setAll(p, list) }
func (p *peersFlag) GetSlice() []string          { return p.list }

func setAll(v pflag.Value, list []string) error {
	for _, s := range list {
		if err := v.Set(s); err != nil {
			return err
		}
	}
	return nil
}

// resolve looks the peers up and returns all their addresses.
func (p *peersFlag) resolve() ([]netip.AddrPort, error) {
	var out []netip.AddrPort
	for _, s := range p.list {
		if ap, err := netip.ParseAddrPort(s); err == nil {
			out = append(out, ap)
			continue
		}
		host, port, _ := net.SplitHostPort(s)
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return nil, failf(codeUsage, "--peer %s: %w", s, err)
		}
		ips, err := net.LookupIP(host)
		if err != nil {
			return nil, failf(codeFailure, "--peer %s: %w", s, err)
		}
		for _, ip := range ips {
			if addr, ok := netip.AddrFromSlice(ip); ok {
				out = append(out, netip.AddrPortFrom(addr.Unmap(), uint16(n)))
			}
		}
	}
	return out, nil
}

// complete registers fixed words as completions of a flag.
func complete(cmd *cobra.Command, flag string, words ...string) {
	err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
	if err != nil {
		panic("BUG: completion of --" + flag + ": " + err.Error())
	}
}
