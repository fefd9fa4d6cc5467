package fetch

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"sync"

	"github.com/qqbtfs/qqbtfs/fetch/swarm"
	"github.com/qqbtfs/qqbtfs/fetch/tracker"
)

// announcers tell of a torrent in each of its swarms: a hybrid is in two, that of its
// v1 hash and that of its v2 hash (BEP 52, Upgrade Path: "join both swarms").
type announcers []*tracker.Announcer

// maxInV2 bounds the addresses that are known to be of the v2 swarm.
const maxInV2 = 3000

func (t *Torrent) newAnnouncers() announcers {
	tiers := t.meta.Trackers
	if t.cfg.Quiet {
		tiers = nil
	}
	var list announcers
	for _, hash := range t.hashes {
		list = append(list, tracker.NewAnnouncer(tracker.AnnouncerConfig{
			Client:   t.s.trackers,
			Tiers:    tiers,
			Private:  t.meta.Info.Private,
			Snapshot: func() tracker.Request { return t.snapshot(hash) },
			OnPeers: func(addrs []netip.AddrPort, _ string) {
				t.noteSwarm(hash, addrs)
				t.AddPeers(addrs, swarm.FromTracker)
			},
			Logger: t.log,
		}))
	}
	return list
}

// snapshot is what trackers are told.
func (t *Torrent) snapshot(hash [20]byte) tracker.Request {
	left := t.lay.Bytes() - t.store.Stats().Bytes
	return tracker.Request{
		// Who cannot be reached names a port where nobody is: many trackers refuse 0.
		InfoHash: hash, PeerID: t.s.peerID, Port: cmp.Or(t.s.Port(), 1), Port6: t.s.Port6(),
		Uploaded: t.uploaded.Load(), Downloaded: t.downloaded.Load(), Left: max(left, 0),
		Paused: t.cfg.SeedOnly && left > 0,
	}
}

// noteSwarm remembers which swarm of a hybrid addresses are of: a peer that knows
// the v2 part alone does not answer to the v1 hash.
func (t *Torrent) noteSwarm(hash [20]byte, addrs []netip.AddrPort) {
	if len(t.hashes) < 2 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, a := range addrs {
		if hash == t.hashes[0] {
			delete(t.inV2, a)
		} else if len(t.inV2) < maxInV2 {
			t.inV2[a] = true
		}
	}
}

// hashFor returns the info-hash to greet a peer with: v1's where there is one, for
// who speaks v2 too will answer with that.
func (t *Torrent) hashFor(addr netip.AddrPort) [20]byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.inV2[addr] {
		return t.v2Hash()
	}
	return t.hashes[0]
}

// v2Hash returns the truncated v2 info-hash, zero without one.
func (t *Torrent) v2Hash() [20]byte {
	if !t.meta.Info.HasV2 {
		return [20]byte{}
	}
	return t.hashes[len(t.hashes)-1]
}

// Start begins to announce.
func (l announcers) Start() {
	for _, a := range l {
		a.Start()
	}
}

// WantPeers tells that peers run low.
func (l announcers) WantPeers() {
	for _, a := range l {
		a.WantPeers()
	}
}

// Moved tells that another network may lie behind us.
func (l announcers) Moved() {
	for _, a := range l {
		a.Moved()
	}
}

// Completed tells that the torrent is complete.
func (l announcers) Completed() {
	for _, a := range l {
		a.Completed()
	}
}

// Status returns the trackers of all swarms.
func (l announcers) Status() []tracker.Status {
	var out []tracker.Status
	for _, a := range l {
		for _, st := range a.Status() {
			same := func(other tracker.Status) bool { return other.URL == st.URL && other.Tier == st.Tier }
			if k := slices.IndexFunc(out, same); k >= 0 {
				out[k] = bothSwarms(out[k], st)
			} else {
				out = append(out, st)
			}
		}
	}
	return out
}

// bothSwarms is how a tracker is that knows both swarms of a hybrid: of a failure in
// either one it tells, and most peers are in both.
func bothSwarms(a, b tracker.Status) tracker.Status {
	if a.LastError == "" && b.LastError != "" || a.LastAnnounce.IsZero() {
		a, b = b, a
	}
	a.LastOK = cmp.Or(a.LastOK, b.LastOK)
	if next := b.NextAnnounce; !next.IsZero() && (a.NextAnnounce.IsZero() || next.Before(a.NextAnnounce)) {
		a.NextAnnounce = next
	}
	a.Announcing, a.Working = a.Announcing || b.Announcing, a.Working || b.Working
	a.Seeders, a.Leechers, a.Peers = max(a.Seeders, b.Seeders), max(a.Leechers, b.Leechers), max(a.Peers, b.Peers)
	return a
}

// Stop leaves the swarms, as tracker.Announcer does.
func (l announcers) Stop(ctx context.Context) {
	var wg sync.WaitGroup
	for _, a := range l {
		wg.Go(func() { a.Stop(ctx) })
	}
	wg.Wait()
}
