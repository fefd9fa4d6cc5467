package peerconn

import (
	"time"

	"golang.org/x/time/rate"
)

// NewLimiter is a token bucket of bytesPerSecond for Options. Its burst is a quarter
// of a second's worth, at least one block: small enough that a limit is felt at once,
// large enough for the sizes that are read and written in one piece. A rate of zero
// or less means nil, no limit.
func NewLimiter(bytesPerSecond int64) *rate.Limiter {
	if bytesPerSecond <= 0 {
		return nil
	}
	burst := min(max(bytesPerSecond/4, minQuota), 4<<20)
	return rate.NewLimiter(rate.Limit(bytesPerSecond), int(burst))
}

// minQuota is the least that is read or written at once, a block and some overhead.
const minQuota = 17 << 10

// quota is how many bytes to move at once under lim, of at most limit: a twentieth of
// a second's worth, so that connections take fair turns.
func quota(lim *rate.Limiter, limit int) int {
	if lim == nil || lim.Limit() == rate.Inf {
		return limit
	}
	return int(min(max(float64(lim.Limit())/20, minQuota), float64(limit)))
}

// reserve takes n bytes from lim and says how long to wait for them. More than one
// burst is taken as several, which ReserveN refuses to do.
func reserve(lim *rate.Limiter, now time.Time, n int) time.Duration {
	if lim == nil || n <= 0 || lim.Limit() == rate.Inf {
		return 0
	}
	burst := lim.Burst()
	if burst <= 0 {
		return time.Duration(float64(n) / float64(lim.Limit()) * float64(time.Second))
	}
	var wait time.Duration
	for ; n > 0; n -= burst {
		wait = lim.ReserveN(now, min(n, burst)).DelayFrom(now)
	}
	return wait
}
