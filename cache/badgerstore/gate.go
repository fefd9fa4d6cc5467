package badgerstore

import "sync"

// gate counts the users of something that must not be taken away under them. It
// is not a lock: users hold it across I/O.
type gate struct {
	mu    sync.Mutex
	moved sync.Cond
	users int
	state gateState
}

type gateState uint8

const (
	gateOpen gateState = iota
	gatePaused
	gateClosed
)

func newGate() *gate {
	g := new(gate)
	g.moved.L = &g.mu
	return g
}

// enter counts one user more, after waiting for a pause to end, and reports
// whether the gate let it in: never after close.
func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.state == gatePaused {
		g.moved.Wait()
	}
	if g.state == gateClosed {
		return false
	}
	g.users++
	return true
}

// leave counts one user less.
func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.users--; g.users == 0 {
		g.moved.Broadcast()
	}
}

// pause lets nobody in until resume and waits for those inside to leave.
func (g *gate) pause() { g.shut(gatePaused) }

// close lets nobody in ever again and waits for those inside to leave.
func (g *gate) close() { g.shut(gateClosed) }

func (g *gate) shut(to gateState) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.state = to
	g.moved.Broadcast()
	for g.users > 0 {
		g.moved.Wait()
	}
}

func (g *gate) resume() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.state == gatePaused {
		g.state = gateOpen
		g.moved.Broadcast()
	}
}
