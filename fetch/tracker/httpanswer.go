package tracker

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"github.com/qqbtfs/qqbtfs/peerconn/bencode"
)

// answerLimits bound a bencoded answer. A peer as a dictionary is 8 tokens.
var answerLimits = bencode.Limits{Size: maxBody, Depth: 16, Tokens: 200_000}

// httpAnswer is the dictionary of BEP 3, with BEP 7, 24 and 31. The fields are
// raw because trackers disagree about types: a text for an interval must not
// cost the peers beside it.
type httpAnswer struct {
	Failure     bencode.RawMessage `bencode:"failure reason"`
	RetryIn     bencode.RawMessage `bencode:"retry in"`
	Warning     bencode.RawMessage `bencode:"warning message"`
	Interval    bencode.RawMessage `bencode:"interval"`
	MinInterval bencode.RawMessage `bencode:"min interval"`
	TrackerID   bencode.RawMessage `bencode:"tracker id"`
	Complete    bencode.RawMessage `bencode:"complete"`
	Incomplete  bencode.RawMessage `bencode:"incomplete"`
	ExternalIP  bencode.RawMessage `bencode:"external ip"`
	Peers       bencode.RawMessage `bencode:"peers"`
	Peers6      bencode.RawMessage `bencode:"peers6"`
}

// parseHTTP reads the body of an announce's answer. A refusal is a *FailureError.
func parseHTTP(body []byte) (Response, error) {
	body = bytes.TrimSpace(body)
	var a httpAnswer
	if err := bencode.Unmarshal(body, answerLimits, &a); err != nil {
		return Response{}, fmt.Errorf("not a tracker's answer: %w", err)
	}
	if len(a.Failure) > 0 {
		return Response{}, a.failure()
	}
	r := Response{
		Interval:    defaultInterval,
		MinInterval: seconds(intOr(a.MinInterval, 0)),
		Seeders:     count(intOr(a.Complete, 0)),
		Leechers:    count(intOr(a.Incomplete, 0)),
		Warning:     Printable(text(a.Warning)),
		TrackerID:   trackerID(text(a.TrackerID)),
	}
	if len(a.Interval) > 0 {
		r.Interval = seconds(intOr(a.Interval, int64(defaultInterval/time.Second)))
	}
	if ip, ok := netip.AddrFromSlice([]byte(text(a.ExternalIP))); ok {
		r.ExternalIP = ip.Unmap()
	}
	var err error
	if r.Peers, err = parsePeers(a.Peers); err != nil {
		return Response{}, err
	}
	peers6, err := parseCompact([]byte(text(a.Peers6)), compact6)
	if err != nil {
		return Response{}, err
	}
	r.Peers = append(r.Peers, peers6...)
	return r, nil
}

// parsePeers reads the peers key: a compact string (BEP 23) or a list of
// dictionaries (BEP 3).
func parsePeers(raw []byte) ([]netip.AddrPort, error) {
	switch {
	case len(raw) == 0:
		return nil, nil
	case raw[0] == 'l':
		return parsePeerDicts(raw)
	case raw[0] >= '0' && raw[0] <= '9':
		return parseCompact([]byte(text(raw)), compact4)
	}
	return nil, errors.New("peers are neither a string nor a list")
}

// parsePeerDicts skips what is no peer. BEP 3 allows a host name for ip; a
// stranger's name is not looked up.
func parsePeerDicts(raw []byte) ([]netip.AddrPort, error) {
	var dicts []bencode.RawMessage
	if err := bencode.Unmarshal(raw, answerLimits, &dicts); err != nil {
		return nil, fmt.Errorf("peers: %w", err)
	}
	var peers []netip.AddrPort
	for _, d := range dicts {
		var peer struct {
			IP   bencode.RawMessage `bencode:"ip"`
			Port bencode.RawMessage `bencode:"port"`
		}
		if bencode.Unmarshal(d, answerLimits, &peer) != nil {
			continue
		}
		addr, err := netip.ParseAddr(text(peer.IP))
		port := intOr(peer.Port, 0)
		if err != nil || port < 1 || port > 65535 {
			continue
		}
		if p := netip.AddrPortFrom(addr.Unmap().WithZone(""), uint16(port)); Dialable(p) && len(peers) < MaxPeers {
			peers = append(peers, p)
		}
	}
	return peers, nil
}

// failure reads a refusal and, by BEP 31, when to come back.
func (a *httpAnswer) failure() error {
	f := &FailureError{Reason: Printable(text(a.Failure))}
	if f.Reason == "" {
		f.Reason = "no reason given"
	}
	minutes := intOr(a.RetryIn, 0)
	if s := text(a.RetryIn); s != "" {
		f.Never = s == "never"
		minutes, _ = strconv.ParseInt(s, 10, 64)
	}
	if minutes > 0 {
		f.RetryIn = time.Duration(min(minutes, 24*60)) * time.Minute
	}
	return f
}

// text returns the string in raw, or "" if it is anything else.
func text(raw []byte) string {
	var s string
	if len(raw) == 0 || bencode.Unmarshal(raw, answerLimits, &s) != nil {
		return ""
	}
	return s
}

// intOr returns the integer in raw, or otherwise if it is anything else.
func intOr(raw []byte, otherwise int64) int64 {
	var n int64
	if len(raw) == 0 || bencode.Unmarshal(raw, answerLimits, &n) != nil {
		return otherwise
	}
	return n
}

// count makes a number of peers from a tracker's word.
func count(n int64) int { return int(min(max(n, 0), 1<<31-1)) }

// trackerID drops an id too long to be sent back in a URL.
func trackerID(s string) string {
	if len(s) > 1024 {
		return ""
	}
	return s
}
