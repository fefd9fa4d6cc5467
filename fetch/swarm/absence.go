package swarm

import "time"

// absence is how late a tick must be for us to have been held up ourselves: stopped,
// or starved. What peers sent meanwhile lies unread, so they are not blamed for it.
const absence = 5 * time.Second

// networkChanged starts the back-off of all addresses anew and looks for peers at once:
// what failed so far says nothing of another network. After a suspend the connections
// are in doubt, for a peer that gave up meanwhile could not tell us.
func (s *Swarm) networkChanged(ev NetworkChanged) {
	s.addrs.forgive(s.now)
	if ev.Slept {
		for _, p := range s.peers {
			p.doubted = s.now
		}
	}
	s.dial()
	s.lastFind = time.Time{}
	s.findPeers()
}

// lost reports whether a peer that is in doubt since a suspend has let a snub's time
// pass without a sign of life.
func (s *Swarm) lost(p *peer, owes int, since time.Time) bool {
	if p.doubted.IsZero() || p.heard.After(p.doubted) || s.now.Sub(p.doubted) < snubAfter {
		return false
	}
	return p.snubbed || owes > 0 && s.now.Sub(since) >= snubAfter
}
