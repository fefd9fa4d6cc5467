package fetch

import (
	"errors"
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/cache/memstore"
	"github.com/qqbtfs/qqbtfs/cache/merkle"
	"github.com/qqbtfs/qqbtfs/fetch/magnet"
)

func (f files) link(peers ...string) magnet.Link {
	return magnet.Link{HashV2: f.meta.HashV2(), HasV2: true, Peers: peers}
}

// A v2 torrent becomes one by its magnet link alone: the piece layers, which are not in
// the info dictionary, are asked for and proven.
func TestMagnetOfV2(t *testing.T) {
	f := makeFiles(t, "v2", 16<<10, 9<<20, 100, 40_000, 40_000, 0) // 576 pieces: two parts
	liar, bad := f.seed(t, Config{})
	liar.hashServer.kept = []keptTree{{piece: -1, file: 0, tree: merkle.NewTree(make([]merkle.Hash, 576), 0, 10)}}
	_, good := f.seed(t, Config{})
	s := newSession(t, Config{})
	p := addMagnet(t, s, MagnetConfig{Link: f.link(bad.String(), good.String())})
	m := awaitMeta(t, p)
	if len(m.MissingLayers()) != 0 || string(m.InfoRaw) != string(f.meta.InfoRaw) {
		t.Fatalf("missing %v", m.MissingLayers())
	}
	tor, err := p.Torrent(TorrentConfig{Store: memstore.New(Geometry(m)), Fill: true})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-tor.Done():
	case <-time.After(20 * time.Second):
		t.Fatalf("not complete: %+v", tor.Status())
	}
}

// Without anybody who has them it says so in the end.
func TestMagnetOfV2WithoutLayers(t *testing.T) {
	f := makeFiles(t, "v2", 16<<10, 100_000)
	seed, addr := f.seed(t, Config{})
	seed.mu.Lock() // which every connection takes later on
	seed.hashServer.byRoot = nil
	seed.mu.Unlock()
	p := addMagnet(t, newSession(t, Config{}), MagnetConfig{Link: f.link(addr.String())})
	for asking := make(chan bool); ; {
		p.in.call(func() { asking <- p.layers != nil })
		if <-asking {
			break
		}
	}
	p.in.call(func() { p.layers.until = time.Now().Add(-time.Second) })
	<-p.Found()
	if _, err := p.Meta(); !errors.Is(err, errLayers) {
		t.Errorf("%v, want that nobody has the layers", err)
	}
}
