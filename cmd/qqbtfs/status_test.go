package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/cache"
	"github.com/qqbtfs/qqbtfs/fetch"
	"github.com/qqbtfs/qqbtfs/fetch/dht"
	"github.com/qqbtfs/qqbtfs/fetch/tracker"
)

var testNow = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// testStatus is a mount with one torrent that waits, one that is complete and one whose
// metadata is not here.
func testStatus() mountStatus {
	return mountStatus{
		Mountpoint: "/mnt/t", PID: 4711, Version: "1.0", Started: testNow.Add(-90 * time.Second),
		Listen: []string{"[::]:6881"}, CacheDir: "/c", LogFile: "/c/mnt-t.log",
		DHT: &dht.Status{Nodes: 312, Port: 6881, ReadOnly: true, External: []string{"20.0.0.1"}},
		Torrents: []fetch.Status{{
			Name: "film\x1b.mkv", InfoHash: strings.Repeat("ab", 20), State: "waiting for piece 812: 3 peers have it, all choke us (1.2 s)",
			Pieces: 1000, PiecesHave: 500, Bytes: 1 << 30, BytesHave: 1 << 29, DownRate: 2.5e6, UpRate: 1e3,
			Downloaded: 1<<29 + 4096, Uploaded: 1 << 20, UploadedBefore: 1 << 29, Ratio: 1.002, Wasted: 4096, HashFailures: 2, Banned: 1, Blocked: 7, KnownPeers: 40, KnownFrom: map[string]int{"tracker": 30, "dht": 9, "pex": 1}, Fill: true, Filling: true,
			Waits:   2,
			Waiting: []string{"piece 812: 3 peers have it, all choke us (1.2 s)", "piece 9: nobody has it (0.5 s)"},
			Peers: []fetch.PeerStatus{
				{Addr: "10.0.0.1:6881", Client: "aria2/1.36", Outgoing: true, Source: "dht", Encrypted: true, Progress: 1, DownRate: 2.5e6, RTT: 51.4, Owes: 12},
				{Addr: "[2001:db8::1]:51413", Client: "-TR3000-", Source: "incoming", Progress: 0.25, UpRate: 1e3, Choked: true, Snubbed: true, Unchoked: true, Interested: true},
			},
			WebSeeds: []fetch.WebSeedStatus{
				{URL: "https://mirror.example/pub", State: "sending", InUse: true, Progress: 0.9, DownRate: 5e5, Downloaded: 1 << 20, Owes: 16},
				{URL: "http://dead.example/", State: "failed: HTTP status 500; again in 4 s"},
			},
			Trackers: []tracker.Status{
				{URL: "http://tracker.example/announce", LastOK: "50 peers (3 seeders, 47 leechers)", NextAnnounce: testNow.Add(29 * time.Minute)},
				{URL: "udp://dead.example:80", LastError: "no answer\nat all", Announcing: true},
				{URL: "udp://new.example:80"},
			},
			Cache: cache.Stats{State: "disk full: RAM only", DiskBytes: 1 << 29, RAMBytes: 64 << 20, RAMHits: 12, DiskHits: 1, Damaged: 1},
		}, {
			Name: "album", InfoHash: strings.Repeat("cd", 20), State: "complete, uploading is off", NotServing: "uploading is off", Complete: true,
			Pieces: 10, PiecesHave: 10, Bytes: 1e6, BytesHave: 1e6, Cache: cache.Stats{State: "ok"},
		}, {
			Name: "song", InfoHash: strings.Repeat("ef", 20), State: "fetching metadata: asking 2 peers", KnownPeers: 5,
			Trackers: []tracker.Status{{URL: "udp://tracker.example:80", LastOK: "5 peers"}},
		}},
	}
}

func TestStatusOutput(t *testing.T) {
	var one, all, none, asJSON bytes.Buffer
	m := testStatus()
	if err := printStatus(&one, m, testNow); err != nil {
		t.Fatal(err)
	}
	if err := printMounts(&all, []mountStatus{m}); err != nil {
		t.Fatal(err)
	}
	if err := printMounts(&none, nil); err != nil {
		t.Fatal(err)
	}
	if err := printJSON(&asJSON, m); err != nil {
		t.Fatal(err)
	}
	golden(t, "status.golden", one.String())
	golden(t, "mounts.golden", all.String()+none.String())
	golden(t, "status.json.golden", asJSON.String())
}

// A player that reads ahead waits for a hundred pieces: three lines tell enough.
func TestStatusOfManyWaits(t *testing.T) {
	s := testStatus().Torrents[0]
	for range 98 {
		s.Waiting = append(s.Waiting, "piece 10: nobody has it (0.1 s)")
	}
	s.Waits = 700
	var out bytes.Buffer
	if err := printTorrent(&out, s, testNow); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "waiting for"); n != shownWaits || !strings.Contains(out.String(), "\n                 and 697 more\n") {
		t.Errorf("%d waits are told: %s", n, out.String())
	}
	if strings.Index(out.String(), "progress") > strings.Index(out.String(), "waiting") {
		t.Errorf("the progress does not come first: %s", out.String())
	}
}

func TestStatusJSONRoundTrip(t *testing.T) {
	b, err := json.Marshal(testStatus())
	if err != nil {
		t.Fatal(err)
	}
	var back mountStatus
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	var x, y bytes.Buffer
	if err := printStatus(&x, testStatus(), testNow); err != nil {
		t.Fatal(err)
	}
	if err := printStatus(&y, back, testNow); err != nil || x.String() != y.String() {
		t.Errorf("after JSON the status reads\n%s\nbefore\n%s", y.String(), x.String())
	}
}

func TestProgressText(t *testing.T) {
	m := testStatus()
	notFilled := testStatus().Torrents[:1]
	notFilled[0].Filling = false
	for name, c := range map[string]struct {
		in   []fetch.Status
		want string
	}{
		"both":             {m.Torrents[:2], "2 torrents  50.0% of 1.0 GiB  down 2.5 MB/s  up 1.0 kB/s  2 peers  3m35s left  2 pieces awaited, piece 812: 3 peers have it, all choke us (1.2 s)"},
		"done":             {m.Torrents[1:2], "album  100.0% of 976.6 KiB  down 0 B/s  up 0 B/s  uploading is off"},
		"metadata to come": {m.Torrents[1:], "2 torrents  100.0% of 976.6 KiB  down 0 B/s  up 0 B/s  0 peers  without metadata: 1 torrent"},
		"no metadata":      {m.Torrents[2:], "song  fetching metadata: asking 2 peers"},
		"not filled":       {notFilled, "film .mkv  50.0% of 1.0 GiB  down 2.5 MB/s  up 1.0 kB/s  2 peers  2 pieces awaited, piece 812: 3 peers have it, all choke us (1.2 s)"},
	} {
		if got := progressText(c.in); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
