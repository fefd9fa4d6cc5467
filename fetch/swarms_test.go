package fetch

import (
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/cache/memstore"
	"github.com/qqbtfs/qqbtfs/fetch/tracker"
)

// A tracker of a hybrid is asked for two swarms, and is one tracker.
func TestTrackerOfBothSwarms(t *testing.T) {
	at := time.Unix(1e9, 0)
	v1 := tracker.Status{URL: "u", LastOK: "2 peers", LastAnnounce: at, NextAnnounce: at.Add(time.Hour), Working: true, Seeders: 2, Peers: 2}
	v2 := tracker.Status{URL: "u", LastError: "no", LastAnnounce: at, NextAnnounce: at.Add(time.Minute), Announcing: true, Leechers: 1}
	want := tracker.Status{URL: "u", LastOK: "2 peers", LastError: "no", LastAnnounce: at, NextAnnounce: at.Add(time.Minute),
		Announcing: true, Working: true, Seeders: 2, Leechers: 1, Peers: 2}
	if got := bothSwarms(v1, v2); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := bothSwarms(v2, v1); got != want {
		t.Errorf("the other way round %+v, want %+v", got, want)
	}
	f := makeFiles(t, "hybrid", 16<<10, 50_000)
	f.meta.Trackers = [][]string{{"http://127.0.0.1:1/a", "http://127.0.0.1:1/b"}}
	tor := add(t, newSession(t, Config{}), TorrentConfig{Meta: f.meta, Store: memstore.New(Geometry(f.meta))})
	if list := tor.Status().Trackers; len(tor.hashes) != 2 || len(list) != 2 || list[0].URL == list[1].URL {
		t.Errorf("%d swarms, %+v", len(tor.hashes), list)
	}
}
