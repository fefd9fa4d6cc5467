package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/cache/memstore"
	"github.com/qqbtfs/qqbtfs/fetch/magnet"
	"github.com/qqbtfs/qqbtfs/fetch/metainfo"
	"github.com/qqbtfs/qqbtfs/fetch/picker"
	"github.com/qqbtfs/qqbtfs/fetch/swarm"
	"github.com/qqbtfs/qqbtfs/peerconn"
	"github.com/qqbtfs/qqbtfs/peerconn/peertest"
	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

func (c content) link() magnet.Link { return magnet.Link{HashV1: c.meta.HashV1(), HasV1: true} }

func addMagnet(t testing.TB, s *Session, cfg MagnetConfig) *Pending {
	t.Helper()
	p, err := s.AddMagnet(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func awaitMeta(t testing.TB, p *Pending) *metainfo.MetaInfo {
	t.Helper()
	select {
	case <-p.Found():
	case <-time.After(20 * time.Second):
		t.Fatalf("no metadata: %+v", p.Status())
	}
	m, err := p.Meta()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// The metadata comes from a running torrent of ours, and the torrent goes on with the
// same peer, known from whom it was.
func TestMagnetBecomesTorrent(t *testing.T) {
	c := makeContent(t, 3_000_000, 16<<10) // 3.6 KB of metadata
	s := newSession(t, Config{})
	p := addMagnet(t, s, MagnetConfig{Link: c.link()})
	p.AddPeers(c.seeders(t, 1), swarm.FromDHT)
	if m := awaitMeta(t, p); string(m.InfoRaw) != string(c.meta.InfoRaw) {
		t.Fatal("other metadata than the seed's")
	}
	tor, err := p.Torrent(TorrentConfig{Store: memstore.New(Geometry(c.meta)), Fill: true})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-tor.Done():
	case <-time.After(20 * time.Second):
		t.Fatalf("not complete: %+v", tor.Status())
	}
	checkRead(t, tor, c)
	if known := tor.Status().KnownFrom; len(known) != 1 || known[swarm.FromDHT] != 1 {
		t.Errorf("peers are known from %v", known)
	}
	if st := p.Status(); st.State != "metadata is here" {
		t.Errorf("the pending torrent is %q", st.State)
	}
}

// A torrent that has no byte yet gives its metadata, and who waits for metadata takes it
// from those who connect to it.
func TestMagnetByInboundConnection(t *testing.T) {
	c := makeContent(t, 5_000_000, 16<<10)
	for _, mode := range []peerconn.Encryption{peerconn.EncryptPrefer, peerconn.EncryptRequire} {
		s := newSession(t, Config{Encryption: mode})
		p := addMagnet(t, s, MagnetConfig{Link: c.link()})
		other := newSession(t, Config{Encryption: mode})
		add(t, other, TorrentConfig{Meta: c.meta, Store: memstore.New(Geometry(c.meta)), Peers: s.Addrs()})
		awaitMeta(t, p)
	}
}

// Liars are found out and the honest peer is heard, over real connections.
func TestMagnetBesideHostilePeers(t *testing.T) {
	c := makeContent(t, 30_000_000, 16<<10)
	tor := &peertest.Torrent{InfoHash: c.meta.HashV1(), PieceLength: 16 << 10, Data: c.data}
	var peers []netip.AddrPort
	for _, script := range []peertest.Script{peertest.Garbage{}, peertest.Slowloris{}, peertest.Staller{}, peertest.WrongInfoHash{}, metadataLiar{}, peertest.Seeder{}} {
		peers = append(peers, peertest.Start(t, tor, script).Addr())
	}
	p := addMagnet(t, newSession(t, Config{}), MagnetConfig{Link: c.link(), Peers: append(peers, c.seeders(t, 1)...)})
	awaitMeta(t, p)
}

// Metadata that is not what the link names is said to be so, while others are looked for.
func TestWrongMetadata(t *testing.T) {
	c := makeContent(t, 100_000, 32<<10)
	tor := &peertest.Torrent{InfoHash: c.meta.HashV1(), PieceLength: 32 << 10, Data: c.data}
	liar := peertest.Start(t, tor, metadataLiar{})
	p := addMagnet(t, newSession(t, Config{}), MagnetConfig{Link: c.link(), Peers: []netip.AddrPort{liar.Addr()}})
	eventually(t, "a word about what it gave", func() bool { return strings.Contains(p.Status().State, "is not what the magnet link names") })
	p.AddPeers(c.seeders(t, 1), swarm.FromUser)
	awaitMeta(t, p)
}

// Nothing has both hashes of a link that belong to two torrents: who has one proves it.
func TestLinkOfTwoTorrents(t *testing.T) {
	c := makeContent(t, 100_000, 32<<10)
	link := c.link()
	link.HashV2, link.HasV2 = [32]byte{1}, true
	p := addMagnet(t, newSession(t, Config{}), MagnetConfig{Link: link, Peers: c.seeders(t, 1)})
	select {
	case <-p.Found():
	case <-time.After(20 * time.Second):
		t.Fatalf("goes on: %+v", p.Status())
	}
	if m, err := p.Meta(); m != nil || err == nil || !strings.Contains(err.Error(), "names two torrents") {
		t.Errorf("%v, %v", m, err)
	}
}

// metadataLiar answers each request for metadata with zeros of the right length.
type metadataLiar struct{}

func (metadataLiar) Run(s *peertest.Session) error {
	if err := s.Handshake(); err != nil {
		return err
	}
	const size = 36710
	if err := s.Write(wire.Extended{Payload: []byte("d1:md11:ut_metadatai9ee13:metadata_sizei36710ee")}); err != nil {
		return err
	}
	for {
		m, err := s.Read()
		if err != nil {
			return err
		}
		if e, ok := m.(wire.Extended); ok && e.ID == 9 {
			piece := int(e.Payload[len(e.Payload)-3] - '0')
			data := make([]byte, min(16<<10, size-piece*16<<10))
			head := "d8:msg_typei1e5:piecei" + string(rune('0'+piece)) + "e10:total_sizei36710ee"
			if err := s.Write(wire.Extended{ID: idMetadata, Payload: append([]byte(head), data...)}); err != nil {
				return err
			}
		}
	}
}

// BEP 27: once a torrent is known to be private it is looked for at its trackers only, and
// whom others have named is not connected to.
func TestPrivateTorrentByMagnet(t *testing.T) {
	for _, private := range []bool{true, false} {
		c := makeContent(t, 300_000, 32<<10)
		if private {
			c = trulyPrivate(t, c)
		}
		tracked, found := c.seeders(t, 1), netip.MustParseAddrPort("127.0.0.1:9")
		s := newSession(t, Config{Discovery: Discovery{DHT: true, LSD: true}})
		p := addMagnet(t, s, MagnetConfig{Link: c.link()})
		searched := &closes{}
		p.in.call(func() { p.searches = append(p.searches, searched) })
		p.AddPeers([]netip.AddrPort{found}, swarm.FromDHT)
		p.AddPeers(tracked, swarm.FromTracker)
		awaitMeta(t, p)
		if searched.closed.Load() != private {
			t.Errorf("private %v: the search ended: %v", private, searched.closed.Load())
		}
		tor, err := p.Torrent(TorrentConfig{Store: memstore.New(Geometry(c.meta))})
		if err != nil {
			t.Fatal(err)
		}
		if known := tor.Status().KnownPeers; (known == 0) != private || (len(tor.searches) == 0) != private {
			t.Errorf("private %v: %d known peers, %d searches", private, known, len(tor.searches))
		}
	}
}

// trulyPrivate is c with that in its metadata.
func trulyPrivate(t *testing.T, c content) content {
	t.Helper()
	raw := slices.Concat(bytes.TrimSuffix(c.meta.InfoRaw, []byte("e")), []byte("7:privatei1ee"))
	m, err := metainfo.FromInfo(raw, nil, nil)
	if err != nil || !m.Info.Private {
		t.Fatalf("not private: %v", err)
	}
	return content{m, c.data}
}

// closes is a search that remembers its end.
type closes struct{ closed atomic.Bool }

func (*closes) Want()    {}
func (c *closes) Close() { c.closed.Store(true) }

// A peer of a link that has a name is found without the metadata being fetched too.
func TestPeerWithName(t *testing.T) {
	c := makeContent(t, 100_000, 32<<10)
	port := c.seeders(t, 1)[0].Port()
	named := []string{fmt.Sprintf("localhost:%d", port)}
	tor := add(t, newSession(t, Config{}), TorrentConfig{Meta: c.meta, Store: memstore.New(Geometry(c.meta)), Fill: true, Named: named})
	select {
	case <-tor.Done():
	case <-time.After(20 * time.Second):
		t.Fatalf("not complete: %+v", tor.Status())
	}
}

// Metadata that nobody would accept is waited for in vain, but said so.
func TestTooLargeMetadata(t *testing.T) {
	c := makeContent(t, 100_000, 32<<10)
	tor := &peertest.Torrent{InfoHash: c.meta.HashV1(), PieceLength: 32 << 10, Data: c.data}
	boaster := peertest.Start(t, tor, peertest.Says{wire.Extended{Payload: []byte("d1:md11:ut_metadatai9ee13:metadata_sizei31457281ee")}})
	p := addMagnet(t, newSession(t, Config{}), MagnetConfig{Link: c.link(), Peers: []netip.AddrPort{boaster.Addr()}})
	eventually(t, "a word about the size", func() bool { return strings.Contains(p.Status().State, "larger than 30 MiB") })
	p.AddPeers(c.seeders(t, 1), swarm.FromUser)
	awaitMeta(t, p) // from one who has another opinion
}

func TestInvalidMetadataIsAnError(t *testing.T) {
	bad := content{meta: &metainfo.MetaInfo{InfoRaw: []byte("d4:name1:ae")}}
	p := &Pending{cfg: MagnetConfig{Link: bad.link()}}
	var invalid *metainfo.Error
	if _, err := p.parse(bad.meta.InfoRaw); !errors.As(err, &invalid) {
		t.Errorf("%v", err)
	}
}

func TestMagnetEndsAtOnce(t *testing.T) {
	c := makeContent(t, 1<<20, 64<<10)
	link := c.link()
	link.Trackers = []string{"http://127.0.0.1:1/announce"}
	link.Peers = []string{"127.0.0.1:1", "nowhere.invalid:1"}
	s := newSession(t, Config{})
	p := addMagnet(t, s, MagnetConfig{Link: link})
	if _, err := s.AddMagnet(MagnetConfig{Link: link}); err == nil {
		t.Error("the same torrent twice")
	}
	if st := p.Status(); !strings.HasPrefix(st.State, "fetching metadata: ") || len(st.Trackers) != 1 {
		t.Errorf("%+v", st)
	}
	start := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	p.Close(ctx)
	if d := time.Since(start); d > time.Second {
		t.Errorf("Close took %v", d)
	}
	if _, err := p.Meta(); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if _, err := p.Torrent(TorrentConfig{}); err == nil {
		t.Error("a torrent without metadata")
	}
}

func TestFillOfSelectedFiles(t *testing.T) {
	c := makeContent(t, 1<<20, 64<<10)
	for _, want := range []bool{true, false} {
		st := memstore.New(Geometry(c.meta))
		tor := add(t, newSession(t, Config{}), TorrentConfig{
			Meta: c.meta, Store: st, Fill: true, Peers: c.seeders(t, 1), Select: func(int) bool { return want },
		})
		select {
		case <-tor.Done():
		case <-time.After(20 * time.Second):
			t.Fatalf("not done: %+v", tor.Status())
		}
		if have := st.Stats().Pieces; (have == 16) != want {
			t.Errorf("%d pieces here, selected: %v", have, want)
		}
	}
}

func TestSelection(t *testing.T) {
	s := &selection{}
	for _, r := range [][2]int{{0, 1}, {1, 2}, {3, 3}, {6, 6}} {
		s.add(picker.Range{First: r[0], Last: r[1]})
	}
	if len(s.pieces) != 2 || s.pieces[0].Last != 3 {
		t.Fatalf("%v", s.pieces)
	}
	have := map[int]bool{6: true, 0: true, 1: true, 3: true}
	has := func(i int) bool { return have[i] }
	if s.complete(has) {
		t.Error("complete without piece 2")
	}
	have[2] = true
	if !s.complete(has) || !s.done() {
		t.Error("not complete")
	}
	have[2] = false
	if !s.complete(has) {
		t.Error("what was complete is so for good")
	}
}
