// Package dht finds peers without a tracker, in the distributed hash table of
// BitTorrent (BEP 5) over IPv4 and IPv6 (BEP 32).
//
// It is a thin wrapper of github.com/anacrolix/dht/v2, which knows the protocol. One
// DHT serves all torrents of the process, with a node for each address family; a
// Search looks for the peers of one torrent and announces us to them. A gate in front
// of each socket bounds what others can make us do: the library would take anything.
// What it learnt of the table is kept in a file.
//
// A node takes an id that fits its address once it knows that (BEP 42), and is
// read-only while nobody reaches it (BEP 43). What it does not do: store items
// (BEP 44), or know private torrents (BEP 27), which must not be looked for.
package dht

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	lib "github.com/anacrolix/dht/v2"
	"github.com/anacrolix/dht/v2/krpc"
	"golang.org/x/time/rate"
)

const (
	// sendRate bounds the messages that we send in a second, sendBurst at once.
	sendRate, sendBurst = 50, 50
	// maxLookups bounds the lookups under way; more of them wait.
	maxLookups = 4
	saveEvery  = 15 * time.Minute
	// maxPings bounds the nodes told by peers that wait to be asked.
	maxPings = 32
	// resolveEvery is the least time between two look-ups of the bootstrap nodes.
	resolveEvery = time.Minute
	// resolveTimeout bounds one of them.
	resolveTimeout = 10 * time.Second
	// closeTimeout bounds Close.
	closeTimeout = 500 * time.Millisecond
)

// Bootstrap are nodes that are known to everybody, for who knows nobody yet.
var Bootstrap = []string{
	"router.bittorrent.com:6881",
	"router.utorrent.com:6881",
	"dht.transmissionbt.com:6881",
	"dht.libtorrent.org:25401",
}

// Config describes a DHT.
type Config struct {
	// Addrs are where to open UDP sockets: the addresses that peers reach us on, and
	// their port. An unspecified IPv6 address stands for both families. Where the port
	// is taken by somebody else, it is another.
	Addrs []netip.AddrPort
	// Bootstrap has nodes to begin with, as HOST:PORT.
	Bootstrap []string
	// State is the file that the table is kept in; "": none.
	State string
	// Listen opens a socket and Lookup finds the addresses of a host. nil: those of
	// the net package.
	Listen func(ctx context.Context, network, addr string) (net.PacketConn, error)
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
	// Logger gets what happens; nil: none.
	Logger *slog.Logger

	many int // nodes, for tests; zero means manyNodes
}

// DHT is this process's part in the table. Its methods may be called from any
// goroutine.
type DHT struct {
	cfg     Config
	log     *slog.Logger
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	nodes   []*node
	limiter *rate.Limiter
	lookups chan struct{} // a token for each under way
	pings   chan netip.AddrPort

	mu         sync.Mutex
	searches   map[*Search]struct{}
	resolved   []lib.Addr
	resolvedAt time.Time
}

// Status is a DHT's account of itself.
type Status struct {
	Nodes    int      `json:"nodes"`     // in the table that are not bad
	Port     uint16   `json:"port"`      // UDP; zero: the proxy is away
	ReadOnly bool     `json:"read_only"` // nobody reaches us (BEP 43)
	External []string `json:"external"`  // our addresses as others see them, where known
}

// New opens the sockets and begins. It does not wait for the network. It is an error
// if there is no socket; a saved table that cannot be read is not.
func New(cfg Config) (*DHT, error) {
	if cfg.Listen == nil {
		cfg.Listen = new(net.ListenConfig).ListenPacket
	}
	if cfg.Lookup == nil {
		cfg.Lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	cfg.many = cmp.Or(cfg.many, manyNodes)
	d := &DHT{
		cfg: cfg, log: cfg.Logger,
		limiter:  rate.NewLimiter(sendRate, sendBurst),
		lookups:  make(chan struct{}, maxLookups),
		pings:    make(chan netip.AddrPort, maxPings),
		searches: map[*Search]struct{}{},
	}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	if err := d.open(); err != nil {
		d.cancel()
		return nil, err
	}
	saved := d.load()
	for _, n := range d.nodes {
		n.begin(saved)
		d.wg.Go(n.run)
	}
	d.wg.Go(d.ping)
	d.wg.Go(d.keep)
	return d, nil
}

// open opens a socket for each family that we listen on.
func (d *DHT) open() error {
	var errs []error
	for _, network := range []string{"udp4", "udp6"} {
		addr, ok := listenAddr(d.cfg.Addrs, network == "udp4")
		if !ok {
			continue
		}
		sock, err := d.listen(network, addr)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		d.nodes = append(d.nodes, newNode(d, network, sock))
	}
	if len(d.nodes) == 0 {
		return errors.Join(append(errs, errors.New("dht: no address to listen on"))...)
	}
	return nil
}

// listen opens a socket at the port of the listener or, where that is taken, at any.
func (d *DHT) listen(network string, addr netip.AddrPort) (net.PacketConn, error) {
	sock, err := d.cfg.Listen(d.ctx, network, addr.String())
	if err != nil {
		d.log.Debug("DHT: another port", "why", err)
		sock, err = d.cfg.Listen(d.ctx, network, netip.AddrPortFrom(addr.Addr(), 0).String())
	}
	return sock, err
}

// listenAddr returns the address of a family to listen on.
func listenAddr(addrs []netip.AddrPort, is4 bool) (netip.AddrPort, bool) {
	for _, a := range addrs {
		host := a.Addr().Unmap()
		switch {
		case host.Is4() == is4:
			return netip.AddrPortFrom(host, a.Port()), true
		case is4 && host == netip.IPv6Unspecified():
			return netip.AddrPortFrom(netip.IPv4Unspecified(), a.Port()), true
		}
	}
	return netip.AddrPort{}, false
}

func (d *DHT) load() state {
	if d.cfg.State == "" {
		return state{}
	}
	s, err := loadState(d.cfg.State)
	if err != nil {
		d.log.Debug("DHT: beginning without the saved table", "err", err)
	}
	return s
}

// keep saves the table from time to time.
func (d *DHT) keep() {
	tick := time.NewTicker(saveEvery)
	defer tick.Stop()
	for {
		select {
		case <-d.ctx.Done():
			return
		case <-tick.C:
			d.save()
		}
	}
}

func (d *DHT) save() {
	if d.cfg.State == "" {
		return
	}
	var s state
	for _, n := range d.nodes {
		*n.of(&s) = n.table()
	}
	if len(s.v4.nodes)+len(s.v6.nodes) == 0 {
		return // what another run has learnt is better than nothing
	}
	if err := s.save(d.cfg.State); err != nil {
		d.log.Debug("DHT: the table is not saved", "err", err)
	}
}

// Port returns the UDP port of the node of a peer's family, for the port message
// (BEP 5). Zero: there is none.
func (d *DHT) Port(peer netip.Addr) uint16 {
	for _, n := range d.nodes {
		if n.is4() == peer.Unmap().Is4() {
			return n.port()
		}
	}
	return 0
}

// AddNode tells of a node that a peer says to be (BEP 5, port message). It does not
// block; of many at once some are dropped.
func (d *DHT) AddNode(addr netip.AddrPort) {
	select {
	case d.pings <- addr:
	default:
	}
}

// ping asks the nodes that peers told of; who answers gets into the table.
func (d *DHT) ping() {
	for {
		select {
		case <-d.ctx.Done():
			return
		case a := <-d.pings:
			for _, n := range d.nodes {
				if n.is4() == a.Addr().Unmap().Is4() {
					n.ping(d.ctx, a)
				}
			}
		}
	}
}

// bootstrap returns the addresses of the bootstrap nodes of a family. It never fails:
// the library would leak a goroutine. Instead it names a node that is never asked.
func (d *DHT) bootstrap(is4 bool) (list []lib.Addr) {
	d.mu.Lock()
	stale := time.Since(d.resolvedAt) >= resolveEvery
	if stale {
		d.resolvedAt = time.Now()
	}
	all := d.resolved
	d.mu.Unlock()
	if stale {
		all = d.resolve()
		d.mu.Lock()
		d.resolved = all
		d.mu.Unlock()
	}
	for _, a := range all {
		if (a.IP().To4() != nil) == is4 {
			list = append(list, a)
		}
	}
	if len(list) == 0 {
		list = append(list, lib.NewAddr(&net.UDPAddr{IP: net.IPv4(0, 0, 0, 1), Port: 1}))
	}
	return list
}

func (d *DHT) resolve() (list []lib.Addr) {
	ctx, cancel := context.WithTimeout(d.ctx, resolveTimeout)
	defer cancel()
	for _, s := range d.cfg.Bootstrap {
		host, port, err := net.SplitHostPort(s)
		if err != nil {
			continue // checked by who made the Config
		}
		n, _ := strconv.ParseUint(port, 10, 16)
		addrs, err := d.cfg.Lookup(ctx, host)
		if err != nil {
			d.log.Debug("DHT: bootstrap node", "host", host, "err", err)
		}
		for _, a := range addrs {
			list = append(list, lib.NewAddr(net.UDPAddrFromAddrPort(netip.AddrPortFrom(a.Unmap(), uint16(n)))))
		}
	}
	return list
}

// Status returns how the DHT is.
func (d *DHT) Status() (st Status) {
	now := time.Now()
	for k, n := range d.nodes {
		st.Nodes += len(n.table().nodes)
		ro, external := n.current().state(now)
		if k == 0 {
			st.Port = n.port()
			st.ReadOnly = true
		}
		st.ReadOnly = st.ReadOnly && ro
		if external.IsValid() {
			st.External = append(st.External, external.String())
		}
	}
	return st
}

// Close ends all searches, saves the table and closes the sockets, within half a second:
// what hangs by then in the library, in a look-up of a name or at the disk is left to
// itself. What else the library has under way ends within a few seconds, each time it finds
// its socket closed.
func (d *DHT) Close() {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		d.save()
		d.cancel()
		d.wg.Wait()
	}()
	select {
	case <-ended:
	case <-time.After(closeTimeout):
		d.log.Warn("DHT: the end takes too long")
		d.cancel()
	}
	for _, n := range d.nodes {
		n.sock.Close()
	}
}

// want is which families a node of ours asks for (BEP 32): its own. A node of the
// other one has a table of its own.
func want(is4 bool) []krpc.Want {
	if is4 {
		return []krpc.Want{krpc.WantNodes}
	}
	return []krpc.Want{krpc.WantNodes6}
}
