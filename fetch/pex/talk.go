package pex

import (
	"net/netip"
	"slices"
	"time"
)

const (
	// Interval is the least time between two messages of ours. (BEP 11: "a peer
	// should not send messages more than once per minute")
	Interval = time.Minute
	// tolerance is what the network may take off the time between two of theirs.
	tolerance = 5 * time.Second
)

// Talk is the peer exchange on one connection. The zero Talk has begun: nothing was
// said yet. It is not safe for concurrent use.
type Talk struct {
	told  map[netip.AddrPort]struct{} // the other side believes these connected
	said  time.Time                   // when we said something last
	heard time.Time                   // when it did
}

// Due reports whether something may be said at now.
func (t *Talk) Due(now time.Time) bool { return t.said.IsZero() || now.Sub(t.said) >= Interval }

// Next returns what to say at now when just the given peers are connected, without the
// one that it is said to. False: nothing, or not yet. What does not fit into one
// message waits for the next.
func (t *Talk) Next(now time.Time, connected []Peer) (Message, bool) {
	if !t.Due(now) {
		return Message{}, false
	}
	var m Message
	here := make(map[netip.AddrPort]struct{}, len(connected))
	for _, p := range connected {
		here[p.Addr] = struct{}{}
		if _, old := t.told[p.Addr]; !old && len(m.Added) < MaxPeers && !m.has(p.Addr) {
			m.Added = append(m.Added, p)
		}
	}
	for a := range t.told {
		if _, still := here[a]; !still {
			m.Dropped = append(m.Dropped, a)
		}
	}
	slices.SortFunc(m.Dropped, netip.AddrPort.Compare)
	m.Dropped = m.Dropped[:min(len(m.Dropped), MaxPeers)]
	if len(m.Added)+len(m.Dropped) == 0 {
		return Message{}, false
	}
	t.tell(now, m)
	return m, true
}

func (t *Talk) tell(now time.Time, m Message) {
	t.said = now
	if t.told == nil {
		t.told = map[netip.AddrPort]struct{}{}
	}
	for _, p := range m.Added {
		t.told[p.Addr] = struct{}{}
	}
	for _, a := range m.Dropped {
		delete(t.told, a)
	}
}

// Hear decodes a message that came at now. False: it came too early or makes no sense
// and is to be ignored.
func (t *Talk) Hear(now time.Time, payload []byte) (Message, bool) {
	if !t.heard.IsZero() && now.Sub(t.heard) < Interval-tolerance {
		return Message{}, false
	}
	t.heard = now
	m, err := Parse(payload)
	return m, err == nil
}
