package peerconn

import (
	"testing"
	"time"

	"golang.org/x/time/rate"
)

func TestReserve(t *testing.T) {
	now := time.Unix(1000, 0)
	for _, test := range []struct {
		name string
		lim  *rate.Limiter
		n    int
		want time.Duration
	}{
		{"no limit", nil, 1 << 30, 0},
		{"infinite", rate.NewLimiter(rate.Inf, 0), 1 << 30, 0},
		{"within the burst", rate.NewLimiter(1000, 100), 100, 0},
		{"one burst more", rate.NewLimiter(1000, 100), 200, 100 * time.Millisecond},
		{"many bursts", rate.NewLimiter(1000, 100), 1050, 950 * time.Millisecond},
		{"no burst", rate.NewLimiter(1000, 0), 500, 500 * time.Millisecond},
		{"nothing", rate.NewLimiter(1000, 0), 0, 0},
		{"less than nothing", rate.NewLimiter(1000, 10), -5, 0},
	} {
		if got := reserve(test.lim, now, test.n); (got - test.want).Abs() > time.Microsecond {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

// Many connections reserve at once; together they get the rate.
func TestReserveAddsUp(t *testing.T) {
	now := time.Unix(1000, 0)
	lim := NewLimiter(1 << 20)
	var last time.Duration
	for range 100 {
		last = max(last, reserve(lim, now, 100<<10))
	}
	sent := float64(100*100<<10 - lim.Burst())
	if want := sent / (1 << 20); last.Seconds() < want*0.99 || last.Seconds() > want*1.01 {
		t.Errorf("the last one waits %v, want %.2f s", last, want)
	}
}

func TestQuota(t *testing.T) {
	for _, test := range []struct {
		lim  *rate.Limiter
		want int
	}{
		{nil, 256 << 10},
		{NewLimiter(0), 256 << 10},
		{NewLimiter(1), minQuota},
		{NewLimiter(1 << 20), 1 << 20 / 20},
		{NewLimiter(1 << 30), 256 << 10},
		{rate.NewLimiter(rate.Inf, 0), 256 << 10},
	} {
		if got := quota(test.lim, 256<<10); got != test.want {
			t.Errorf("quota %d, want %d", got, test.want)
		}
	}
}
