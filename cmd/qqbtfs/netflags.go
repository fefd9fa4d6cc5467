package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/qqbtfs/qqbtfs/cmd/qqbtfs/config"
	"github.com/qqbtfs/qqbtfs/fetch"
	"github.com/qqbtfs/qqbtfs/peerconn"
	"github.com/qqbtfs/qqbtfs/peerconn/blocklist"
	"github.com/qqbtfs/qqbtfs/peerconn/netpolicy"
)

// netFlags are the flags of every command that takes part in a swarm.
type netFlags struct {
	listen     listenFlag
	peers      peersFlag
	maxPeers   int
	maxConns   int
	down, up   config.Rate
	noUpload   bool
	ratio      float64
	seedTime   config.Duration
	encryption config.Choice
	bind       string
	proxy      string
	blocklist  config.Path
	forward    bool
	dht, lsd   config.Choice
	bootstrap  peersFlag

	policy    *netpolicy.Policy // of bind and proxy
	blocked   *blocklist.List
	blockedAt os.FileInfo // of the file when it was read
}

func (n *netFlags) register(fs *pflag.FlagSet) {
	n.encryption = config.Choice{Value: "prefer", Choices: []string{"prefer", "require", "off"}}
	fs.Var(&n.listen, "listen", "accept peers there; a port or HOST:PORT, repeatable (default: port 6881, or another if that is taken)")
	fs.Var(&n.peers, "peer", "connect to this peer directly, HOST:PORT, repeatable")
	fs.IntVar(&n.maxPeers, "max-peers", 200, "connections for each torrent")
	fs.IntVar(&n.maxConns, "max-connections", 1000, "connections for all torrents together")
	fs.Var(&n.down, "download-limit", "limit of all downloads together, such as 2MB/s")
	fs.Var(&n.up, "upload-limit", "limit of all uploads together")
	fs.BoolVar(&n.noUpload, "no-upload", false, "serve no peer; most of them will serve you little then")
	fs.Float64Var(&n.ratio, "seed-ratio", 0, "stop serving a complete torrent after uploading, in all runs, so many times its size (0: never)")
	fs.Var(&n.seedTime, "seed-time", "stop serving a complete torrent after that time, in all runs (0: never)")
	fs.Var(&n.encryption, "encryption", "connections to peers: encrypted if they can, encrypted only, or never")
	fs.StringVar(&n.bind, "bind", "", "let nothing leave but by this address or interface")
	fs.StringVar(&n.proxy, "proxy", "", "let everything leave through this proxy, socks5://[USER:PASSWORD@]HOST:PORT, and accept no peers unless --listen says so")
	fs.BoolVar(&n.forward, "port-forward", false, "have the gateway of the network forward our port to us (NAT-PMP; or UPnP, unless --bind is given)")
	fs.Var(&n.blocklist, "blocklist", "have nothing to do with the peers on this list (P2P, DAT or CIDR, may be gzipped)")
	n.dht, n.lsd = onOff(), onOff()
	fs.Var(&n.dht, "dht", "find peers in the distributed hash table")
	fs.Var(&n.bootstrap, "dht-bootstrap", "begin with this node of it instead of the well-known ones, HOST:PORT, repeatable")
	fs.Var(&n.lsd, "lsd", "find peers on the local network by multicast")
}

// complete completes those of the flags that have few values.
func (n *netFlags) complete(cmd *cobra.Command) {
	complete(cmd, "dht", n.dht.Choices...)
	complete(cmd, "lsd", n.lsd.Choices...)
}

// onOff is a setting that is on unless told otherwise.
func onOff() config.Choice { return config.Choice{Value: "on", Choices: []string{"on", "off"}} }

// discovery is by which ways peers are found. The table of the DHT is shared by all
// runs with a cache directory.
func (n *netFlags) discovery(cacheDir string) fetch.Discovery {
	return fetch.Discovery{
		DHT: n.dht.Value == "on", Bootstrap: n.bootstrap.list, State: filepath.Join(cacheDir, "dht"),
		LSD: n.lsd.Value == "on",
	}
}

// check also makes what the flags describe, before anything is sent. log is for what
// that has to say later.
func (n *netFlags) check(log *slog.Logger) error {
	if n.maxPeers < 1 || n.maxPeers > 10000 {
		return failf(codeUsage, "--max-peers %d: must be between 1 and 10000", n.maxPeers)
	}
	if n.maxConns < 1 || n.maxConns > 100000 {
		return failf(codeUsage, "--max-connections %d: must be between 1 and 100000", n.maxConns)
	}
	if !(n.ratio >= 0 && n.ratio <= 1e6) {
		return failf(codeUsage, "--seed-ratio %v: must be between 0 and 1000000", n.ratio)
	}
	if n.forward && n.proxy != "" {
		return failf(codeUsage, "--port-forward would show the address that --proxy hides")
	}
	return errors.Join(n.makePolicy(log), n.loadBlocklist())
}

func (n *netFlags) makePolicy(log *slog.Logger) error {
	var err error
	if n.policy, err = netpolicy.New(netpolicy.Config{Bind: n.bind, Proxy: n.proxy, Logger: log}); err != nil {
		return failf(codeUsage, "--%w", err) // begins with the name of the option
	}
	return nil
}

// loadBlocklist reads the blocklist and notes which state of the file that was.
func (n *netFlags) loadBlocklist() error {
	if n.blocklist == "" {
		return nil
	}
	f, err := os.Open(string(n.blocklist))
	if err != nil {
		return failf(codeFailure, "--blocklist: %w", err)
	}
	defer f.Close()
	if n.blockedAt, err = f.Stat(); err != nil {
		return failf(codeFailure, "--blocklist: %w", err)
	}
	list, err := blocklist.Parse(f)
	if err != nil {
		return failf(codeFailure, "--blocklist %s: %w", n.blocklist, err)
	}
	n.blocked = list
	return nil
}

// blocklistChanged reports whether the file is another than the one that was read.
func (n *netFlags) blocklistChanged() bool {
	now, err := os.Stat(string(n.blocklist))
	return err == nil && (now.Size() != n.blockedAt.Size() || !now.ModTime().Equal(n.blockedAt.ModTime()))
}

// mode is what --encryption says.
func (n *netFlags) mode() peerconn.Encryption {
	switch n.encryption.Value {
	case "require":
		return peerconn.EncryptRequire
	case "off":
		return peerconn.EncryptOff
	}
	return peerconn.EncryptPrefer
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

// resolve looks the peers up, by that policy's way, and returns all their addresses.
func (p *peersFlag) resolve(ctx context.Context, policy *netpolicy.Policy) ([]netip.AddrPort, error) {
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
		addrs, err := policy.LookupNetIP(ctx, host)
		if err != nil {
			return nil, failf(codeFailure, "--peer %s: %w", s, err)
		}
		for _, addr := range addrs {
			out = append(out, netip.AddrPortFrom(addr, uint16(n)))
		}
	}
	return out, nil
}
