package proto

import (
	"slices"

	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// table maps requests to values and remembers the order in which they came. All
// its methods but drain take constant time. The zero table is empty.
type table[V any] struct {
	entries map[wire.Request]entry[V]
	seq     uint64
}

type entry[V any] struct {
	value V
	seq   uint64
}

func (t *table[V]) len() int { return len(t.entries) }

func (t *table[V]) get(r wire.Request) (V, bool) {
	e, ok := t.entries[r]
	return e.value, ok
}

// put sets the value of r, which keeps its place if it has one.
func (t *table[V]) put(r wire.Request, v V) {
	if t.entries == nil {
		t.entries = make(map[wire.Request]entry[V])
	}
	e, ok := t.entries[r]
	if !ok {
		t.seq++
		e.seq = t.seq
	}
	e.value = v
	t.entries[r] = e
}

func (t *table[V]) take(r wire.Request) (V, bool) {
	e, ok := t.entries[r]
	if ok {
		delete(t.entries, r)
	}
	return e.value, ok
}

// drain takes out the requests that keep says false of, in the order in which
// they came.
func (t *table[V]) drain(keep func(wire.Request) bool) []wire.Request {
	var out []wire.Request
	for r := range t.entries {
		if !keep(r) {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b wire.Request) int {
		return int(t.entries[a].seq) - int(t.entries[b].seq)
	})
	for _, r := range out {
		delete(t.entries, r)
	}
	return out
}
