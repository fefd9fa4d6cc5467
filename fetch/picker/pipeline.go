package picker

import (
	"math"
	"time"
)

const (
	minDepth     = 2 // blocks always allowed in flight: one on the way, one being sent
	initialDepth = 4 // blocks asked before anything is known of a source
	maxDepth     = 512
	runDepth     = 16 // least for a source that delivers runs: each of them costs a round trip

	// A pipeline that is kept full measures its own queue, not the link. So the
	// shortest answer stays the estimate until it is probeAfter old; then the
	// pipeline runs nearly empty until one block has told.
	probeAfter = 30 * time.Second
	burstFor   = 2 * time.Second // without running dry, after which burst shrinks
	defaultRTT = 50 * time.Millisecond
)

// pipeline models one source as a link: how fast it delivers, how long an
// answer takes at best, and so how many blocks to keep in flight there. The
// rate is sampled at every block from the bytes delivered while it was in
// flight, as congestion controls based on delivery rate do, so one round trip
// is enough to know a source.
type pipeline struct {
	reqq  int // the most that the source queues for us
	least int // blocks to have in flight where no read is in the way; zero: the usual few

	rate      float64       // bytes per second; zero: not known yet
	rtt       time.Duration // shortest time to answer, sending the block included
	rttAt     time.Time
	delivered int64     // bytes in all
	at        time.Time // of the last delivery
	inFlight  int       // blocks
	bytes     int64     // their bytes

	// A peer that answers in pulses, as some do twice a second, empties a pipeline
	// of the link's size and then leaves it idle. burst is how many blocks it gets
	// beyond that size, grown whenever a pipeline that was full ran dry.
	burst int
	full  bool // as many blocks as depth allowed are, or were, in flight
	last  int  // what depth answered last
	dryAt time.Time
}

// sample is the state of a pipeline at the moment when a block was asked for.
type sample struct {
	at          time.Time
	delivered   int64
	deliveredAt time.Time
	alone       bool // nearly nothing was in flight before it
}

func (p *pipeline) sent(now time.Time, n int) sample {
	if p.inFlight == 0 {
		p.at = now // the time until now says nothing of the rate
	}
	s := sample{at: now, delivered: p.delivered, deliveredAt: p.at, alone: p.inFlight < minDepth}
	p.inFlight++
	p.bytes += int64(n)
	p.full = p.full || p.inFlight >= p.last
	return s
}

// gone takes a block of n bytes out of the pipeline that did not arrive.
func (p *pipeline) gone(n int) {
	p.inFlight--
	p.bytes -= int64(n)
	if p.inFlight < 0 || p.bytes < 0 {
		panic("BUG: picker: pipeline below zero")
	}
}

func (p *pipeline) received(now time.Time, n int, s sample) {
	p.gone(n)
	p.delivered += int64(n)
	p.at = now
	p.measure(now, s)
	p.adapt(now)
	span := now.Sub(s.deliveredAt)
	if span < 100*time.Microsecond {
		return // a batch read in one go: no time passed to divide by
	}
	got := float64(p.delivered-s.delivered) / span.Seconds()
	switch {
	case got >= p.rate:
		p.rate += (got - p.rate) / 2
	default:
		p.rate += (got - p.rate) / 16
	}
	if p.rate == 0 {
		p.rate = got
	}
}

// adapt grows burst when the pipeline ran dry, and gives it back slowly.
func (p *pipeline) adapt(now time.Time) {
	switch {
	case p.inFlight == 0 && p.full:
		p.burst = min(p.burst+max(p.last, 1), maxDepth)
		p.full, p.dryAt = false, now
	case p.burst > 0 && now.Sub(p.dryAt) > burstFor:
		p.burst -= (p.burst + 3) / 4
		p.dryAt = now
	}
}

// measure takes in how long one answer took.
func (p *pipeline) measure(now time.Time, s sample) {
	took := max(now.Sub(s.at), time.Microsecond)
	if p.rtt == 0 || took <= p.rtt || s.alone && p.probing(now) {
		p.rtt, p.rttAt = took, now
	}
}

func (p *pipeline) probing(now time.Time) bool { return now.Sub(p.rttAt) > probeAfter }

// depth is how many blocks to keep in flight for work that can wait queue.
func (p *pipeline) depth(now time.Time, queue time.Duration) int {
	limit, least := maxDepth, minDepth
	if p.reqq > 0 {
		limit = min(limit, p.reqq)
	}
	if queue >= deepQueue {
		least = max(least, p.least)
	}
	if p.rate == 0 {
		return min(max(initialDepth, least), limit)
	}
	if p.least == 0 && p.probing(now) {
		return min(minDepth, limit)
	}
	want := int(math.Round(p.rate * (p.rtt + queue).Seconds() / BlockSize))
	if queue > noQueue {
		want += p.burst
	}
	p.last = min(max(want, least), limit)
	return p.last
}

// eta is when a block asked for now would be here.
func (p *pipeline) eta(now time.Time, n int) time.Time {
	rtt, rate := p.rtt, p.rate
	if rtt == 0 {
		rtt = defaultRTT
	}
	if rate == 0 {
		// Unknown: assume what two blocks a round trip would give.
		rate = 2 * BlockSize / rtt.Seconds()
	}
	return now.Add(rtt + time.Duration(float64(p.bytes+int64(n))/rate*float64(time.Second)))
}
