package main

import (
	"fmt"
	"math"
	"time"
)

// formatBytes writes a number of bytes for people, in units of 1024.
func formatBytes(n int64) string {
	const names = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	f, i := float64(n)/1024, 0
	for f >= 1023.95 && i < len(names)-1 {
		f /= 1024
		i++
	}
	return fmt.Sprintf("%.1f %ciB", f, names[i])
}

// formatRate writes bytes per second for people, in units of 1000 as networks
// are measured.
func formatRate(r float64) string {
	const names = "kMGTPE"
	if r < 1000 {
		return fmt.Sprintf("%.0f B/s", max(r, 0))
	}
	f, i := r/1000, 0
	for f >= 999.95 && i < len(names)-1 {
		f /= 1000
		i++
	}
	return fmt.Sprintf("%.1f %cB/s", f, names[i])
}

// formatDuration writes a duration for people: its two largest units.
func formatDuration(d time.Duration) string {
	s := int64(d.Round(time.Second) / time.Second)
	switch {
	case s < 60:
		return fmt.Sprintf("%ds", s)
	case s < 3600:
		return join(s/60, "m", s%60, "s")
	case s < 86400:
		return join(s/3600, "h", s/60%60, "m")
	default:
		return join(s/86400, "d", s/3600%24, "h")
	}
}

func join(a int64, au string, b int64, bu string) string {
	if b == 0 {
		return fmt.Sprintf("%d%s", a, au)
	}
	return fmt.Sprintf("%d%s%d%s", a, au, b, bu)
}

// percent writes have of all with one digit, and 100.0% only for all.
func percent(have, all int64) string {
	if all <= 0 || have >= all {
		return "100.0%"
	}
	return fmt.Sprintf("%.1f%%", math.Floor(float64(have)/float64(all)*1000)/10)
}

// remaining estimates how long left bytes take at rate bytes per second; zero
// means unknown.
func remaining(left int64, rate float64) time.Duration {
	if rate < 1 || left <= 0 {
		return 0
	}
	s := float64(left) / rate
	if s > 100*86400 {
		return 0
	}
	return time.Duration(s * float64(time.Second))
}

// times writes how often something happened.
func times(n int64) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
