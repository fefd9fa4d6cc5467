package fetch

import (
	"time"

	"github.com/qqbtfs/qqbtfs/fetch/swarm"
)

const (
	// rateWindow is how far back a rate looks.
	rateWindow = 3 * time.Second
	// sampleEvery is the least time between two samples of the counters.
	sampleEvery = 250 * time.Millisecond
	// shortest is the least time that a rate is taken over: what comes in at once
	// after silence is no speed yet.
	shortest = 500 * time.Millisecond
	// stalledAfter is how long nothing may arrive before a torrent is stalled.
	stalledAfter = 5 * time.Second
)

// meter measures the speed of one counter of bytes over the last rateWindow.
// After silence the window begins anew, so that the first seconds of a transfer
// show its speed and not the mean with the silence before.
type meter struct {
	at   [2 + rateWindow/sampleEvery]time.Time // of the samples, oldest first
	n    [2 + rateWindow/sampleEvery]int64     // the counter then
	k    int                                   // samples in use
	grew time.Time                             // when the counter was last seen to grow
}

// add takes in the counter. Times do not go back.
func (m *meter) add(now time.Time, n int64) {
	drop := 0
	if m.k > 0 && m.n[0] == m.n[m.k-1] {
		drop = m.k - 1
	}
	for drop+1 < m.k && now.Sub(m.at[drop+1]) >= rateWindow {
		drop++
	}
	if m.k-drop == len(m.at) {
		drop++
	}
	copy(m.at[:], m.at[drop:m.k])
	copy(m.n[:], m.n[drop:m.k])
	m.k -= drop
	if m.k > 0 && n > m.n[m.k-1] {
		m.grew = now
	}
	m.at[m.k], m.n[m.k] = now, n
	m.k++
}

// rate returns bytes per second as of the last sample.
func (m *meter) rate() float64 {
	if m.k == 0 {
		return 0
	}
	last := m.k - 1
	if m.at[last].Sub(m.grew) >= rateWindow {
		return 0
	}
	span := max(m.at[last].Sub(m.at[0]), shortest)
	return max(float64(m.n[last]-m.n[0])/span.Seconds(), 0)
}

// link is the traffic of one connection or of all.
type link struct{ down, up meter }

func (l *link) update(now time.Time, in, out int64) {
	l.down.add(now, in)
	l.up.add(now, out)
}

// rates measures traffic over the last seconds.
type rates struct {
	at    time.Time // of the last sample
	all   link
	peers map[swarm.PeerID]*link
	// quiet is since when nothing has come although something is wanted and
	// somebody is there to send it.
	quiet time.Time
}

// measure takes in the counters, if it is time for that.
func (t *Torrent) measure(now time.Time) {
	r := &t.rates
	if now.Sub(r.at) < sampleEvery {
		return
	}
	r.at = now
	c := t.swarm.Stats()
	r.all.update(now, c.Downloaded+c.Wasted, c.Uploaded)
	if r.all.down.grew.Equal(now) || len(t.conns) == 0 || !t.wanting() {
		r.quiet = now
	}
	peers := make(map[swarm.PeerID]*link, len(t.conns))
	for id, p := range t.conns {
		l := r.peers[id]
		if l == nil {
			l = &link{}
		}
		s := p.conn.Stats()
		l.update(now, s.PayloadRead, s.PayloadWritten)
		peers[id] = l
	}
	r.peers = peers
}

// wanting reports whether anything is to be fetched now.
func (t *Torrent) wanting() bool {
	if t.swarm.Count() == t.lay.NumPieces() {
		return false
	}
	return t.waits.count() > 0 || t.mayFill()
}
