package peertest

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/qqbtfs/qqbtfs/peerconn/bitfield"
	"github.com/qqbtfs/qqbtfs/peerconn/wire"
)

// A Seeder is honest: it answers requests in order.
type Seeder struct {
	Rate   int64         // bytes of blocks a second on each connection, zero: no limit
	Delay  time.Duration // from a request to its answer, as by a long line
	NoFast bool          // do not speak the fast extension
	Has    *bitfield.Set // nil: every piece

	// ChokeAfter chokes after so many blocks, and takes back what is queued. Zero:
	// never. ChokeFor is until the next unchoke.
	ChokeAfter int
	ChokeFor   time.Duration

	corrupt func(wire.Request) bool // nil: never
}

// Run implements Script.
func (sd Seeder) Run(s *Session) error {
	if sd.NoFast {
		s.Us.Reserved = wire.Reserved{}
	}
	if err := s.Handshake(); err != nil {
		return err
	}
	if err := s.Write(announcement(s, sd.Has)); err != nil {
		return err
	}
	up := &upload{Seeder: sd, s: s, more: make(chan struct{}, 1)}
	var wg sync.WaitGroup
	var readErr error
	wg.Go(func() { readErr = up.read() })
	err := up.write()
	if err != nil {
		s.conn.Close() // ends the reading
	}
	wg.Wait()
	return errors.Join(readErr, err)
}

// announcement is the first message of a peer that has those pieces.
func announcement(s *Session, has *bitfield.Set) wire.Message {
	switch {
	case has != nil:
		return wire.Bitfield{Bits: has.Wire()}
	case s.Fast():
		return wire.HaveAll{}
	default:
		all := s.Torrent.All()
		return wire.Bitfield{Bits: all.Wire()}
	}
}

// An upload is what a Seeder does on one connection: a reading goroutine queues
// requests and a writing one answers them.
type upload struct {
	Seeder
	s    *Session
	more chan struct{} // the queue or ended changed

	mu     sync.Mutex
	queue  []demand
	wanted bool // they are interested
	ended  bool
}

type demand struct {
	req wire.Request
	due time.Time
}

func (u *upload) read() error {
	defer u.change(func() { u.ended = true })
	for {
		m, err := u.s.Read()
		if err != nil {
			return nil // they may leave at any time
		}
		due := time.Now().Add(u.Delay)
		switch m := m.(type) {
		case wire.Interested:
			u.change(func() { u.wanted = true })
		case wire.Request:
			u.change(func() { u.queue = append(u.queue, demand{m, due}) })
		case wire.Cancel:
			u.change(func() { u.cancel(wire.Request(m)) })
		}
	}
}

// cancel forgets a request without the fast extension; with it it will be answered.
func (u *upload) cancel(r wire.Request) {
	if u.s.Fast() {
		return
	}
	u.queue = slices.DeleteFunc(u.queue, func(d demand) bool { return d.req == r })
}

func (u *upload) change(f func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	f()
	select {
	case u.more <- struct{}{}:
	default:
	}
}

// next takes requests that are due, of at most n. With none it says how long to wait;
// negative: until there is a change.
func (u *upload) next(n int) (reqs []wire.Request, wait time.Duration, ended bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := time.Now()
	for len(reqs) < n && len(u.queue) > 0 && !u.queue[0].due.After(now) {
		reqs = append(reqs, u.queue[0].req)
		u.queue = u.queue[1:]
	}
	wait = -1
	if len(u.queue) > 0 {
		wait = u.queue[0].due.Sub(now)
	}
	return reqs, wait, u.ended
}

func (u *upload) write() error {
	for !u.interested() {
		if !u.wait(-1) {
			return nil
		}
	}
	if err := u.s.Write(wire.Unchoke{}); err != nil {
		return err
	}
	served := 0
	for {
		reqs, wait, ended := u.next(u.batch(served))
		switch {
		case ended:
			return nil
		case len(reqs) == 0:
			if !u.wait(wait) {
				return nil
			}
			continue
		}
		if err := u.serve(reqs); err != nil {
			return err
		}
		if served += len(reqs); u.ChokeAfter > 0 && served%u.ChokeAfter == 0 {
			if err := u.choke(); err != nil {
				return err
			}
		}
	}
}

// batch is how many requests to answer with one write.
func (u *upload) batch(served int) int {
	n := 16
	if u.Rate > 0 {
		n = 1
	}
	if u.ChokeAfter > 0 {
		n = min(n, u.ChokeAfter-served%u.ChokeAfter)
	}
	return n
}

func (u *upload) interested() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.wanted || u.ended
}

// wait waits for a change, or for d unless that is negative. It is false when the
// peer ends.
func (u *upload) wait(d time.Duration) bool {
	var due <-chan time.Time
	if d >= 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		due = t.C
	}
	select {
	case <-u.more:
	case <-due:
	case <-u.s.Context().Done():
		return false
	}
	return true
}

func (u *upload) serve(reqs []wire.Request) error {
	var ms []wire.Message
	size := 0
	for _, r := range reqs {
		data, ok := u.s.Torrent.Block(r)
		switch {
		case !ok || u.Has != nil && !u.Has.Has(int(r.Index)):
			if u.s.Fast() {
				ms = append(ms, wire.Reject(r))
			}
			continue
		case u.corrupt != nil && u.corrupt(r):
			data = slices.Clone(data)
			data[len(data)/2] ^= 0x20
		}
		size += len(data)
		ms = append(ms, wire.Piece{Index: r.Index, Begin: r.Begin, Data: data})
	}
	if u.Rate > 0 && !u.s.Wait(time.Duration(size)*time.Second/time.Duration(u.Rate)) {
		return nil
	}
	return u.s.Write(ms...)
}

// choke is one choke and, after a while, unchoke. What is queued is taken back; what
// arrives while it lasts is answered after it.
func (u *upload) choke() error {
	u.mu.Lock()
	queue := u.queue
	u.queue = nil
	u.mu.Unlock()
	ms := []wire.Message{wire.Choke{}}
	if u.s.Fast() {
		for _, d := range queue {
			ms = append(ms, wire.Reject(d.req))
		}
	}
	if err := u.s.Write(ms...); err != nil {
		return err
	}
	if !u.s.Wait(u.ChokeFor) {
		return nil
	}
	return u.s.Write(wire.Unchoke{})
}
