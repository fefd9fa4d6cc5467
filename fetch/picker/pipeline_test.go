package picker

import (
	"testing"
	"time"
)

// pulse asks for as much as the pipeline takes and answers all of it every
// period, for a while; it returns how many blocks the last answer had.
func pulse(p *pipeline, period, total time.Duration) (last int) {
	now := time.Unix(1e9, 0)
	for end := now.Add(total); now.Before(end); {
		var asked []sample
		for p.inFlight < p.depth(now, deepQueue) {
			asked = append(asked, p.sent(now, BlockSize))
		}
		now = now.Add(period)
		for _, s := range asked {
			p.received(now, BlockSize, s)
		}
		last = len(asked)
	}
	return last
}

// Some clients upload in pulses, Transmission 3.00 twice a second: a pipeline of
// the size that rate and shortest answer suggest would never grow.
func TestPulsesGrowThePipeline(t *testing.T) {
	p := &pipeline{rtt: 5 * time.Millisecond, rttAt: time.Unix(1e9, 0)}
	if n := pulse(p, 500*time.Millisecond, 6*time.Second); n < 200 {
		t.Errorf("%d blocks a pulse after 6 s", n)
	}
}

// stream runs a link of a rate and a delay for a while and returns how many
// blocks are in flight at its end.
func stream(p *pipeline, rate float64, delay, total time.Duration) int {
	type block struct {
		s  sample
		at time.Time
	}
	now := time.Unix(1e9, 0)
	free := now
	var queue []block
	for end := now.Add(total); now.Before(end); {
		for p.inFlight < p.depth(now, shallowQueue) {
			start := now.Add(delay)
			if free.After(start) {
				start = free
			}
			free = start.Add(time.Duration(BlockSize / rate * float64(time.Second)))
			queue = append(queue, block{p.sent(now, BlockSize), free})
		}
		now = queue[0].at
		p.received(now, BlockSize, queue[0].s)
		queue = queue[1:]
	}
	return p.inFlight
}

// On a steady link the pipeline holds what the link and the allowed queue hold,
// and does not grow with its own queue.
func TestSteadyLinkKeepsShort(t *testing.T) {
	for _, tc := range []struct {
		rate  float64
		delay time.Duration
		max   int
	}{{500e3, 50 * time.Millisecond, 5}, {190e3, 50 * time.Millisecond, 4}, {5e6, 50 * time.Millisecond, 36}} {
		p := &pipeline{}
		if n := stream(p, tc.rate, tc.delay, 25*time.Second); n > tc.max {
			t.Errorf("%v B/s, %v: %d blocks in flight, want at most %d", tc.rate, tc.delay, n, tc.max)
		}
		if p.rate < tc.rate*0.9 || p.rate > tc.rate*1.1 {
			t.Errorf("%v B/s, %v: measured %.0f B/s", tc.rate, tc.delay, p.rate)
		}
	}
}
