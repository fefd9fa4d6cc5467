package main

import (
	"context"
	"io"
	"net"
	"sync"
	"time"
)

// link is what a connection goes through: delay in each direction, and rate
// bytes per second from the seeder (zero: no limit) for all connections together.
type link struct {
	delay time.Duration
	rate  float64

	mu   sync.Mutex
	free time.Time // when the line is free for the next byte
}

const (
	chunkSize = 16 << 10
	// lineQueue is how many chunks are under way at most; then the sender waits,
	// as it does for a full router.
	lineQueue = 256
	// burst is how far ahead of its rate the line takes bytes.
	burst = 20 * time.Millisecond
)

// leave returns when n bytes that come at now have gone onto the line.
func (l *link) leave(now time.Time, n int) time.Time {
	if l.rate == 0 {
		return now
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.free.Before(now) {
		l.free = now
	}
	l.free = l.free.Add(time.Duration(float64(n) / l.rate * float64(time.Second)))
	return l.free
}

// chunk is bytes and when they are due at the other end.
type chunk struct {
	data []byte
	due  time.Time
}

// pump moves bytes from src to dst over one direction of the link until either
// ends. Without limited only the delay counts.
func (l *link) pump(dst io.Writer, src io.Reader, limited bool) error {
	line := make(chan chunk, lineQueue)
	failed := make(chan error, 1)
	go func() {
		var err error
		for c := range line {
			if err == nil {
				time.Sleep(time.Until(c.due))
				_, err = dst.Write(c.data)
			}
		}
		failed <- err
	}()
	err := l.load(line, src, limited)
	close(line)
	if werr := <-failed; werr != nil {
		return werr
	}
	return err
}

func (l *link) load(line chan<- chunk, src io.Reader, limited bool) error {
	for {
		data := make([]byte, chunkSize)
		n, err := src.Read(data)
		if n > 0 {
			at := time.Now()
			if limited {
				at = l.leave(at, n)
				if ahead := time.Until(at); ahead > burst {
					time.Sleep(ahead)
				}
			}
			line <- chunk{data[:n], at.Add(l.delay)}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// shaper is a TCP proxy in front of one seeder.
type shaper struct {
	link   link
	target string
	ln     net.Listener
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// startShaper listens on addr and forwards to target.
func startShaper(addr, target string, rate float64, delay time.Duration) (*shaper, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	s := &shaper{link: link{delay: delay, rate: rate}, target: target, ln: ln}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			s.wg.Go(func() { s.forward(c) })
		}
	})
	return s, nil
}

func (s *shaper) forward(near net.Conn) {
	defer near.Close()
	var d net.Dialer
	far, err := d.DialContext(s.ctx, "tcp", s.target)
	if err != nil {
		return
	}
	defer far.Close()
	defer context.AfterFunc(s.ctx, func() { near.Close(); far.Close() })()
	// The near side's connect was answered at once; over the link it takes a round trip.
	time.Sleep(2 * s.link.delay)
	var wg sync.WaitGroup
	wg.Go(func() { s.link.pump(far, near, false); halfClose(far) })
	wg.Go(func() { s.link.pump(near, far, true); halfClose(near) })
	wg.Wait()
}

func halfClose(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		t.CloseWrite()
	}
}

func (s *shaper) close() {
	s.cancel()
	s.ln.Close()
	s.wg.Wait()
}
