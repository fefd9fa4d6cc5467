package fetch

import (
	"math"
	"testing"
	"time"
)

// feed runs a meter for a while: the counter grows by rate bytes per second, a
// sample is taken every step.
func feed(m *meter, now *time.Time, n *int64, d, step time.Duration, rate float64) {
	for end := now.Add(d); now.Before(end); {
		*now = now.Add(step)
		*n += int64(rate * step.Seconds())
		m.add(*now, *n)
	}
}

func TestMeter(t *testing.T) {
	type phase struct {
		d, step time.Duration
		rate    float64
		want    float64 // at its end
		within  float64 // of want
	}
	const s, tick = time.Second, sampleEvery
	for name, phases := range map[string][]phase{
		"first half second":     {{s / 2, tick, 1e6, 1e6, 0}},
		"first second":          {{s, tick, 1e6, 1e6, 0}},
		"after silence":         {{10 * s, s, 0, 0, 0}, {s / 2, tick, 8e6, 8e6, 0}, {9 * s, tick, 8e6, 8e6, 0}},
		"long and steady":       {{60 * s, tick, 5e6, 5e6, 0}},
		"faster than sampled":   {{10 * s, 300 * time.Millisecond, 5e6, 5e6, 0}},
		"change of speed":       {{10 * s, tick, 1e6, 1e6, 0}, {rateWindow, tick, 2e6, 2e6, 0}},
		"end within the window": {{10 * s, tick, 1e6, 1e6, 0}, {s, s, 0, 2.0 / 3 * 1e6, 1e5}, {2 * s, s, 0, 0, 0}},
		"end in small steps":    {{10 * s, tick, 1e6, 1e6, 0}, {rateWindow, tick, 0, 0, 0}},
		"a pause is averaged":   {{10 * s, tick, 3e6, 3e6, 0}, {s, tick, 0, 2e6, 1e5}, {s, tick, 3e6, 2e6, 1e5}},
	} {
		var m meter
		now, n := time.Unix(1e9, 0), int64(0)
		m.add(now, n)
		for i, p := range phases {
			feed(&m, &now, &n, p.d, p.step, p.rate)
			if got := m.rate(); math.Abs(got-p.want) > p.within+p.want/1000 {
				t.Errorf("%s, phase %d: %.0f B/s, want %.0f", name, i, got, p.want)
			}
		}
	}
}

// One block after silence is no high speed, and hash failures may take back
// what was counted.
func TestMeterOfLittle(t *testing.T) {
	var m meter
	now := time.Unix(1e9, 0)
	m.add(now, 0)
	m.add(now.Add(time.Millisecond), 16<<10)
	if got := m.rate(); got != 32<<10 {
		t.Errorf("one block at once: %.0f B/s", got)
	}
	m.add(now.Add(sampleEvery), 0)
	if got := m.rate(); got != 0 {
		t.Errorf("less than before: %.0f B/s", got)
	}
}
