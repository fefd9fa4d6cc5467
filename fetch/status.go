package fetch

import (
	"fmt"
	"time"

	"github.com/qqbtfs/qqbtfs/cache"
	"github.com/qqbtfs/qqbtfs/fetch/swarm"
	"github.com/qqbtfs/qqbtfs/fetch/tracker"
)

// Status is a torrent's account of itself. Sizes are in bytes, rates in bytes
// per second.
type Status struct {
	Name         string           `json:"name"`
	InfoHash     string           `json:"info_hash"`
	State        string           `json:"state"` // in words
	Complete     bool             `json:"complete"`
	Fill         bool             `json:"fill"`
	Pieces       int              `json:"pieces"`
	PiecesHave   int              `json:"pieces_have"`
	Bytes        int64            `json:"bytes"`
	BytesHave    int64            `json:"bytes_have"`
	DownRate     float64          `json:"down_rate"`
	UpRate       float64          `json:"up_rate"`
	Downloaded   int64            `json:"downloaded"`
	Uploaded     int64            `json:"uploaded"`
	Wasted       int64            `json:"wasted"`
	HashFailures int              `json:"hash_failures"`
	Banned       int              `json:"banned"`
	KnownPeers   int              `json:"known_peers"`
	Peers        []PeerStatus     `json:"peers"`
	Trackers     []tracker.Status `json:"trackers"`
	Cache        cache.Stats      `json:"cache"`
	Waiting      []string         `json:"waiting"` // one line for each piece that reads wait for
}

// PeerStatus is one connected peer.
type PeerStatus struct {
	Addr       string    `json:"addr"`
	Client     string    `json:"client"`
	Outgoing   bool      `json:"outgoing"`
	Since      time.Time `json:"since"`
	Progress   float64   `json:"progress"` // 0 to 1
	DownRate   float64   `json:"down_rate"`
	UpRate     float64   `json:"up_rate"`
	RTT        float64   `json:"rtt_ms"`
	Downloaded int64     `json:"downloaded"`
	Uploaded   int64     `json:"uploaded"`
	Owes       int       `json:"owes"` // blocks asked for
	Choked     bool      `json:"choked"`
	Snubbed    bool      `json:"snubbed"`
	Interested bool      `json:"interested"`
	Unchoked   bool      `json:"unchoked"`
}

// Status returns the torrent's state. After Close only what needs no swarm.
func (t *Torrent) Status() Status {
	st := Status{
		Name:     t.meta.Info.Name,
		InfoHash: fmt.Sprintf("%x", t.infoHash),
		Fill:     t.cfg.Fill,
		Pieces:   t.lay.NumPieces(),
		Bytes:    t.lay.Total,
		Trackers: t.announce.Status(),
		Cache:    t.store.Stats(),
		State:    "closed",
	}
	st.PiecesHave, st.BytesHave = st.Cache.Pieces, st.Cache.Bytes
	st.Complete = st.PiecesHave == st.Pieces
	pieces, since := t.waits.waiting()
	t.ask(func() {
		c := t.swarm.Stats()
		st.Downloaded, st.Uploaded, st.Wasted = c.Downloaded, c.Uploaded, c.Wasted
		st.HashFailures, st.Banned, st.KnownPeers = c.HashFailures, c.Bans, t.swarm.Known()
		st.DownRate, st.UpRate = t.rates.all.down, t.rates.all.up
		for _, v := range t.swarm.Peers() {
			st.Peers = append(st.Peers, t.peerStatus(v))
		}
		for k, i := range pieces {
			st.Waiting = append(st.Waiting, fmt.Sprintf("%s (%.1f s)", t.swarm.Why(i), time.Since(since[k]).Seconds()))
		}
		st.State = t.state(st)
	})
	return st
}

func (t *Torrent) peerStatus(v swarm.PeerView) PeerStatus {
	p := PeerStatus{
		Addr: v.Addr.String(), Client: v.Client, Outgoing: v.Outgoing, Since: v.Since,
		Progress: float64(v.Pieces) / float64(t.lay.NumPieces()), RTT: v.RTT.Seconds() * 1000,
		Owes: v.Owes, Choked: v.ChokesUs, Snubbed: v.Snubbed, Interested: v.Interested, Unchoked: !v.WeChoke,
	}
	if p.Client == "" {
		p.Client = printable(v.Remote)[:8]
	}
	if c := t.conns[v.ID]; c != nil {
		s := c.conn.Stats()
		p.Downloaded, p.Uploaded = s.PayloadRead, s.PayloadWritten
		if r := t.rates.peers[v.ID]; r != nil {
			p.DownRate, p.UpRate = r.down, r.up
		}
	}
	return p
}

// state says in words what the torrent is doing.
func (t *Torrent) state(st Status) string {
	switch {
	case len(st.Waiting) > 0:
		return "waiting for " + st.Waiting[0]
	case st.Complete && len(st.Peers) == 0:
		return "complete, seeding to nobody"
	case st.Complete:
		return fmt.Sprintf("complete, seeding to %d", len(st.Peers))
	case len(st.Peers) == 0 && t.swarm.Dialling() > 0:
		return fmt.Sprintf("connecting to %d peers", t.swarm.Dialling())
	case len(st.Peers) == 0:
		return "looking for peers"
	case t.cfg.Fill && !t.mayFill():
		return "no room to fill, fetching what is read"
	case !t.cfg.Fill && st.DownRate == 0:
		return "idle, fetching what is read"
	case st.DownRate == 0:
		return fmt.Sprintf("stalled: %d peers, none delivers", len(st.Peers))
	default:
		return fmt.Sprintf("downloading from %d peers", len(st.Peers))
	}
}

// rates measures traffic over the last seconds, in bytes per second.
type rates struct {
	at    time.Time
	all   rate
	peers map[swarm.PeerID]*rate
}

// rate is the smoothed speed of two counters.
type rate struct {
	in, out  int64
	down, up float64
}

func (r *rate) update(in, out int64, span float64) {
	r.down = smooth(r.down, float64(in-r.in)/span)
	r.up = smooth(r.up, float64(out-r.out)/span)
	r.in, r.out = in, out
}

func smooth(old, now float64) float64 {
	if old == 0 {
		return now
	}
	if v := old*0.6 + now*0.4; v >= 1 {
		return v
	}
	return 0
}

// measure takes in the counters, about every second.
func (t *Torrent) measure(now time.Time) {
	r := &t.rates
	span := now.Sub(r.at).Seconds()
	if span < 0.9 {
		return
	}
	r.at = now
	c := t.swarm.Stats()
	r.all.update(c.Downloaded+c.Wasted, c.Uploaded, span)
	peers := make(map[swarm.PeerID]*rate, len(t.conns))
	for id, p := range t.conns {
		x := r.peers[id]
		if x == nil {
			x = &rate{}
		}
		s := p.conn.Stats()
		x.update(s.PayloadRead, s.PayloadWritten, span)
		peers[id] = x
	}
	r.peers = peers
}
