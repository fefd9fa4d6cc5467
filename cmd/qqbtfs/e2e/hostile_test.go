package e2e

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"testing"

	"github.com/qqbtfs/qqbtfs/peerconn/peertest"
)

// asPeer is a file as a scripted peer knows it.
func (s *sandbox) asPeer(p published) *peertest.Torrent {
	s.t.Helper()
	tor := &peertest.Torrent{PieceLength: 64 << 10, Data: p.content}
	hash, err := hex.DecodeString(s.info(p.torrent).InfoHash)
	if err != nil {
		s.t.Fatal(err)
	}
	copy(tor.InfoHash[:], hash)
	return tor
}

// named is a script with a peer id of its own: a client drops a second connection to
// the same peer.
type named struct {
	name string
	peertest.Script
}

func (n named) Run(s *peertest.Session) error {
	copy(s.Us.PeerID[8:], n.name+"------------")
	return n.Script.Run(s)
}

// Peers that lie, poison, stall and flood do not keep one honest seeder's content from
// a mount, and what the mount gives is right.
func TestHostilePeers(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	pub := s.publish("film.bin", 2<<20, "--upload-limit", "1MB/s") // so that others are asked
	tor := s.asPeer(pub)
	args := []string{"--max-peers", "20"}
	peers := map[string]*peertest.Peer{}
	for name, script := range map[string]peertest.Script{
		"poisoner": peertest.Poisoner{},
		"liar":     peertest.Liar{},
		"staller":  peertest.Staller{},
		"garbage":  peertest.Garbage{},
		"pusher":   peertest.Pusher{},
		"flooder":  peertest.Flooder{},
		"oversize": peertest.Oversizer{},
		"stranger": peertest.WrongInfoHash{},
	} {
		p := peertest.Start(t, tor, named{name, script})
		peers[name] = p
		args = append(args, "--peer", p.Addr().String())
	}
	m := s.mount(append(args, "--peer", pub.seed.addr, pub.torrent)...)
	pid := m.status().PID
	peak := watchMemory(t, pid)
	same(t, pub.file, m.dir+"/film.bin")
	m.complete()
	if most := peak(); most == 0 || most > hostileMemory {
		t.Errorf("the mount takes up to %d MiB", most>>20)
	}
	for name, p := range peers {
		if p.Accepted() == 0 {
			t.Errorf("nobody connected to the %s", name)
		}
	}
	st := m.torrent()
	if peers["poisoner"].Payload() == 0 || st.HashFailures == 0 || st.Banned == 0 {
		t.Errorf("%d bytes of poison, %d hash failures, %d peers banned", peers["poisoner"].Payload(), st.HashFailures, st.Banned)
	}
	if !alive(pid) {
		t.Error("the mount's process is gone")
	}
	// And the mount serves on.
	leech := peertest.Start(t, tor, peertest.Leecher{})
	addr, err := netip.ParseAddrPort(m.status().Listen[0])
	if err != nil {
		t.Fatal(err)
	}
	leech.Connect(addr)
	if err := <-leech.Ended(); err != nil {
		t.Errorf("a peer downloads from the mount: %v", err)
	}
	if got := readFile(t, m.dir+"/film.bin"); !bytes.Equal(got, pub.content) {
		t.Error("the mount has other content")
	}
}
