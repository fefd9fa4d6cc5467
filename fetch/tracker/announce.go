package tracker

import (
	"fmt"
	"net/netip"
	"time"
)

// Event tells a tracker why a client announces. The values are those of BEP 15.
type Event uint32

const (
	// None is a regular announce.
	None Event = iota
	// Completed is sent once, when the last piece arrived in this run.
	Completed
	// Started is the first announce to a tracker.
	Started
	// Stopped is the last one.
	Stopped
	// Paused stands for None and Started while the client is a partial seed (BEP 21).
	Paused
)

// String returns the event as HTTP trackers spell it; None is empty (BEP 3).
func (e Event) String() string {
	switch e {
	case None:
		return ""
	case Completed:
		return "completed"
	case Started:
		return "started"
	case Stopped:
		return "stopped"
	case Paused:
		return "paused"
	}
	return fmt.Sprintf("event(%d)", uint32(e))
}

// udp returns the event as BEP 15 knows it, which is older than Paused.
func (e Event) udp() Event {
	if e == Paused {
		return None
	}
	return e
}

const (
	// DefaultNumWant is how many peers a zero Request.NumWant asks for.
	DefaultNumWant = 200
	// MaxPeers is the number of peers of one answer that are kept.
	MaxPeers = 1000

	minInterval     = time.Minute
	maxInterval     = time.Hour
	defaultInterval = 30 * time.Minute

	// unknownLeft stands for "more than nothing" while the size of the torrent
	// is not known: zero would say that this is a seed.
	unknownLeft = 16 << 10
)

// Request is what a client tells about itself in an announce (BEP 3, Tracker).
type Request struct {
	InfoHash, PeerID [20]byte
	Port             uint16 // where this client listens
	Port6            uint16 // where over IPv6, zero: there as well
	// Uploaded, Downloaded and Left count bytes. Negative Left means unknown.
	Uploaded, Downloaded, Left int64
	Event                      Event
	// Paused means that the client is a partial seed: incomplete, and downloading
	// nothing more (BEP 21).
	Paused bool
	// NumWant is how many peers are wanted. Zero means DefaultNumWant,
	// negative means none.
	NumWant int
	// Key identifies this run to the tracker when its address changes, and
	// ties the announces over IPv4 and IPv6 together (BEP 7).
	Key uint32
	// TrackerID is the last Response.TrackerID of this tracker, if any.
	TrackerID string
}

func (r Request) left() int64 {
	if r.Left < 0 {
		return unknownLeft
	}
	return r.Left
}

func (r Request) numWant() int {
	switch {
	case r.Event == Stopped || r.NumWant < 0:
		return 0
	case r.NumWant == 0:
		return DefaultNumWant
	}
	return r.NumWant
}

// Response is what a tracker answered, cleaned.
type Response struct {
	// Interval is the wait until the next regular announce, 1 minute to 1 hour.
	Interval time.Duration
	// MinInterval is the shortest wait that the tracker allows, 30 seconds to
	// 1 hour. Zero means that it did not say.
	MinInterval time.Duration
	// Peers holds at most MaxPeers addresses that can be dialled.
	Peers             []netip.AddrPort
	Seeders, Leechers int
	// Warning is for the user's eyes: printable and short.
	Warning string
	// TrackerID is to be sent back in the next Request.
	TrackerID string
	// ExternalIP is the address that the tracker sees us at (BEP 24). The zero
	// Addr means that it did not say.
	ExternalIP netip.Addr
}

// clampIntervals forces what a tracker asked for into sensible bounds: zero
// would be a request flood, years a torrent that never finds peers again.
func (r *Response) clampIntervals() {
	r.Interval = min(max(r.Interval, minInterval), maxInterval)
	if r.MinInterval > 0 {
		r.MinInterval = min(max(r.MinInterval, wantFloor), maxInterval)
		r.Interval = max(r.Interval, r.MinInterval)
	}
}

// merge adds the answer of the other address family.
func (r *Response) merge(o Response) {
	r.Interval = max(r.Interval, o.Interval)
	r.MinInterval = max(r.MinInterval, o.MinInterval)
	r.Peers = uniquePeers(append(r.Peers, o.Peers...))
	r.Seeders = max(r.Seeders, o.Seeders)
	r.Leechers = max(r.Leechers, o.Leechers)
	if r.Warning == "" {
		r.Warning = o.Warning
	}
	if r.TrackerID == "" {
		r.TrackerID = o.TrackerID
	}
	if !r.ExternalIP.IsValid() {
		r.ExternalIP = o.ExternalIP
	}
}

// seconds converts a count of seconds from the network without overflow.
func seconds(n int64) time.Duration {
	return time.Duration(min(max(n, 0), int64(maxInterval/time.Second))) * time.Second
}
