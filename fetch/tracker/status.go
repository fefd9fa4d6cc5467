package tracker

import "time"

// Status is one tracker's state, for people and for JSON.
type Status struct {
	URL  string `json:"url"` // without secrets, see MaskURL
	Tier int    `json:"tier"`
	// LastOK and LastError are the last good answer and, until the next good
	// one, the last failure, in words. Empty means none.
	LastOK    string `json:"last_ok,omitempty"`
	LastError string `json:"last_error,omitempty"`
	// LastAnnounce and NextAnnounce are zero while there is none.
	LastAnnounce time.Time `json:"last_announce,omitzero"`
	NextAnnounce time.Time `json:"next_announce,omitzero"`
	Announcing   bool      `json:"announcing,omitempty"` // one is under way
	// Working means that this is the tracker of its tier that is in use.
	Working bool `json:"working"`
	// Seeders and Leechers are the tracker's counts, Peers is how many
	// addresses its last answer held.
	Seeders  int `json:"seeders"`
	Leechers int `json:"leechers"`
	Peers    int `json:"peers"`
}

// Status returns every tracker's state, tier by tier in the order of use.
func (a *Announcer) Status() []Status {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []Status
	for _, g := range a.groups {
		for _, tier := range g.tiers {
			for _, e := range tier {
				all = append(all, g.status(e))
			}
		}
	}
	return all
}

func (g *group) status(e *endpoint) Status {
	s := Status{
		URL: e.masked, Tier: e.tier,
		LastOK: e.lastOK(), LastError: e.lastErr,
		LastAnnounce: e.announced, Announcing: e.updating,
		Working: g.active == e,
		Seeders: e.last.Seeders, Leechers: e.last.Leechers, Peers: len(e.last.Peers),
	}
	switch {
	case e.gone:
	case g.active == e:
		s.NextAnnounce = e.due(g.want)
	case e.failures > 0:
		s.NextAnnounce = e.retry(g.want)
	}
	return s
}
