package fetch

import (
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/cache/memstore"
)

// A player reads far ahead: the status counts all it waits for and tells of some.
func TestStatusOfManyWaits(t *testing.T) {
	c := makeContent(t, 300*16<<10, 16<<10)
	tor := add(t, newSession(t, Config{}), TorrentConfig{Meta: c.meta, Store: memstore.New(Geometry(c.meta))})
	for i := range 300 {
		tor.waits.join(i)
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
