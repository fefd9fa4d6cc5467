package pex

import (
	"iter"
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

// Talk is what we say on one connection. In the zero Talk nothing was said yet. It is
// not safe for concurrent use.
type Talk struct {
	told map[netip.AddrPort]struct{} // the other side believes these connected
	said time.Time                   // when we said something last
}

// Ear is what we hear on one connection. It is not safe for concurrent use.
type Ear struct {
	heard time.Time // when something was taken last
}

// Due reports whether something may be said at now.
func (t *Talk) Due(now time.Time) bool { return t.said.IsZero() || now.Sub(t.said) >= Interval }

// Next returns what to say at now when just the given peers are connected. False:
// nothing, or not yet. What does not fit into one message waits for the next.
func (t *Talk) Next(now time.Time, connected iter.Seq[Peer]) (Message, bool) {
	if !t.Due(now) {
		return Message{}, false
	}
	var m Message
	here := map[netip.AddrPort]struct{}{}
	for p := range connected {
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
func (e *Ear) Hear(now time.Time, payload []byte) (Message, bool) {
	if !e.heard.IsZero() && now.Sub(e.heard) < Interval-tolerance {
		return Message{}, false
	}
	e.heard = now
	m, err := Parse(payload)
	return m, err == nil
}
