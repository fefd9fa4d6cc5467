package tracker

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"
)

const (
	// maxTrackers is how many trackers of a torrent are used.
	maxTrackers = 100
	// impatience is how long a tracker of a tier may keep the next one waiting.
	// BEP 12 tries them in order; most lists are full of dead ones, and each
	// would take the whole timeout.
	impatience = 5 * time.Second
)

// AnnouncerConfig describes one torrent to an Announcer.
type AnnouncerConfig struct {
	// Client makes the announces. It stays the caller's to close.
	Client *Client
	// Tiers are the announce URLs by tier (BEP 12). At most 100 are used.
	Tiers [][]string
	// Private means that one tracker is used at a time (BEP 27).
	Private bool
	// Snapshot returns the request's counters and identity as of now; Event
	// and TrackerID are ignored, and a zero Key is replaced by one for the run.
	// It is called from the Announcer's goroutines and must not block.
	Snapshot func() Request
	// OnPeers gets the peers of every answer, which it then owns, and the
	// masked URL of the tracker. Calls may overlap. It must not block.
	OnPeers func(peers []netip.AddrPort, source string)
	// Logger gets a line per announce. Nil means none.
	Logger *slog.Logger
	// Seed makes the shuffle and the jitter repeatable. Zero means random.
	Seed uint64
}

// Announcer announces one torrent to its trackers, on a goroutine for each
// tier, until Stop. Its methods are safe for concurrent use, and none but Stop
// waits for anything.
type Announcer struct {
	cfg      AnnouncerConfig
	announce func(ctx context.Context, url string, r Request, answered func(Response)) (Response, error)
	key      uint32
	groups   []*group

	ctx     context.Context // ends with Stop
	cancel  context.CancelFunc
	running sync.WaitGroup // one for each group, from Start on

	mu      sync.Mutex // protects what follows, the groups and their endpoints
	rand    *rand.Rand
	started bool
	stopped bool
}

// NewAnnouncer returns an Announcer that does nothing before Start.
func NewAnnouncer(cfg AnnouncerConfig) *Announcer {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	for cfg.Seed == 0 {
		cfg.Seed = rand.Uint64()
	}
	a := &Announcer{cfg: cfg, rand: rand.New(rand.NewPCG(cfg.Seed, 0))}
	if cfg.Client != nil {
		a.announce = cfg.Client.announce
	}
	a.key = a.rand.Uint32()
	a.ctx, a.cancel = context.WithCancel(context.Background())
	a.groups = a.newGroups()
	return a
}

// newGroups shuffles each tier, once (BEP 12, Order of Processing).
func (a *Announcer) newGroups() []*group {
	var tiers [][]*endpoint
	total := 0
	for i, urls := range a.cfg.Tiers {
		urls = urls[:min(len(urls), maxTrackers-total)]
		total += len(urls)
		var tier []*endpoint
		for _, u := range urls {
			tier = append(tier, newEndpoint(u, i))
		}
		a.rand.Shuffle(len(tier), func(i, j int) { tier[i], tier[j] = tier[j], tier[i] })
		if len(tier) > 0 {
			tiers = append(tiers, tier)
		}
	}
	if a.cfg.Private && len(tiers) > 0 {
		return []*group{{tiers: tiers, oneByOne: true, wake: make(chan struct{}, 1)}}
	}
	var groups []*group
	for _, tier := range tiers {
		groups = append(groups, &group{tiers: [][]*endpoint{tier}, wake: make(chan struct{}, 1)})
	}
	return groups
}

// Start makes the first announces at once, all tiers in parallel. Calls after
// the first, or after Stop, do nothing.
func (a *Announcer) Start() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.started || a.stopped {
		return
	}
	a.started = true
	for _, g := range a.groups {
		a.running.Go(func() { a.run(g) })
	}
}

// WantPeers says that peers run low: announce as soon as the trackers'
// minimum intervals allow, 30 s where they name none.
func (a *Announcer) WantPeers() {
	a.eachGroup(func(g *group) bool {
		changed := !g.want
		g.want = true
		return changed
	})
}

// Moved says that another network may lie behind us: trackers learn our new address,
// and those that failed get another chance. It is as if all had asked for an announce
// now, but none is asked twice within 30 s, nor before the time that it named when it
// refused.
func (a *Announcer) Moved() {
	a.eachGroup(func(g *group) bool {
		for _, tier := range g.tiers {
			for _, e := range tier {
				e.moved()
			}
		}
		return true
	})
}

// Completed says that the last missing piece arrived in this run. The
// trackers are told once; a torrent that was complete when a tracker first
// heard of it is not reported (BEP 3).
func (a *Announcer) Completed() {
	a.eachGroup(func(g *group) bool {
		changed := g.completed == notComplete
		if changed {
			g.completed = completePended
		}
		return changed
	})
}

// eachGroup applies change to every group and wakes those that it reports.
func (a *Announcer) eachGroup(change func(*group) bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, g := range a.groups {
		if change(g) {
			g.poke()
		}
	}
}

// Stop ends all announces, tells every tracker that knows of us, at once and
// until ctx ends, that we leave, and waits for the Announcer's goroutines.
// Calls after the first wait only for those.
func (a *Announcer) Stop(ctx context.Context) {
	a.mu.Lock()
	first := !a.stopped
	a.stopped = true
	a.mu.Unlock()
	a.cancel()
	a.running.Wait()
	if !first {
		return
	}
	var leaving sync.WaitGroup
	for _, e := range a.startedEndpoints() {
		leaving.Go(func() { a.leave(ctx, e) })
	}
	leaving.Wait()
}

func (a *Announcer) startedEndpoints() []*endpoint {
	a.mu.Lock()
	defer a.mu.Unlock()
	var es []*endpoint
	for _, g := range a.groups {
		for _, tier := range g.tiers {
			for _, e := range tier {
				if e.started {
					es = append(es, e)
				}
			}
		}
	}
	return es
}

func (a *Announcer) leave(ctx context.Context, e *endpoint) {
	_, err := a.announce(ctx, e.url, a.request(e, Stopped), func(Response) {})
	a.log(e, Stopped, 0, err)
	a.mu.Lock()
	defer a.mu.Unlock()
	if err == nil {
		e.started = false
	}
}

// run is a group's goroutine.
func (a *Announcer) run(g *group) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for a.ctx.Err() == nil {
		wait, ok := a.wait(g)
		if ok && wait <= 0 {
			a.round(g)
			continue
		}
		timer.Stop()
		if ok {
			timer.Reset(wait)
		}
		select {
		case <-a.ctx.Done():
		case <-g.wake:
		case <-timer.C:
		}
	}
}

// wait returns how long g has nothing to do, and false if forever.
func (a *Announcer) wait(g *group) (time.Duration, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	at, ok := g.next(now)
	return at.Sub(now), ok
}

// round announces to the trackers of g in order until one has answered, and
// waits until no announce of it is under way.
func (a *Announcer) round(g *group) {
	ctx, cancel := context.WithCancel(a.ctx)
	var attempts sync.WaitGroup
	defer attempts.Wait()
	defer cancel()

	a.mu.Lock()
	queue := g.candidates(time.Now())
	a.mu.Unlock()
	results := make(chan bool, len(queue))
	for pending := 0; len(queue) > 0 || pending > 0; {
		var impatient <-chan time.Time
		if len(queue) > 0 {
			e := queue[0]
			queue = queue[1:]
			pending++
			attempts.Go(func() { results <- a.attempt(ctx, g, e) })
			if !g.oneByOne {
				impatient = time.After(impatience)
			}
		}
		select {
		case ok := <-results:
			pending--
			if ok {
				return
			}
		case <-impatient:
		}
	}
}

// attempt makes one announce to e and records what came of it. An announce
// that was cancelled because another tracker was faster counts for nothing.
func (a *Announcer) attempt(ctx context.Context, g *group, e *endpoint) (ok bool) {
	a.mu.Lock()
	event := g.event(e)
	e.updating = true
	a.mu.Unlock()
	req := a.request(e, event)
	resp, err := a.announce(ctx, e.url, req, func(r Response) {
		a.mu.Lock()
		e.started = true // even if Stop comes before the other family's answer
		a.mu.Unlock()
		if len(r.Peers) > 0 {
			a.cfg.OnPeers(r.Peers, e.masked)
		}
	})
	cancelled := err != nil && ctx.Err() != nil
	if !cancelled {
		a.log(e, event, len(resp.Peers), err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	e.updating = false
	switch {
	case cancelled:
	case err != nil:
		e.failed(time.Now(), err, a.rand.Float64())
		if g.active == e {
			g.active = nil
		}
	default:
		e.succeeded(time.Now(), resp)
		g.answered(e, req)
	}
	return err == nil
}

// request is the caller's snapshot made into an announce to e.
func (a *Announcer) request(e *endpoint, event Event) Request {
	r := a.cfg.Snapshot()
	r.Event = event
	if r.Paused && (event == None || event == Started) {
		r.Event = Paused
	}
	if r.Key == 0 {
		r.Key = a.key
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	r.TrackerID = e.trackerID
	return r
}

func (a *Announcer) log(e *endpoint, event Event, peers int, err error) {
	args := []any{"tracker", e.masked}
	if event != None {
		args = append(args, "event", event.String())
	}
	if err != nil {
		a.cfg.Logger.Debug("announce failed", append(args, "err", e.words(err))...)
		return
	}
	a.cfg.Logger.Debug("announced", append(args, "peers", peers)...)
}
