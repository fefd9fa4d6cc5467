package fetch

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// blocksAt makes blocks of 10 bytes that begin at these places; negative ones are urgent.
func blocksAt(places ...int64) (q webQueue) {
	for _, at := range places {
		urgent := at < 0
		at = max(at, -at)
		q = append(q, &webBlock{req: wire.Request{Index: uint32(at), Length: 10}, start: at, dst: make([]byte, 10), urgent: urgent})
	}
	return q
}

func (r *webRun) String() string { return fmt.Sprintf("%d-%d", r.at, r.end) }

// under makes a run that is under way.
func under(at, end int64, urgent bool) *webRun { return &webRun{at: at, end: end, urgent: urgent} }

func TestRuns(t *testing.T) {
	for _, test := range []struct {
		what   string
		queue  webQueue
		under  []*webRun
		places int
		want   []string // the runs that begin, one behind the other
		left   int
	}{
		{"nothing", nil, nil, 4, nil, 0},
		{"what follows is one run", blocksAt(10, 20, 30), nil, 4, []string{"10-40"}, 0},
		{"also around what leads elsewhere", blocksAt(10, 100, 20, 110), nil, 4, []string{"10-30", "100-120"}, 0},
		{"and not backwards", blocksAt(20, 10), nil, 4, []string{"20-30", "10-20"}, 0},
		{"a few that follow on much wait", blocksAt(50, 60), []*webRun{under(10, 50, false)}, 4, nil, 2},
		{"as many do not", blocksAt(50, 60), []*webRun{under(30, 50, false)}, 4, []string{"50-70"}, 0},
		{"as what is to come of all", blocksAt(50, 60), []*webRun{under(30, 50, false), under(100, 110, false)}, 4, nil, 2},
		{"what leads elsewhere overtakes them", blocksAt(50, 60, 200), []*webRun{under(10, 50, false)}, 4, []string{"200-210"}, 2},
		{"reads come first", blocksAt(10, -200, 20, -210), nil, 4, []string{"200-220", "10-30"}, 0},
		{"in the midst of the background too", blocksAt(10, -20, 30), nil, 4, []string{"20-40", "10-20"}, 0},
		{"and do not wait for the background", blocksAt(-50), []*webRun{under(10, 50, false)}, 4, []string{"50-60"}, 0},
		{"but for each other", blocksAt(-50), []*webRun{under(10, 50, true)}, 4, nil, 1},
		{"one place is for reads", blocksAt(10, -100), []*webRun{under(300, 310, false), under(400, 410, false), under(500, 510, false)}, 4, []string{"100-110"}, 1},
		{"of one place too", blocksAt(10, 100), nil, 1, []string{"10-20"}, 1},
		{"of two one", blocksAt(10, 100, -200), nil, 2, []string{"200-210"}, 2},
		{"and there are no more than four", blocksAt(-100, -200), []*webRun{under(300, 310, false), under(400, 410, false), under(500, 510, false)}, 4, []string{"100-110"}, 1},
	} {
		q, runs := test.queue, test.under
		var got []string
		for run := q.next(runs, test.places); run != nil; run = q.next(runs, test.places) {
			got, runs = append(got, run.String()), append(runs, run)
		}
		if !slices.Equal(got, test.want) || len(q) != test.left {
			t.Errorf("%s: %q and %d left, want %q and %d", test.what, got, len(q), test.want, test.left)
		}
	}
}

func TestRunsAreBounded(t *testing.T) {
	var q webQueue
	for i := range int64(webRunMost/wire.BlockSize) + 3 {
		q = append(q, &webBlock{req: wire.Request{Length: wire.BlockSize}, start: i * wire.BlockSize})
	}
	if run := q.next(nil, 4); run.end != webRunMost || len(q) != 3 {
		t.Errorf("a run of %v, %d left", run, len(q))
	}
}

// What follows on a long run does not wait until it is as long, only until it is half of
// the most.
func TestRunsFollowAtHalfTheMost(t *testing.T) {
	for length, begins := range map[int64]bool{webRunMost/2 - 1: false, webRunMost / 2: true} {
		q := webQueue{{req: wire.Request{Length: uint32(length)}, start: webRunMost}}
		if run := q.next([]*webRun{under(0, webRunMost, false)}, 4); (run != nil) != begins {
			t.Errorf("%d bytes begin: %t", length, run != nil)
		}
	}
}

// Whatever pieces the bytes come in, each lands in its block; of what is abandoned the end
// is not waited for.
func TestPlaceAndTrim(t *testing.T) {
	stream := []byte("abcdefghijABCDEFGHIJklmnopqrstKLMNOPQRST")
	for step := 1; step <= len(stream); step++ {
		q := blocksAt(0, 10, 20, 30)
		blocks := slices.Clone(q)
		run := q.next(nil, 4)
		blocks[1].dst, blocks[3].dst = nil, nil
		if gone := run.trim(); len(gone) != 1 || gone[0] != blocks[3] || run.end != 30 {
			t.Fatalf("trimmed %d blocks, the end is %d", len(gone), run.end)
		}
		var complete []*webBlock
		for part := range slices.Chunk(stream, step) {
			complete = append(complete, run.place(part)...)
		}
		if !slices.Equal(complete, blocks[:3]) || run.at != 30 || !bytes.Equal(blocks[0].dst, stream[:10]) || !bytes.Equal(blocks[2].dst, stream[20:30]) {
			t.Errorf("by %d: %d blocks complete, at %d, %q %q", step, len(complete), run.at, blocks[0].dst, blocks[2].dst)
		}
	}
}
