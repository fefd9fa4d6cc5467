package e2e

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/peerconn/peertest"
	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

const (
	// hostileLimit bounds a read of 2 MiB beside a hostile peer; an honest one alone
	// takes well under a second.
	hostileLimit = 15 * time.Second
	// hostileMemory bounds the memory that a mount takes at any moment of it, in bytes.
	hostileMemory = 96 << 20
)

// "Hostile scripted peers against a real mount with one honest peer: the file is read
// correctly, in bounded time and memory." Here each is alone with the honest one, so
// that none hides behind another.
func TestEachHostilePeer(t *testing.T) {
	t.Parallel()
	scripts := map[string]peertest.Script{
		"liar":               peertest.Liar{},
		"poisoner":           peertest.Poisoner{},
		"seldom poisoner":    peertest.Poisoner{Bad: func(r wire.Request) bool { return r.Index%5 == 0 && r.Begin == 0 }},
		"staller":            peertest.Staller{},
		"dripper":            peertest.Dripper{},
		"slowloris":          peertest.Slowloris{},
		"flooder":            peertest.Flooder{},
		"flooder of haves":   peertest.Flooder{wire.Have{Index: 1}, wire.Unchoke{}, wire.Choke{}},
		"flooder of unknown": peertest.Flooder{wire.Unknown{ID: 99, Payload: make([]byte, 32<<10)}, wire.Extended{ID: 3, Payload: make([]byte, 1000)}},
		"pusher":             peertest.Pusher{},
		"oversizer":          peertest.Oversizer{},
		"huge oversizer":     peertest.Oversizer{Size: 1<<32 - 1, ID: wire.IDPiece},
		"wrong info-hash":    peertest.WrongInfoHash{},
		"impostor":           peertest.Impostor{},
		"garbage":            peertest.Garbage{},
		"bomb":               peertest.Says{wire.Extended{Payload: bombOfLists()}},
	}
	for _, state := range peertest.States() {
		scripts["reset when "+state.String()] = peertest.Resetter{At: state}
	}
	s := newSandbox(t)
	pub := s.publish("film.bin", 2<<20, "--upload-limit", "6MB/s") // so that others are asked
	tor := s.asPeer(pub)
	for _, name := range slices.Sorted(maps.Keys(scripts)) {
		t.Run(name, func(t *testing.T) {
			p := peertest.Start(t, tor, named{"hostile", scripts[name]})
			m := s.mount("--peer", p.Addr().String(), "--peer", pub.seed.addr, "--cache-dir", s.path("cache of "+name), pub.torrent)
			pid := m.status().PID
			peak := watchMemory(t, pid)
			within(t, hostileLimit, "the read", func() { same(t, pub.file, m.dir+"/film.bin") })
			if most := peak(); most == 0 || most > hostileMemory {
				t.Errorf("the mount takes up to %d MiB", most>>20)
			}
			if p.Accepted() == 0 {
				t.Error("nobody connected to it")
			}
			m.unmount()
			m.awaitGone(pid)
		})
	}
}

// Peers that send what costs nothing, as fast as they can, are dropped for good, and what
// is read comes meanwhile.
func TestFloodersAreBanned(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	pub := s.publish("film.bin", 2<<20)
	tor := s.asPeer(pub)
	floods := map[string]peertest.Flooder{
		"keep-alives": {wire.KeepAlive{}},
		"haves":       {wire.Have{Index: 1}},
		"interest":    {wire.Interested{}, wire.NotInterested{}},
		"handshakes":  {wire.Extended{Payload: []byte("d1:md11:ut_metadatai2e6:ut_pexi1eee")}},
		"metadata":    {wire.Extended{ID: 1, Payload: []byte("d8:msg_typei0e5:piecei0ee")}},
		"pex":         {wire.Extended{ID: 2, Payload: []byte("d5:added6:abcdef7:added.f1:0e")}},
	}
	args := []string{"--peer", pub.seed.addr}
	for name, f := range floods {
		p := peertest.Start(t, tor, named{name, f})
		args = append(args, "--peer", p.Addr().String())
	}
	m := s.mount(append(args, pub.torrent)...)
	within(t, hostileLimit, "the read", func() { same(t, pub.file, m.dir+"/film.bin") })
	await(t, "the ban of all of them", func() bool { return m.torrent().Banned == len(floods) })
}

// bombOfLists is a bencoded value that a recursive decoder dies of.
func bombOfLists() []byte {
	b := make([]byte, 900_000)
	for i := range b {
		b[i] = 'l'
	}
	return b
}
