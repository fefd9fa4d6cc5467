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

// Peers that lie, poison, stall and flood do not keep one honest seeder's content from
// a mount, and what the mount gives is right.
func TestHostilePeers(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	pub := s.publish("film.bin", 2<<20)
	tor := s.asPeer(pub)
	args := []string{"--max-peers", "20"}
	peers := map[string]*peertest.Peer{
		"poisoner": peertest.Start(t, tor, peertest.Poisoner{}),
		"liar":     peertest.Start(t, tor, peertest.Liar{}),
		"staller":  peertest.Start(t, tor, peertest.Staller{}),
		"garbage":  peertest.Start(t, tor, peertest.Garbage{}),
		"pusher":   peertest.Start(t, tor, peertest.Pusher{}),
		"flooder":  peertest.Start(t, tor, peertest.Flooder{}),
		"oversize": peertest.Start(t, tor, peertest.Oversizer{}),
		"stranger": peertest.Start(t, tor, peertest.WrongInfoHash{}),
	}
	for _, p := range peers {
		args = append(args, "--peer", p.Addr().String())
	}
	m := s.mount(append(args, "--peer", pub.seed.addr, pub.torrent)...)
	pid := m.status().PID
	same(t, pub.file, m.dir+"/film.bin")
	m.complete()
	for name, p := range peers {
		if p.Accepted() == 0 {
			t.Errorf("nobody connected to the %s", name)
		}
	}
	st := m.torrent()
	if peers["poisoner"].Payload() > 0 && st.HashFailures == 0 {
		t.Error("poison was taken without a hash failure")
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
