package fetch

import (
	"slices"
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/fetch/layout"
	"github.com/qqbtfs/qqbtfs/fetch/picker"
	"github.com/qqbtfs/qqbtfs/fetch/readahead"
)

// What a reader waits for, copies from or has in its window is needed, and no more
// than fits.
func TestNeeds(t *testing.T) {
	var w waits
	w.init()
	w.most = 8
	idle := &Reader{first: 50, last: 49, next: -1}
	one := &Reader{recent: 8, first: 10, last: 29, next: -1}
	w.readers[idle], w.readers[one] = struct{}{}, struct{}{}
	x := w.join(layout.Span{Piece: 40})
	check := func(want map[int]bool, windows ...picker.Range) {
		t.Helper()
		for i, need := range want {
			if got := w.needs(i); got != need {
				t.Errorf("needs(%d) = %t", i, got)
			}
		}
		w.dirty = true
		d, _ := w.demand(time.Now(), false, nil)
		if len(d.Readahead) < len(windows) {
			t.Fatalf("windows %v, want %v", d.Readahead, windows)
		}
		for k, r := range windows {
			if d.Readahead[k] != r {
				t.Errorf("windows %v, want %v", d.Readahead, windows)
			}
		}
	}
	check(map[int]bool{7: false, 8: true, 10: true, 17: true, 18: false, 40: true, 50: false, 49: false},
		picker.Range{First: 10, Last: 17})
	two := &Reader{recent: 60, first: 60, last: 70, next: -1}
	w.readers[two] = struct{}{}
	check(map[int]bool{13: true, 14: false, 63: true, 64: false}, picker.Range{First: 10, Last: 13}, picker.Range{First: 60, Last: 63})
	w.leave(layout.Span{Piece: 40}, x, true)
	delete(w.readers, one)
	w.most = 0
	check(map[int]bool{40: false, 10: false, 70: true, 71: false}, picker.Range{First: 60, Last: 70})
}

// Who has read the end of a file, as players do, will go on at its beginning: the fill
// stays in files that are read.
func TestFillStaysInFiles(t *testing.T) {
	var w waits
	w.init()
	whole := picker.Range{First: 10, Last: 20}
	var began readahead.Window
	began.Read(0, 1)
	atEnd := &Reader{first: 21, last: 20, next: -1, window: began, whole: whole}
	again := &Reader{first: 21, last: 20, next: -1, window: began, whole: whole}
	opened := &Reader{last: -1, next: -1, whole: picker.Range{First: 30, Last: 40}}
	onward := &Reader{first: 55, last: 57, next: -1, window: began,
		whole: picker.Range{First: 50, Last: 60}, tail: picker.Range{First: 60, Last: 60}}
	for _, r := range []*Reader{atEnd, again, opened, onward} {
		w.readers[r] = struct{}{}
	}
	w.dirty = true
	d, _ := w.demand(time.Now(), true, nil)
	want := []picker.Range{{First: 55, Last: 60}, {First: 10, Last: 20}, {First: 50, Last: 60}}
	if !slices.Equal(d.Rest, want) {
		t.Errorf("the fill goes on in %v, want %v", d.Rest, want)
	}
}
