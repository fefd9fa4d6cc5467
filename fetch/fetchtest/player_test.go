package fetchtest

import "time"

const (
	playRate = 1 * mb
	chunk    = 64 * kib
)

// player reads as a media player does: head, index at the tail, then on from the
// front; it starts with two seconds in its buffer, keeps up to five, and after a
// stall waits for one. After 15 s of film it jumps to the middle.
type player struct {
	w   *World
	h   *Handle
	off int64
	got float64 // bytes buffered in all

	started      bool
	start        time.Duration
	playedFrom   time.Duration
	stalls       int
	stalled      time.Duration
	stalledSince time.Duration
	stalling     bool
	jumped       time.Duration
	reseek       time.Duration
	ended        bool
}

func play(w *World, c *Client) *player {
	p := &player{w: w, h: c.Open(32 * mib)}
	p.h.ReadAt(0, chunk, func(time.Duration) {
		p.h.ReadAt(w.torrent.Total-256*kib, 256*kib, func(time.Duration) { p.read() })
	})
	return p
}

func (p *player) read() {
	p.h.ReadAt(p.off, chunk, func(time.Duration) {
		p.off += chunk
		p.got += chunk
		p.next()
	})
}

// next decides what happens after a chunk has come.
func (p *player) next() {
	now := p.w.Now()
	pos := (now - p.playedFrom).Seconds()
	switch {
	case p.jumped > 0:
		if p.got >= 2*playRate {
			p.reseek = now - p.jumped
			p.ended = true
			return
		}
	case !p.started:
		if p.got >= 2*playRate {
			p.started, p.start, p.playedFrom = true, now, now
		}
	case p.stalling:
		if p.got >= (p.stalledSince-p.playedFrom).Seconds()*playRate+playRate {
			p.stalling = false
			p.stalled += now - p.stalledSince
			p.playedFrom += now - p.stalledSince
		}
	case pos >= 15:
		p.jumped, p.off, p.got = now, p.w.torrent.Total*5/8, 0
	case p.got < pos*playRate:
		p.stalling, p.stalledSince = true, now
		p.stalls++
	case p.got > (pos+5)*playRate:
		p.w.After(time.Duration(chunk/playRate*float64(time.Second)), p.read)
		return
	}
	p.read()
}
