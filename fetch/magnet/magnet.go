// Package magnet reads and writes magnet links to torrents (BEP 9, magnet URI
// format; BEP 53).
//
// A Link names a torrent by its info-hash and may say where to find it: trackers,
// peers, web seeds. All of that comes from strangers and is unchecked beyond its
// form: URLs and host names are text, and only the hash tells the right torrent
// from a wrong one.
package magnet

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode"
)

// Scheme begins every magnet link, in any case of letters.
const Scheme = "magnet:"

// Bounds of a Link. What exceeds them is left out.
const (
	MaxLen   = 64 << 10 // bytes of a whole link; a longer one is refused
	maxURLs  = 100      // trackers, web seeds and peers, each
	maxURL   = 2 << 10  // bytes
	maxName  = 1 << 10  // bytes
	maxFiles = 10_000   // ranges of so
	maxBad   = 10       // of Unusable
)

// Link is a magnet link. It has a hash at least.
type Link struct {
	HashV1       [20]byte // xt=urn:btih; of the info dictionary
	HashV2       [32]byte // xt=urn:btmh
	HasV1, HasV2 bool

	Name     string   // dn, printable; a hint until the metadata is here
	Trackers []string // tr, in order
	WebSeeds []string // ws
	Peers    []string // x.pe, as host:port
	Files    []Range  // so, the files to fetch; nil: all. They are ascending and apart

	// Unusable is what Parse has left out of tr, ws, x.pe and so, for people: "so=9-2". Of
	// URLs, which may hold secrets, it is "tr" or "ws".
	Unusable []string
}

// Range is files First to Last, by their index in the torrent.
type Range struct{ First, Last int }

// Parse reads a link. Parameters that are not known, and known ones but xt whose
// values are malformed, are left out. Errors say what is wrong and are fit to be
// shown behind the link.
func Parse(s string) (Link, error) {
	if len(s) > MaxLen {
		return Link{}, fmt.Errorf("the magnet link is longer than %d bytes", MaxLen)
	}
	if len(s) < len(Scheme) || !strings.EqualFold(s[:len(Scheme)], Scheme) {
		return Link{}, errors.New("not a magnet link")
	}
	query, ok := strings.CutPrefix(s[len(Scheme):], "?")
	if !ok {
		return Link{}, errors.New(`the magnet link has no "?" behind "magnet:"`)
	}
	var l Link
	for _, param := range strings.Split(query, "&") {
		key, value, _ := strings.Cut(param, "=")
		key = parameter(key)
		plain, err := url.QueryUnescape(value)
		if err != nil {
			l.leaveOut(key, value)
		} else if err := l.set(key, strings.TrimSpace(plain)); err != nil {
			return Link{}, err
		}
	}
	if !l.HasV1 && !l.HasV2 {
		return Link{}, errors.New("the magnet link names no torrent (it has no xt=urn:btih:…)")
	}
	return l, nil
}

// parameter is the name of a key: xt.1, tr.2 and so on are as xt and tr, but x.pe is
// a name of its own.
func parameter(key string) string {
	key = strings.ToLower(key)
	if name, n, ok := strings.Cut(key, "."); ok && name != "x" {
		if _, err := strconv.ParseUint(n, 10, 16); err == nil {
			return name
		}
	}
	return key
}

func (l *Link) set(key, value string) error {
	switch key {
	case "xt":
		return l.setTopic(value)
	case "dn":
		if l.Name == "" {
			l.Name = printable(value)
		}
	case "tr":
		l.addURL(&l.Trackers, key, value)
	case "ws":
		l.addURL(&l.WebSeeds, key, value)
	case "x.pe":
		l.addPeer(value)
	case "so":
		if l.Files == nil {
			l.addFiles(value)
		}
	}
	return nil
}

// leaveOut notes that a value cannot be used.
func (l *Link) leaveOut(key, value string) {
	switch {
	case value == "" || len(l.Unusable) == maxBad:
	case key == "tr" || key == "ws":
		l.Unusable = append(l.Unusable, key)
	case key == "x.pe" || key == "so":
		l.Unusable = append(l.Unusable, key+"="+printable(value))
	}
}

// setTopic takes one xt. Topics of other networks are left out: a link may name the
// same content for several.
func (l *Link) setTopic(topic string) error {
	const v1, v2 = "urn:btih:", "urn:btmh:"
	switch lower := strings.ToLower(topic); {
	case strings.HasPrefix(lower, v1):
		h, err := parseV1(topic[len(v1):])
		if err == nil && l.HasV1 && h != l.HashV1 {
			err = errors.New("the magnet link names two torrents")
		}
		l.HashV1, l.HasV1 = h, true
		return err
	case strings.HasPrefix(lower, v2):
		h, err := parseV2(topic[len(v2):])
		if err == nil && l.HasV2 && h != l.HashV2 {
			err = errors.New("the magnet link names two torrents")
		}
		l.HashV2, l.HasV2 = h, true
		return err
	}
	return nil
}

// parseV1 reads 40 digits of hexadecimal or 32 of base32 (BEP 9: "Clients should also
// support the 32 character base32 encoded info-hash").
func parseV1(s string) (h [20]byte, err error) {
	var b []byte
	switch len(s) {
	case 40:
		b, err = hex.DecodeString(s)
	case 32:
		b, err = base32.StdEncoding.DecodeString(strings.ToUpper(s))
	default:
		return h, fmt.Errorf("the info-hash in the magnet link has %d characters, not 40 (or 32 in base32)", len(s))
	}
	if err != nil || len(b) != len(h) {
		return h, errors.New("the info-hash in the magnet link is malformed")
	}
	return [20]byte(b), nil
}

// multihash is what stands before a SHA-256 of 32 bytes.
const multihash = "1220"

// parseV2 reads a multihash in hexadecimal.
func parseV2(s string) (h [32]byte, err error) {
	digits, ok := strings.CutPrefix(strings.ToLower(s), multihash)
	if !ok {
		return h, errors.New("the v2 info-hash in the magnet link is no SHA-256 multihash (1220…)")
	}
	b, err := hex.DecodeString(digits)
	if err != nil || len(b) != len(h) {
		return h, errors.New("the v2 info-hash in the magnet link is malformed")
	}
	return [32]byte(b), nil
}

func (l *Link) addURL(list *[]string, key, u string) {
	if u != "" && len(u) <= maxURL && len(*list) < maxURLs && printable(u) == u {
		*list = append(*list, u)
	} else {
		l.leaveOut(key, u)
	}
}

// addPeer takes a peer as BEP 9 writes it: "hostname:port", "ipv4-literal:port" or
// "[ipv6-literal]:port".
func (l *Link) addPeer(s string) {
	host, port, ok := splitHostPort(s)
	if n, err := strconv.ParseUint(port, 10, 16); !ok || err != nil || n == 0 || host == "" || len(s) > 255 || len(l.Peers) >= maxURLs {
		l.leaveOut("x.pe", s)
		return
	}
	l.Peers = append(l.Peers, s)
}

func splitHostPort(s string) (host, port string, ok bool) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return "", "", false
	}
	host, port = s[:i], s[i+1:]
	if inner, v6 := strings.CutPrefix(host, "["); v6 {
		inner, closed := strings.CutSuffix(inner, "]")
		addr, err := netip.ParseAddr(inner)
		return inner, port, closed && err == nil && addr.Is6()
	}
	valid := func(r rune) bool {
		return r == '.' || r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r)
	}
	return host, port, strings.IndexFunc(host, func(r rune) bool { return !valid(r) }) < 0
}

// printable makes a text from a stranger fit for a terminal.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	if len(s) > maxName {
		s = strings.ToValidUTF8(s[:maxName], "")
	}
	return strings.TrimSpace(s)
}

// String writes the link, such that Parse gives the same Link, but for Unusable.
func (l Link) String() string {
	var b strings.Builder
	b.WriteString(Scheme)
	sep := "?"
	put := func(key, value string) {
		b.WriteString(sep + key + "=" + value)
		sep = "&"
	}
	if l.HasV1 {
		put("xt", "urn:btih:"+hex.EncodeToString(l.HashV1[:]))
	}
	if l.HasV2 {
		put("xt", "urn:btmh:"+multihash+hex.EncodeToString(l.HashV2[:]))
	}
	if l.Name != "" {
		put("dn", url.QueryEscape(l.Name))
	}
	if l.Files != nil {
		put("so", formatRanges(l.Files))
	}
	for _, u := range l.Trackers {
		put("tr", url.QueryEscape(u))
	}
	for _, u := range l.WebSeeds {
		put("ws", url.QueryEscape(u))
	}
	for _, p := range l.Peers {
		put("x.pe", url.QueryEscape(p))
	}
	return b.String()
}

// Names reports whether an info dictionary is what the link names.
func (l Link) Names(info []byte) bool {
	return (l.HasV1 || l.HasV2) && (!l.HasV1 || sha1.Sum(info) == l.HashV1) && (!l.HasV2 || sha256.Sum256(info) == l.HashV2)
}

// HashString is the v1 info-hash in hexadecimal, or else the v2 one.
func (l Link) HashString() string {
	if l.HasV1 {
		return hex.EncodeToString(l.HashV1[:])
	}
	return hex.EncodeToString(l.HashV2[:])
}

// Bare is the link with nothing but its hashes, which holds no secrets.
func (l Link) Bare() string {
	return Link{HashV1: l.HashV1, HasV1: l.HasV1, HashV2: l.HashV2, HasV2: l.HasV2}.String()
}
