package fetchtest

import (
	"container/heap"
	"time"
)

// epoch is when virtual time begins.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// clock is virtual time: what is to happen, in order.
type clock struct {
	now   time.Duration // since epoch
	queue timers
	seq   uint64
}

type timer struct {
	at  time.Duration
	seq uint64 // of equal times the first set comes first
	f   func()
}

// at has f called at t, or now when t has passed.
func (c *clock) at(t time.Duration, f func()) {
	c.seq++
	heap.Push(&c.queue, timer{max(t, c.now), c.seq, f})
}

func (c *clock) after(d time.Duration, f func()) { c.at(c.now+d, f) }

// step lets the next thing happen that is due until end.
func (c *clock) step(end time.Duration) bool {
	if len(c.queue) == 0 || c.queue[0].at > end {
		return false
	}
	t := heap.Pop(&c.queue).(timer)
	c.now = t.at
	t.f()
	return true
}

func (c *clock) time() time.Time { return epoch.Add(c.now) }

// until returns when a time of the calendar is.
func until(t time.Time) time.Duration { return t.Sub(epoch) }

type timers []timer

func (q timers) Len() int { return len(q) }
func (q timers) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].seq < q[j].seq
}
func (q timers) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *timers) Push(x any)   { *q = append(*q, x.(timer)) }
func (q *timers) Pop() any {
	old := *q
	last := old[len(old)-1]
	old[len(old)-1] = timer{}
	*q = old[:len(old)-1]
	return last
}
