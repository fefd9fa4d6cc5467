package fetch

import (
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/cache"
	"github.com/qqbtfs/qqbtfs/cache/memstore"
	"github.com/qqbtfs/qqbtfs/fetch/layout"
)

// A player reads far ahead: the status counts all it waits for and tells of some.
func TestStatusOfManyWaits(t *testing.T) {
	c := makeContent(t, 300*16<<10, 16<<10)
	tor := add(t, newSession(t, Config{}), TorrentConfig{Meta: c.meta, Store: memstore.New(Geometry(c.meta))})
	for i := range 300 {
		tor.waits.join(layout.Span{Piece: i})
	}
	if st := tor.Status(); st.Waits != 300 || len(st.Waiting) != maxWaiting || st.State != "waiting for "+st.Waiting[0] {
		t.Errorf("%d waits, %d told, %q", st.Waits, len(st.Waiting), st.State)
	}
}

func TestStalledIsSaidLate(t *testing.T) {
	tor, now := &Torrent{cfg: TorrentConfig{Fill: true}}, time.Unix(1e9, 0)
	for _, c := range []struct {
		quiet time.Duration
		peers int
		want  string
	}{
		{0, 1, "downloading from 1 peer"},
		{4900 * time.Millisecond, 2, "downloading from 2 peers"},
		{5 * time.Second, 1, "stalled: nothing from 1 peer for 5 s"},
		{time.Minute, 3, "stalled: nothing from 3 peers for 60 s"},
	} {
		tor.rates.quiet = now.Add(-c.quiet)
		if got := tor.state(now, Status{Peers: make([]PeerStatus, c.peers)}); got != c.want {
			t.Errorf("quiet for %v: %q, want %q", c.quiet, got, c.want)
		}
	}
}

// fullStore has no room.
type fullStore struct{ *memstore.Store }

func (fullStore) Full() bool   { return true }
func (fullStore) Keeps() int64 { return 0 }

// Who gives the cache less than the torrent is told that this ends the fill.
func TestCacheSizeIsSaid(t *testing.T) {
	now := time.Unix(1e9, 0)
	for _, c := range []struct {
		limit int64
		full  bool
		want  string
	}{
		{100, false, "downloading from 1 peer"},
		{99, false, "downloading from 1 peer, as far as the cache size allows"},
		{0, true, "no room to fill, fetching what is read"},
		{99, true, "no room to fill, for the cache size is less than the torrent's: fetching what is read"},
	} {
		tor := &Torrent{cfg: TorrentConfig{Fill: true}}
		if c.full {
			tor.store = fullStore{}
		}
		tor.rates.quiet = now
		st := Status{Bytes: 100, Peers: make([]PeerStatus, 1), Cache: cache.Stats{DiskLimit: c.limit}}
		if got := tor.state(now, st); got != c.want {
			t.Errorf("limit %d, full %v: %q, want %q", c.limit, c.full, got, c.want)
		}
	}
}
