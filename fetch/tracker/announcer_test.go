package tracker

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// world is a set of trackers for an Announcer in virtual time.
type world struct {
	t     *testing.T
	start time.Time

	mu        sync.Mutex
	log       []string                 // "time url event" of every announce
	fail      map[string]error         // trackers that fail
	slow      map[string]time.Duration // trackers that take their time
	interval  map[string]time.Duration
	left      int64
	paused    bool
	peers     int // received
	trackerID map[string]string
}

func newWorld(t *testing.T) *world {
	return &world{t: t, start: time.Now(), left: 100,
		fail: make(map[string]error), slow: make(map[string]time.Duration),
		interval: make(map[string]time.Duration), trackerID: make(map[string]string)}
}

// set changes the world in the middle of a test.
func (w *world) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

func (w *world) announce(ctx context.Context, url string, r Request, answered func(Response)) (Response, error) {
	w.mu.Lock()
	event := r.Event.String()
	if event == "" {
		event = "-"
	}
	w.log = append(w.log, fmt.Sprintf("%v %s %s", time.Since(w.start).Round(time.Second), strings.TrimPrefix(url, "http://"), event))
	slow, err, interval := w.slow[url], w.fail[url], w.interval[url]
	w.mu.Unlock()
	if slow > 0 {
		select {
		case <-time.After(slow):
		case <-ctx.Done():
			return Response{}, ctx.Err()
		}
	}
	if err != nil {
		return Response{}, err
	}
	resp := Response{Interval: 30 * time.Minute, Seeders: 1, Leechers: 2, TrackerID: "id", Peers: []netip.AddrPort{netip.MustParseAddrPort("9.9.9.9:1")}}
	if interval != 0 {
		resp.Interval = interval
	}
	w.mu.Lock()
	w.trackerID[url] = r.TrackerID
	w.mu.Unlock()
	answered(resp)
	return resp, nil
}

func (w *world) announcer(private bool, tiers ...[]string) *Announcer {
	a := NewAnnouncer(AnnouncerConfig{
		Tiers: tiers, Private: private, Seed: 1,
		Snapshot: func() Request {
			w.mu.Lock()
			defer w.mu.Unlock()
			return Request{Port: 6881, Left: w.left, Paused: w.paused}
		},
		OnPeers: func(p []netip.AddrPort, source string) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.peers += len(p)
		},
	})
	a.announce = w.announce
	return a
}

// after waits d of virtual time and returns the announces since the last call.
func (w *world) after(d time.Duration) []string {
	<-time.After(d)
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	log := w.log
	w.log = nil
	return log
}

func (w *world) expect(d time.Duration, want ...string) {
	w.t.Helper()
	if got := w.after(d); !slices.Equal(got, want) {
		w.t.Errorf("got  %q\nwant %q", got, want)
	}
}

func stop(a *Announcer) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	a.Stop(ctx)
}

func TestAnnounceLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a := w.announcer(false, []string{"http://a"})
		a.Start()
		a.Start()
		w.expect(0, "0s a started")
		w.expect(30*time.Minute, "30m0s a -")
		w.expect(time.Minute)
		w.set(func() { w.left = 0 })
		a.Completed()
		a.Completed()
		w.expect(0, "31m0s a completed")
		w.expect(30*time.Minute, "1h1m0s a -")
		a.Completed()
		w.expect(0)
		stop(a)
		w.expect(0, "1h1m0s a stopped")
		stop(a)
		a.Start()
		w.expect(2 * time.Hour)
		if w.trackerID["http://a"] != "id" || w.peers != 4 {
			t.Errorf("tracker id %q, %d peers", w.trackerID["http://a"], w.peers)
		}
	})
}

// BEP 3: "No completed is sent if the file was complete when started."
// BEP 21: "it MUST send an event=paused parameter in every announce while it is a
// partial seed".
func TestPartialSeedIsPaused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.paused = true
		a := w.announcer(false, []string{"http://a"})
		a.Start()
		w.expect(0, "0s a paused")
		w.expect(30*time.Minute, "30m0s a paused")
		w.set(func() { w.paused = false })
		w.expect(30*time.Minute, "1h0m0s a -")
		stop(a)
		w.expect(0, "1h0m0s a stopped")
	})
	if got := Paused.udp(); got != None {
		t.Errorf("over UDP it is %v", got)
	}
}

func TestCompleteFromTheStartIsNotReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.left = 0
		a := w.announcer(false, []string{"http://a"})
		a.Start()
		w.expect(0, "0s a started")
		a.Completed()
		w.expect(time.Minute)
		stop(a)
	})
}

func TestCompletedWaitsForStarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.slow["http://a"] = 2 * time.Second
		a := w.announcer(false, []string{"http://a"})
		a.Start()
		w.expect(time.Second, "0s a started")
		a.Completed()
		w.expect(10*time.Second, "2s a completed")
		stop(a)
	})
}

func TestAllTiersAtOnceOneTrackerEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a := w.announcer(false, []string{"http://a"}, []string{"http://b"}, []string{"http://c1", "http://c2"})
		a.Start()
		got := w.after(0)
		if len(got) != 3 {
			t.Errorf("announced %q", got)
		}
		stop(a)
		if got := w.after(0); len(got) != 3 || strings.Count(strings.Join(got, " "), "stopped") != 3 {
			t.Errorf("stopped %q", got)
		}
	})
}

// BEP 12: "if a connection with a tracker is successful it will be moved to
// the front of the tier".
func TestGoodTrackerMovesToTheFront(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a := w.announcer(false, []string{"http://a", "http://b", "http://c"})
		order := []string{a.groups[0].tiers[0][0].url, a.groups[0].tiers[0][1].url, a.groups[0].tiers[0][2].url}
		w.fail[order[0]] = errors.New("down")
		w.fail[order[1]] = errors.New("down")
		a.Start()
		host := func(i int) string { return strings.TrimPrefix(order[i], "http://") }
		w.expect(0, "0s "+host(0)+" started", "0s "+host(1)+" started", "0s "+host(2)+" started")
		w.expect(30*time.Minute, "30m0s "+host(2)+" -")
		var urls []string
		for _, s := range a.Status() {
			urls = append(urls, s.URL)
		}
		if !slices.Equal(urls, []string{order[2], order[0], order[1]}) {
			t.Errorf("order of the tier is %v, was %v", urls, order)
		}
		// The good one fails: the others get their turn, and know us not yet.
		w.set(func() { w.fail = map[string]error{order[2]: errors.New("down")} })
		w.expect(30*time.Minute, "1h0m0s "+host(2)+" -", "1h0m0s "+host(0)+" started")
		stop(a)
		got := w.after(0)
		slices.Sort(got)
		want := []string{"1h0m0s " + host(0) + " stopped", "1h0m0s " + host(2) + " stopped"}
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestTierIsShuffledOnce(t *testing.T) {
	urls := []string{"http://a", "http://b", "http://c", "http://d", "http://e", "http://f"}
	orders := make(map[string]bool)
	for seed := range uint64(10) {
		a := NewAnnouncer(AnnouncerConfig{Tiers: [][]string{urls}, Seed: seed + 1})
		var order string
		for _, s := range a.Status() {
			order += s.URL
		}
		orders[order] = true
	}
	if len(orders) < 5 || urls[0] != "http://a" {
		t.Errorf("%d different orders of 10; caller's tier %v", len(orders), urls)
	}
}

func TestSilentTrackerDoesNotBlockItsTier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a := w.announcer(false, []string{"http://a", "http://b"})
		first, second := a.groups[0].tiers[0][0], a.groups[0].tiers[0][1]
		w.slow[first.url] = time.Hour
		a.Start()
		w.after(0)
		w.expect(5*time.Second, "5s "+strings.TrimPrefix(second.url, "http://")+" started")
		s := a.Status()
		if s[0].URL != second.url || !s[0].Working || s[1].LastError != "" || s[1].Announcing {
			t.Errorf("status %+v", s)
		}
		stop(a)
	})
}

// BEP 27: one tracker at a time, tier after tier.
func TestPrivateUsesOneTrackerAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.slow["http://a"] = 20 * time.Second
		w.fail["http://a"] = errors.New("down")
		a := w.announcer(true, []string{"http://a"}, []string{"http://b"}, []string{"http://c"})
		a.Start()
		w.expect(19*time.Second, "0s a started")
		w.expect(time.Second, "20s b started")
		w.set(func() { delete(w.fail, "http://a") })
		w.expect(30*time.Minute, "30m20s b -")
		stop(a)
		w.expect(0, "30m20s b stopped")
	})
}

func TestBackoff(t *testing.T) {
	want := []time.Duration{15 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 16 * time.Minute, 32 * time.Minute, time.Hour, time.Hour}
	for i, d := range want {
		if got := backoff(i+1, 0); got != d {
			t.Errorf("backoff(%d) = %v, want %v", i+1, got, d)
		}
		if got := backoff(i+1, 0.999); got < d*3/4 || got >= d {
			t.Errorf("backoff(%d) with jitter = %v", i+1, got)
		}
	}
	if got := backoff(1<<30, 0); got != time.Hour {
		t.Errorf("backoff(many) = %v", got)
	}
}

// A tracker that is down for a day is asked some 30 times, not thousands.
func TestDeadTrackerIsAskedRarely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.fail["http://a"] = errors.New("down")
		a := w.announcer(false, []string{"http://a"})
		a.Start()
		if n := len(w.after(24 * time.Hour)); n < 25 || n > 45 {
			t.Errorf("%d announces in a day", n)
		}
		if s := a.Status()[0]; s.LastError != "down" || s.NextAnnounce.Before(time.Now()) || s.Working {
			t.Errorf("status %+v", s)
		}
		w.set(func() { delete(w.fail, "http://a") })
		a.WantPeers()
		if got := w.after(wantRetry); len(got) != 1 || !strings.HasSuffix(got[0], "a started") {
			t.Errorf("wanted, after the network is back: %q", got)
		}
		stop(a)
	})
}

func TestWantPeersRespectsMinInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a := w.announcer(false, []string{"http://a"})
		a.Start()
		w.expect(10*time.Second, "0s a started")
		for range 100 {
			a.WantPeers()
		}
		w.expect(19 * time.Second)
		w.expect(time.Second, "30s a -")
		w.expect(10 * time.Minute) // once
		a.WantPeers()
		w.expect(0, "10m30s a -")
		a.groups[0].active.last.MinInterval = 5 * time.Minute
		a.WantPeers()
		w.expect(5*time.Minute - time.Second)
		w.expect(time.Second, "15m30s a -")
		stop(a)
	})
}

func TestRefusalIsHonoured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.fail["http://a"] = &FailureError{Reason: "busy", RetryIn: 20 * time.Minute}
		w.fail["http://b"] = &FailureError{Reason: "banned", Never: true}
		a := w.announcer(false, []string{"http://a"}, []string{"http://b"}, []string{"wss://c"})
		a.Start()
		if got := w.after(0); len(got) != 2 {
			t.Errorf("announced %q", got)
		}
		a.WantPeers()
		w.expect(20*time.Minute - time.Second)
		w.expect(time.Second, "20m0s a started")
		var lastErrors []string
		for _, s := range a.Status() {
			lastErrors = append(lastErrors, s.LastError)
		}
		if want := []string{"tracker refused: busy", "tracker refused: banned", `not asked: unsupported tracker scheme "wss"`}; !slices.Equal(lastErrors, want) {
			t.Errorf("errors %q", lastErrors)
		}
		stop(a)
	})
}

func TestStopIsBoundedAndParallel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var tiers [][]string
		for i := range 50 {
			u := fmt.Sprintf("http://t%d", i)
			tiers = append(tiers, []string{u})
		}
		a := w.announcer(false, tiers...)
		a.Start()
		w.after(0)
		w.set(func() {
			for _, tier := range tiers {
				w.slow[tier[0]] = time.Hour
			}
		})
		begin := time.Now()
		stop(a)
		if d := time.Since(begin); d != time.Second {
			t.Errorf("Stop took %v", d)
		}
		if n := len(w.after(0)); n != 50 {
			t.Errorf("%d trackers told", n)
		}
	})
}

func TestStopDuringTheFirstAnnounce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.slow["http://a"] = time.Hour
		a := w.announcer(false, []string{"http://a"})
		a.Start()
		w.after(0)
		begin := time.Now()
		stop(a)
		if time.Since(begin) != 0 {
			t.Errorf("Stop waited %v for an announce under way", time.Since(begin))
		}
		w.expect(0) // it never answered: nothing to take back
	})
}

func TestStatusMasksAndSpeaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		const u = "http://t.org/0123456789abcdef/announce"
		a := w.announcer(false, []string{u})
		if s := a.Status()[0]; s.LastOK != "" || s.LastError != "" || !s.LastAnnounce.IsZero() {
			t.Errorf("before Start: %+v", s)
		}
		a.Start()
		w.after(time.Minute)
		s := a.Status()[0]
		if s.URL != "http://t.org/***/announce" || s.LastOK != "1 peer (1 seeder, 2 leechers)" || s.Peers != 1 ||
			!s.LastAnnounce.Equal(w.start) || !s.NextAnnounce.Equal(w.start.Add(30*time.Minute)) {
			t.Errorf("status %+v", s)
		}
		stop(a)
	})
}

func TestTrackersAreCapped(t *testing.T) {
	var tiers [][]string
	for i := range 5000 {
		tiers = append(tiers, []string{fmt.Sprintf("http://t%d/announce", i), fmt.Sprintf("http://u%d/announce", i)})
	}
	if n := len(NewAnnouncer(AnnouncerConfig{Tiers: tiers}).Status()); n != maxTrackers {
		t.Errorf("%d trackers", n)
	}
	NewAnnouncer(AnnouncerConfig{}).Stop(context.Background())
}

// A tracker that is away for an hour, in the middle of a session, costs neither a flood
// of announces nor another hour: who wants peers hears of its return within minutes.
func TestTrackerDownForAnHour(t *testing.T) {
	for name, tc := range map[string]struct {
		want  bool
		limit time.Duration // to hear of its return
	}{
		"short of peers": {true, wantRetry},
		"content":        {false, backoffMax},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				a := w.announcer(false, []string{"http://a"})
				a.Start()
				w.expect(0, "0s a started")
				w.set(func() { w.fail["http://a"] = errors.New("connection refused") })
				asked := 0
				for range 120 { // the swarm repeats that it wants peers
					if tc.want {
						a.WantPeers()
					}
					asked += len(w.after(30 * time.Second))
				}
				if asked < 1 || asked > 20 {
					t.Errorf("asked %d times in the hour", asked)
				}
				w.set(func() { delete(w.fail, "http://a") })
				got := w.after(tc.limit)
				if len(got) == 0 || !strings.HasSuffix(got[0], " a -") {
					t.Errorf("after its return: %q", got)
				}
				if s := a.Status()[0]; !s.Working || s.LastError != "" {
					t.Errorf("status %+v", s)
				}
				stop(a)
			})
		})
	}
}

// After a change of the network trackers hear of us at once, whatever interval they
// named; those that failed are asked again, and nobody is flooded.
func TestMovedAnnouncesSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.fail["http://b"] = errors.New("network is unreachable")
		w.fail["http://c"] = &FailureError{Reason: "busy", RetryIn: 50 * time.Minute}
		w.interval["http://a"] = time.Hour
		a := w.announcer(false, []string{"http://a"}, []string{"http://b"}, []string{"http://c"})
		a.Start()
		w.after(40 * time.Minute)
		w.set(func() { delete(w.fail, "http://b") })
		a.Moved()
		got := w.after(0)
		slices.Sort(got)
		if want := []string{"40m0s a -", "40m0s b started"}; !slices.Equal(got, want) {
			t.Errorf("announced %q, want %q", got, want)
		}
		for range 100 {
			a.Moved()
		}
		w.expect(wantFloor - time.Second)
		if got := w.after(time.Second); len(got) != 2 {
			t.Errorf("announced %q", got)
		}
		w.expect(9 * time.Minute) // c is not asked before its time
		w.expect(time.Minute, "50m0s c started")
		stop(a)
	})
}

// A network that is not ready yet when the address is there is tried again soon, as if
// nothing had failed before.
func TestMovedForgivesFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.fail["http://a"] = errors.New("network is unreachable")
		a := w.announcer(false, []string{"http://a"})
		a.Start()
		w.after(5 * time.Hour)
		a.Moved()
		w.expect(0, "5h0m0s a started")
		if got := w.after(10 * time.Minute); len(got) < 4 || len(got) > 6 {
			t.Errorf("in ten minutes: %q", got)
		}
		stop(a)
	})
}
