package fetch

import (
	"sync"

	"github.com/qqbtfs/qqbtfs/peerconn"
)

// crowded is the number of events at which connections are told to pause until
// the torrent has caught up.
const crowded = 8192

// inbox carries events of type E and calls to a torrent's goroutine. Nobody ever waits to
// put something in; connections that fill it are paused.
type inbox[E any] struct {
	wake chan struct{} // has a token when there is something to look at

	mu     sync.Mutex
	events []E
	calls  []func()
	paused []peerconn.Conn
}

func newInbox[E any]() *inbox[E] { return &inbox[E]{wake: make(chan struct{}, 1)} }

// ring wakes the torrent.
func (b *inbox[E]) ring() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

func (b *inbox[E]) post(evs ...E) {
	b.mu.Lock()
	b.events = append(b.events, evs...)
	b.mu.Unlock()
	b.ring()
}

// postFrom is post for a connection. With false it has to pause until resumed.
func (b *inbox[E]) postFrom(c peerconn.Conn, evs []E) bool {
	b.mu.Lock()
	b.events = append(b.events, evs...)
	full := len(b.events) > crowded
	if full {
		b.paused = append(b.paused, c)
	}
	b.mu.Unlock()
	b.ring()
	return !full
}

// call has f run on the torrent's goroutine.
func (b *inbox[E]) call(f func()) {
	b.mu.Lock()
	b.calls = append(b.calls, f)
	b.mu.Unlock()
	b.ring()
}

// take empties the inbox into events, which it may use the memory of, and
// returns what was paused.
func (b *inbox[E]) take(events []E) ([]E, []func(), []peerconn.Conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	got, calls, paused := b.events, b.calls, b.paused
	b.events, b.calls, b.paused = events[:0], nil, nil
	return got, calls, paused
}
