package tracker

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

const (
	backoffFirst = 15 * time.Second
	backoffMax   = time.Hour
	// wantFloor is the shortest wait between announces to a tracker that did
	// not name one itself.
	wantFloor = 30 * time.Second
	// wantRetry is the longest back-off while peers are wanted: a network that
	// was away for an hour must not cost another one.
	wantRetry = 5 * time.Minute
)

// backoff returns the wait after the given number of failures in a row, from 1
// on: doubling from 15 s to an hour, shortened by up to a quarter for jitter in
// [0, 1), so that the clients of a restarted tracker do not return all at once.
func backoff(failures int, jitter float64) time.Duration {
	d := backoffMax
	if n := failures - 1; n < 8 {
		d = min(backoffFirst<<n, backoffMax)
	}
	return d - time.Duration(jitter*float64(d)/4)
}

// newEndpoint returns a tracker that was not asked yet, or one that is gone if
// its URL can't be asked at all.
func newEndpoint(url string, tier int) *endpoint {
	e := &endpoint{url: url, masked: MaskURL(url), tier: tier}
	if _, err := parseURL(url); err != nil {
		e.gone, e.lastErr = true, words(err)
	}
	return e
}

// endpoint is one tracker of a torrent: what is known of it. Its group's
// Announcer's mu protects it.
type endpoint struct {
	url, masked string // masked is for people
	tier        int

	started   bool // it knows us: answered an announce, not told stopped
	gone      bool // not to be asked again in this run
	failures  int  // in a row
	trackerID string
	last      Response // the last good answer

	announced time.Time     // the last announce that was answered or failed; zero: none
	wait      time.Duration // while it fails: the back-off
	retryIn   time.Duration // while it fails: the least wait that it asked for
	updating  bool          // an announce is under way
	lastErr   string        // in words; empty after a good answer
}

func (e *endpoint) succeeded(now time.Time, r Response) {
	e.started = true
	e.failures, e.lastErr = 0, ""
	e.announced = now
	e.last = r
	e.last.Warning = maskText(e.url, r.Warning)
	if r.TrackerID != "" {
		e.trackerID = r.TrackerID // BEP 3: absent means keep the old one
	}
}

func (e *endpoint) failed(now time.Time, err error, jitter float64) {
	e.failures++
	e.announced, e.lastErr = now, e.words(err)
	e.wait, e.retryIn = backoff(e.failures, jitter), 0
	var refusal *FailureError
	if errors.As(err, &refusal) {
		e.gone, e.retryIn = refusal.Never, refusal.RetryIn
	}
}

// words says in a few plain words why an announce failed, without the secrets of the URL.
func (e *endpoint) words(err error) string { return maskText(e.url, words(err)) }

// moved makes the next announce due as soon as it may be. What failed so far says
// nothing of another network, so the back-off begins anew.
func (e *endpoint) moved() {
	e.last.Interval = min(e.last.Interval, wantFloor)
	e.failures, e.wait = min(e.failures, 1), min(e.wait, wantFloor)
}

// due returns when a tracker that works is to be asked next.
func (e *endpoint) due(want bool) time.Time {
	wait := e.last.Interval
	if want {
		wait = min(wait, max(e.last.MinInterval, wantFloor))
	}
	return e.announced.Add(wait)
}

// retry returns when a tracker that fails may be asked again; zero is now.
func (e *endpoint) retry(want bool) time.Time {
	if e.failures == 0 {
		return time.Time{}
	}
	wait := e.wait
	if want {
		wait = min(wait, wantRetry)
	}
	return e.announced.Add(max(wait, e.retryIn))
}

// lastOK says the last good answer in words.
func (e *endpoint) lastOK() string {
	if e.last.Interval == 0 {
		return ""
	}
	s := fmt.Sprintf("%s (%s, %s)", plural(len(e.last.Peers), "peer"), plural(e.last.Seeders, "seeder"), plural(e.last.Leechers, "leecher"))
	if e.last.Warning != "" {
		s += ", warns: " + e.last.Warning
	}
	return s
}

func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}

// completion is how far the completed event is for one group.
type completion int

const (
	notComplete    completion = iota
	completePended            // to be told
	completeTold              // told, or never to be
)

// group is a set of trackers of which one is announced to at a time: a tier of
// BEP 12, or, for a private torrent, all of them (BEP 27 allows one tracker at
// a time). The Announcer's mu protects it, but for wake.
type group struct {
	tiers    [][]*endpoint // in the order to try; a good one moves to the front of its tier
	oneByOne bool          // never ask a second tracker while the first may still answer
	wake     chan struct{} // something changed; capacity 1

	active    *endpoint // the one that answered last; nil: find one
	want      bool      // the torrent is short of peers
	completed completion
}

func (g *group) poke() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// next returns when the group has to announce, and false if never again.
func (g *group) next(now time.Time) (time.Time, bool) {
	if g.active != nil {
		if g.completed == completePended {
			return now, true
		}
		return g.active.due(g.want), true
	}
	var at time.Time
	found := false
	for _, e := range slices.Concat(g.tiers...) {
		if r := e.retry(g.want); !e.gone && (!found || r.Before(at)) {
			at, found = r, true
		}
	}
	return at, found
}

// candidates returns the trackers to try now: the one that works, then the
// others in the order of BEP 12.
func (g *group) candidates(now time.Time) []*endpoint {
	var es []*endpoint
	if g.active != nil {
		es = append(es, g.active)
	}
	for _, e := range slices.Concat(g.tiers...) {
		if e != g.active && !e.gone && !e.retry(g.want).After(now) {
			es = append(es, e)
		}
	}
	return es
}

// event returns what to tell e now. A tracker hears started first, and
// completed only if it heard started while something was still missing.
func (g *group) event(e *endpoint) Event {
	switch {
	case !e.started:
		return Started
	case g.completed == completePended:
		return Completed
	}
	return None
}

// answered records that e answered an announce with this request.
func (g *group) answered(e *endpoint, r Request) {
	g.active, g.want = e, false
	if r.Event == Completed || r.Event == Started && r.Left == 0 {
		g.completed = completeTold
	}
	for _, tier := range g.tiers {
		if i := slices.Index(tier, e); i > 0 {
			copy(tier[1:i+1], tier[:i])
			tier[0] = e
		}
	}
}
