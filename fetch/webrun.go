package fetch

import (
	"context"
	"slices"
	"time"

	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// webRunMost is the most bytes of one run.
const webRunMost = 4 << 20

// webBlock is a block that a web server was asked for.
type webBlock struct {
	req    wire.Request
	start  int64  // in the torrent's stream
	dst    []byte // nil: abandoned
	urgent bool   // a read waits for it
	vain   int    // requests for it that brought no block
}

func (b *webBlock) end() int64 { return b.start + int64(b.req.Length) }

// webRun is a run of blocks that is being fetched. They follow on each other in the
// torrent's stream, over the borders of pieces.
type webRun struct {
	blocks []*webBlock // not complete yet
	at     int64       // in the stream: what is here ends there
	end    int64
	urgent bool // its first block is
	cancel context.CancelFunc
	since  time.Time // when it began to wait for the server; zero: it does not
	vain   int       // of its first block, this request included; zero: it brought one
}

// idle returns how long the server has sent nothing.
func (r *webRun) idle(now time.Time) time.Duration {
	if r.since.IsZero() {
		return 0
	}
	return now.Sub(r.since)
}

// place puts the next bytes into the blocks that they are of, and returns those that are
// complete with them. What lies behind the last block is left out.
func (r *webRun) place(b []byte) (complete []*webBlock) {
	for len(b) > 0 && len(r.blocks) > 0 {
		block := r.blocks[0]
		n := min(int64(len(b)), block.end()-r.at)
		if block.dst != nil {
			copy(block.dst[r.at-block.start:], b[:n])
		}
		r.at += n
		b = b[n:]
		if r.at == block.end() {
			r.blocks = r.blocks[1:]
			complete, r.vain = append(complete, block), 0
		}
	}
	return complete
}

// trim takes out what is abandoned at the end. What is before the end comes in any case.
func (r *webRun) trim() (abandoned []*webBlock) {
	for n := len(r.blocks); n > 0 && r.blocks[n-1].dst == nil; n-- {
		abandoned = append(abandoned, r.blocks[n-1])
		r.blocks, r.end = r.blocks[:n-1], r.blocks[n-1].start
	}
	return abandoned
}

// webQueue is blocks that wait to be fetched, in the order of asking.
type webQueue []*webBlock

// next takes the next run out of the queue, nil when there should be none yet: one that
// a read waits for, or else any while there is place left for one of those, if there is
// more than one.
func (q *webQueue) next(under []*webRun, places int) *webRun {
	for _, urgent := range []bool{true, false} {
		if len(under) >= places || !urgent && len(under) >= max(1, places-1) {
			return nil
		}
		left := slices.Clone(*q)
		for len(left) > 0 {
			run := left.cut()
			if run.urgent == urgent && !run.early(under) {
				*q = slices.DeleteFunc(*q, func(b *webBlock) bool { return slices.Contains(run.blocks, b) })
				return run
			}
		}
	}
	return nil
}

// cut takes the first block and those that follow on it. What a read waits for does not
// come behind what none waits for.
func (q *webQueue) cut() *webRun {
	first := (*q)[0]
	run := &webRun{at: first.start, end: first.start, urgent: first.urgent, vain: first.vain + 1}
	*q = slices.DeleteFunc(*q, func(b *webBlock) bool {
		follows := b.start == run.end && b.end()-run.at <= webRunMost && (run.urgent || !b.urgent)
		if follows {
			run.blocks, run.end = append(run.blocks, b), b.end()
		}
		return follows
	})
	return run
}

// early reports whether a run had better grow first. Blocks are asked for one by one, as
// others arrive. So what follows on a run under way waits until it is as much as is still
// to come: then there is always something under way, and runs stay long. A read does not
// wait for what no read waits for.
func (r *webRun) early(under []*webRun) bool {
	coming, follows := int64(0), false
	for _, u := range under {
		if u.urgent || !r.urgent {
			coming += u.end - u.at
			follows = follows || u.end == r.at
		}
	}
	return follows && r.end-r.at < min(coming, webRunMost/2)
}
