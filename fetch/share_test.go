package fetch

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/cache/memstore"
)

func TestFairShare(t *testing.T) {
	for _, c := range []struct {
		total  int
		others []int
		want   int
	}{
		{100, nil, 100},
		{100, []int{0}, 100},
		{100, []int{100}, 50},
		{100, []int{90, 10}, 45},
		{100, []int{10, 20}, 70},
		{9, []int{5}, 4},
		{2, []int{1, 1}, 1},
		{1, []int{1, 0}, 1},
	} {
		if got := fairShare(c.total, slices.Clone(c.others)); got != c.want {
			t.Errorf("of %d beside %v: %d, want %d", c.total, c.others, got, c.want)
		}
	}
}

// A torrent that is late gets peers although another has taken all connections, with
// peers that have nothing for it; and so does a magnet link.
func TestLateTorrentGetsItsShare(t *testing.T) {
	const most = 4
	idle, c := makeContent(t, 200_000, 16<<10), makeContent(t, 50_000_000, 256<<10)
	var useless []netip.AddrPort
	for range 2 * most {
		s := newSession(t, Config{})
		add(t, s, TorrentConfig{Meta: idle.meta, Store: memstore.New(Geometry(idle.meta))})
		useless = append(useless, s.Addrs()...)
	}
	crowded := func(t *testing.T) (*Session, *Torrent) {
		s := newSession(t, Config{MaxConns: most, ReadTimeout: 20 * time.Second})
		first := add(t, s, TorrentConfig{Meta: idle.meta, Store: memstore.New(Geometry(idle.meta)), Fill: true, Peers: useless})
		eventually(t, "no connection left", func() bool { return len(first.Status().Peers) == most })
		return s, first
	}
	t.Run("torrent", func(t *testing.T) {
		s, first := crowded(t)
		late := add(t, s, TorrentConfig{Meta: c.meta, Store: memstore.New(Geometry(c.meta)), Peers: c.seeders(t, most)})
		r := late.NewReader(0)
		defer r.Close()
		if err := readAt(t.Context(), r, make([]byte, 1000), 0); err != nil {
			t.Fatal(err)
		}
		eventually(t, "half of the connections for each", func() bool {
			return len(first.Status().Peers) == most/2 && len(late.Status().Peers) == most/2
		})
	})
	t.Run("magnet link", func(t *testing.T) {
		s, _ := crowded(t)
		awaitMeta(t, addMagnet(t, s, MagnetConfig{Link: c.link(), Peers: c.seeders(t, 1)}))
	})
}
