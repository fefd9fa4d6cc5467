package dht

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"

	lib "github.com/anacrolix/dht/v2"
	"github.com/anacrolix/dht/v2/krpc"
	alog "github.com/anacrolix/log"
)

const (
	// answerWithin is how long an answer is waited for.
	answerWithin = 2 * time.Second
	// firstLook is when the node looks for the first time at what has come of its
	// queries, lookEvery how often it does later.
	firstLook, lookEvery = 10 * time.Second, time.Minute
	// maxSilent is for how many looks no answer has to come until the bootstrap nodes
	// are asked. The library asks each node it knows every 15 minutes.
	maxSilent = 16
)

// node is our node of one address family: a socket, and the library behind a gate on
// it. When the node needs another id, both are made anew on the same socket.
type node struct {
	d       *DHT
	network string
	sock    net.PacketConn
	peers   *store

	mu     sync.Mutex // guards these
	id     krpc.ID
	server *lib.Server
	gate   *gate
}

func newNode(d *DHT, network string, sock net.PacketConn) *node {
	return &node{d: d, network: network, sock: sock, peers: newStore(d.announced)}
}

func (n *node) is4() bool { return n.network == "udp4" }

func (n *node) port() uint16 { return addrPort(n.sock.LocalAddr()).Port() }

// of returns the table of the node's family in a state.
func (n *node) of(s *state) *table {
	if n.is4() {
		return &s.v4
	}
	return &s.v6
}

// begin starts with a saved table.
func (n *node) begin(saved state) {
	t := *n.of(&saved)
	if t.id.IsZero() {
		t.id = krpc.RandomNodeID()
	}
	n.serve(t)
}

// serve starts the library with an id and nodes to try.
func (n *node) serve(t table) {
	g := newGate(n.sock, n.d.searched, time.Now())
	server, err := lib.NewServer(&lib.ServerConfig{
		NodeId:           t.id,
		Conn:             g,
		NoSecurity:       true, // most nodes out there do not care for BEP 42
		StartingNodes:    func() ([]lib.Addr, error) { return n.d.bootstrap(n.is4()), nil },
		PeerStore:        n.peers,
		QueryResendDelay: func() time.Duration { return answerWithin },
		DefaultWant:      want(n.is4()),
		SendLimiter:      n.d.limiter,
		Logger:           alog.Default.WithFilterLevel(alog.Disabled),
	})
	if err != nil {
		panic("BUG: dht: a server with a socket cannot fail: " + err.Error())
	}
	for _, known := range t.nodes {
		_ = server.AddNode(known) // there may be no room
	}
	n.mu.Lock()
	n.id, n.server, n.gate = t.id, server, g
	n.mu.Unlock()
	go server.TableMaintainer() // until the server closes
}

// run looks after the node until the DHT ends.
func (n *node) run() {
	timer := time.NewTimer(firstLook)
	defer timer.Stop()
	for silent := maxSilent; ; timer.Reset(lookEvery) {
		select {
		case <-n.d.ctx.Done():
			n.stop()
			return
		case <-timer.C:
		}
		if silent++; n.current().takeAnswers() > 0 {
			silent = 0
		} else if silent >= maxSilent {
			n.askBootstrap()
		}
		n.current().know(len(n.table().nodes) >= n.d.cfg.many)
		n.fitID(time.Now())
	}
}

// askBootstrap begins anew. The library asks the bootstrap nodes only while it knows no
// others, but those that it knows may all have gone.
func (n *node) askBootstrap() {
	for _, a := range n.d.bootstrap(n.is4()) {
		n.ping(n.d.ctx, addrOf(a.KRPC()))
	}
}

// fitID takes an id that fits our address (BEP 42), if the one we have does not.
func (n *node) fitID(now time.Time) {
	_, external := n.current().state(now)
	if !external.IsValid() || external.Is4() != n.is4() {
		return
	}
	t := n.table()
	if lib.NodeIdSecure(t.id, external.AsSlice()) {
		return
	}
	lib.SecureNodeId(&t.id, external.AsSlice())
	n.d.log.Debug("DHT: another id, for our address", "addr", external)
	old := n.stop()
	_ = n.sock.SetReadDeadline(time.Time{})
	n.serve(t)
	n.current().inherit(old)
}

// stop ends the library's reading and returns the gate that it read by.
func (n *node) stop() *gate {
	n.mu.Lock()
	server, g := n.server, n.gate
	n.mu.Unlock()
	server.Close()
	g.Close()
	return g
}

// current returns the gate, which changes with the id.
func (n *node) current() *gate {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.gate
}

// library returns the server, which changes with the id.
func (n *node) library() *lib.Server {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.server
}

// table returns the id and the nodes that are not bad.
func (n *node) table() table {
	n.mu.Lock()
	id, server := n.id, n.server
	n.mu.Unlock()
	return table{id, server.Nodes()}
}

// ping asks a node for its id, which gets it into the table.
func (n *node) ping(ctx context.Context, a netip.AddrPort) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	addr := lib.NewAddr(net.UDPAddrFromAddrPort(netip.AddrPortFrom(a.Addr().Unmap(), a.Port())))
	n.library().Query(ctx, addr, "ping", lib.QueryInput{})
}
