package fetch

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/qqbtfs/qqbtfs/cache"
	"github.com/qqbtfs/qqbtfs/fetch/swarm"
	"github.com/qqbtfs/qqbtfs/fetch/tracker"
)

// maxWaiting bounds Status.Waiting.
const maxWaiting = 256

// Status is a torrent's account of itself. Sizes are in bytes, rates in bytes
// per second.
type Status struct {
	Name           string           `json:"name"`
	InfoHash       string           `json:"info_hash"`
	State          string           `json:"state"` // in words
	Complete       bool             `json:"complete"`
	Fill           bool             `json:"fill"`
	Filling        bool             `json:"filling"` // what nobody reads is fetched too, until all is here
	Pieces         int              `json:"pieces"`
	PiecesHave     int              `json:"pieces_have"`
	Bytes          int64            `json:"bytes"`
	BytesHave      int64            `json:"bytes_have"`
	DownRate       float64          `json:"down_rate"`
	UpRate         float64          `json:"up_rate"`
	Downloaded     int64            `json:"downloaded"`
	Uploaded       int64            `json:"uploaded"`
	UploadedBefore int64            `json:"uploaded_before"` // by earlier runs
	Ratio          float64          `json:"ratio"`           // all that was uploaded, by the bytes that are here
	NotServing     string           `json:"not_serving"`     // why no peer is served, in words; "": they are
	Wasted         int64            `json:"wasted"`
	HashFailures   int              `json:"hash_failures"`
	Banned         int              `json:"banned"`
	Blocked        int64            `json:"blocked"` // addresses turned away for the blocklist, of all torrents
	KnownPeers     int              `json:"known_peers"`
	KnownFrom      map[string]int   `json:"known_from"` // known peers by who named them first
	Peers          []PeerStatus     `json:"peers"`
	WebSeeds       []WebSeedStatus  `json:"web_seeds"`
	Trackers       []tracker.Status `json:"trackers"`
	Cache          cache.Stats      `json:"cache"`
	Waits          int              `json:"waits"`   // pieces that reads wait for
	Waiting        []string         `json:"waiting"` // a line for each of them, at most 256, the oldest first
}

// PeerStatus is one connected peer.
type PeerStatus struct {
	Addr       string    `json:"addr"`
	Client     string    `json:"client"`
	Outgoing   bool      `json:"outgoing"`
	Source     string    `json:"source"` // who named it, as in known_from, or "incoming"
	Encrypted  bool      `json:"encrypted"`
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

// WebSeedStatus is one web server that has the content.
type WebSeedStatus struct {
	URL        string  `json:"url"`   // without its secrets
	State      string  `json:"state"` // in words
	InUse      bool    `json:"in_use"`
	Progress   float64 `json:"progress"` // what it has, 0 to 1
	DownRate   float64 `json:"down_rate"`
	Downloaded int64   `json:"downloaded"`
	Owes       int     `json:"owes"` // blocks asked for
}

// Status returns the torrent's state. After Close only what needs no swarm.
func (t *Torrent) Status() Status {
	st := Status{
		Name:     t.meta.Info.Name,
		InfoHash: t.meta.HashString(),
		Fill:     t.cfg.Fill,
		Pieces:   t.lay.NumPieces(),
		Bytes:    t.lay.Bytes(),
		Trackers: t.announce.Status(),
		Cache:    t.store.Stats(),
		State:    "closed",
		Blocked:  t.s.Blocked(),
	}
	st.PiecesHave, st.BytesHave = st.Cache.Pieces, st.Cache.Bytes
	st.Complete = st.PiecesHave == st.Pieces
	pieces, since := t.waits.waiting()
	st.Waits = len(pieces)
	t.ask(func() {
		now := time.Now()
		t.measure(now)
		c := t.swarm.Stats()
		st.Downloaded, st.Uploaded, st.Wasted = c.Downloaded, c.Uploaded, c.Wasted
		st.UploadedBefore, st.Ratio = t.cfg.Seeding.Uploaded, t.swarm.Ratio()
		st.HashFailures, st.Banned, st.KnownPeers = c.HashFailures, c.Bans, t.swarm.Known()
		st.NotServing = t.swarm.NotServing()
		st.KnownFrom = t.swarm.Sources()
		st.DownRate, st.UpRate = t.rates.all.down.rate(), t.rates.all.up.rate()
		webs := map[netip.AddrPort]swarm.PeerView{}
		for _, v := range t.swarm.Peers() {
			if v.Web {
				webs[v.Addr] = v
			} else {
				st.Peers = append(st.Peers, t.peerStatus(v))
			}
		}
		for _, w := range t.webs {
			st.WebSeeds = append(st.WebSeeds, w.status(now, webs[w.addr]))
		}
		for k, i := range pieces[:min(len(pieces), maxWaiting)] {
			st.Waiting = append(st.Waiting, fmt.Sprintf("%s (%.1f s)", t.swarm.Why(i), now.Sub(since[k]).Seconds()))
		}
		st.Filling = !st.Complete && !limited(st) && t.mayFill()
		st.State = t.state(now, st)
	})
	return st
}

func (t *Torrent) peerStatus(v swarm.PeerView) PeerStatus {
	p := PeerStatus{
		Addr: v.Addr.String(), Client: v.Client, Outgoing: v.Outgoing, Source: v.Source, Since: v.Since,
		Progress: float64(v.Pieces) / float64(t.lay.NumPieces()), RTT: v.RTT.Seconds() * 1000,
		Owes: v.Owes, Choked: v.ChokesUs, Snubbed: v.Snubbed, Interested: v.Interested, Unchoked: !v.WeChoke,
	}
	if p.Client == "" {
		p.Client = printable(v.Remote)[:8]
	}
	if c := t.conns[v.ID]; c != nil {
		s := c.conn.Stats()
		p.Encrypted = s.Encrypted
		p.Downloaded, p.Uploaded = s.PayloadRead, s.PayloadWritten
		if r := t.rates.peers[v.ID]; r != nil {
			p.DownRate, p.UpRate = r.down.rate(), r.up.rate()
		}
	}
	return p
}

// state says in words what the torrent is doing.
func (t *Torrent) state(now time.Time, st Status) string {
	peers, sources, quiet := len(st.Peers), st.sources(), now.Sub(t.rates.quiet)
	switch {
	case len(st.Waiting) > 0:
		return "waiting for " + st.Waiting[0]
	case st.Complete && st.NotServing != "":
		return "complete, " + st.NotServing
	case st.Complete && peers == 0:
		return "complete, seeding to nobody"
	case st.Complete:
		return fmt.Sprintf("complete, seeding to %d", peers)
	case t.chosen.done():
		return "the selected files are complete, fetching what is read"
	case sources == "" && t.swarm.Dialling() > 0:
		return "connecting to " + count(t.swarm.Dialling(), "peer")
	case sources == "":
		return "looking for peers"
	case t.cfg.Fill && t.full() && limited(st):
		return "no room to fill, for the cache size is less than the torrent's: fetching what is read"
	case t.cfg.Fill && t.full():
		return "no room to fill, fetching what is read"
	case !t.mayFill() && st.DownRate == 0:
		return "idle, fetching what is read"
	case quiet >= stalledAfter:
		return fmt.Sprintf("stalled: nothing from %s for %.0f s", sources, quiet.Seconds())
	case t.cfg.Fill && limited(st):
		return "downloading from " + sources + ", as far as the cache size allows"
	default:
		return "downloading from " + sources
	}
}

// sources says who can send something: peers and web seeds. "": nobody.
func (st *Status) sources() string {
	var all []string
	if n := len(st.Peers); n > 0 {
		all = append(all, count(n, "peer"))
	}
	webs := 0
	for _, w := range st.WebSeeds {
		if w.InUse {
			webs++
		}
	}
	if webs > 0 {
		all = append(all, count(webs, "web seed"))
	}
	return strings.Join(all, " and ")
}

// limited reports whether the cache can never hold the whole torrent.
func limited(st Status) bool { return st.Cache.DiskLimit > 0 && st.Cache.DiskLimit < st.Bytes }

func count(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
