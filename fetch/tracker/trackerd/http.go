package trackerd

import (
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"github.com/qqbtfs/qqbtfs/peerconn/bencode"
)

const maxScrape = 64 // info-hashes in one scrape

type httpAnswer struct {
	Complete   int    `bencode:"complete"`
	ExternalIP string `bencode:"external ip"`
	Incomplete int    `bencode:"incomplete"`
	Interval   int64  `bencode:"interval"`
	Peers      string `bencode:"peers"`
	Peers6     string `bencode:"peers6,omitempty"`
}

type httpFailure struct {
	Reason string `bencode:"failure reason"`
}

type scrapeFile struct {
	Complete   int `bencode:"complete"`
	Downloaded int `bencode:"downloaded"`
	Incomplete int `bencode:"incomplete"`
}

// serveAnnounce answers GET /announce (BEP 3).
func (s *Server) serveAnnounce(w http.ResponseWriter, req *http.Request) {
	a, err := parseAnnounce(req)
	if err != nil {
		reply(w, httpFailure{err.Error()})
		return
	}
	ans, ok := s.registry.announce(time.Now(), a)
	if !ok {
		reply(w, httpFailure{"this tracker is full"})
		return
	}
	s.logAnnounce(a)
	reply(w, httpAnswer{
		Complete: ans.seeders, Incomplete: ans.leechers,
		ExternalIP: string(a.peer.Addr().AsSlice()),
		Interval:   int64(s.opt.Interval / time.Second),
		Peers:      string(appendCompact(nil, ans.peers4)),
		Peers6:     string(appendCompact(nil, ans.peers6)),
	})
}

// serveScrape answers GET /scrape for the info-hashes named (BEP 48).
func (s *Server) serveScrape(w http.ResponseWriter, req *http.Request) {
	files := make(map[string]scrapeFile)
	for _, h := range req.URL.Query()["info_hash"] {
		if len(h) == 20 && len(files) < maxScrape {
			seeders, completed, leechers := s.registry.scrape([20]byte([]byte(h)))
			files[h] = scrapeFile{seeders, completed, leechers}
		}
	}
	reply(w, map[string]any{"files": files})
}

func parseAnnounce(req *http.Request) (announce, error) {
	q, err := url.ParseQuery(req.URL.RawQuery)
	if err != nil {
		return announce{}, errors.New("malformed query")
	}
	hash := q.Get("info_hash")
	if len(hash) != 20 {
		return announce{}, errors.New("info_hash is not 20 bytes")
	}
	if len(q.Get("peer_id")) != 20 {
		return announce{}, errors.New("peer_id is not 20 bytes")
	}
	port, err := strconv.ParseUint(q.Get("port"), 10, 16)
	if err != nil || port == 0 {
		return announce{}, errors.New("no usable port")
	}
	from, err := netip.ParseAddrPort(req.RemoteAddr)
	if err != nil {
		return announce{}, errors.New("no usable source address")
	}
	a := announce{
		infoHash: [20]byte([]byte(hash)),
		peer:     netip.AddrPortFrom(from.Addr().Unmap().WithZone(""), uint16(port)),
		left:     1, // absent means unknown, and unknown is no seed
		numWant:  -1,
	}
	if left, err := strconv.ParseInt(q.Get("left"), 10, 64); err == nil {
		a.left = left
	}
	if n, err := strconv.Atoi(q.Get("numwant")); err == nil {
		a.numWant = n
	}
	a.event = map[string]uint32{
		"completed": eventCompleted, "started": eventStarted, "stopped": eventStopped,
	}[q.Get("event")]
	return a, nil
}

func reply(w http.ResponseWriter, v any) {
	b, err := bencode.Marshal(v)
	if err != nil {
		panic("BUG: an answer that can't be bencoded: " + err.Error())
	}
	w.Header().Set("Content-Type", "text/plain")
	w.Write(b)
}
