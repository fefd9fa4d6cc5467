package metainfo

import (
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/qqbtfs/qqbtfs/peerconn/bencode"
)

// Bounds for what is not needed to download. What exceeds them is left out.
const (
	maxURLs    = 100
	maxURLLen  = 2 << 10
	maxTextLen = 4 << 10
)

// text returns the string v, or "" if it is none.
func text(v bencode.Value) string {
	b, _ := v.Bytes()
	return string(b)
}

// printable makes s fit for a terminal: valid UTF-8, no control or invisible
// characters but the line feed, no end of a screen.
func printable(s string) string {
	s = s[:min(len(s), maxTextLen)]
	s = strings.Map(func(r rune) rune {
		if r != '\n' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r)) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	return strings.TrimSpace(s)
}

// announceList reads the tiers of BEP 12. A tier that is just a string is taken
// as a tier of one. Nil: no usable tracker in it, so announce counts.
func announceList(v bencode.Value) [][]string {
	var list [][]string
	for tier := range v.Items() {
		list = append(list, stringList(tier))
	}
	return tiers(list)
}

// stringList returns the strings of a list, or the one string.
func stringList(v bencode.Value) []string {
	if b, ok := v.Bytes(); ok {
		return []string{string(b)}
	}
	var list []string
	for item := range v.Items() {
		if b, ok := item.Bytes(); ok {
			list = append(list, string(b))
		}
	}
	return list
}

// tiers drops what is no tracker URL, duplicates, what is too much, and the tiers
// that are empty then.
func tiers(list [][]string) [][]string {
	f := urlFilter{schemes: []string{"http", "https", "udp"}}
	var out [][]string
	for _, tier := range list {
		if tier = f.filter(tier); len(tier) > 0 {
			out = append(out, tier)
		}
	}
	return out
}

func urlList(v bencode.Value) []string {
	f := urlFilter{schemes: []string{"http", "https"}}
	return f.filter(stringList(v))
}

// urlFilter lets every URL of certain schemes through once.
type urlFilter struct {
	schemes []string
	seen    map[string]bool
}

func (f *urlFilter) filter(urls []string) []string {
	var out []string
	for _, u := range urls {
		u = strings.TrimSpace(u)
		if f.seen[u] || len(f.seen) == maxURLs || !f.valid(u) {
			continue
		}
		if f.seen == nil {
			f.seen = map[string]bool{}
		}
		f.seen[u] = true
		out = append(out, u)
	}
	return out
}

func (f *urlFilter) valid(u string) bool {
	if len(u) > maxURLLen || printable(u) != u || strings.Contains(u, "\n") {
		return false
	}
	scheme, rest, ok := strings.Cut(u, "://")
	if !ok || rest == "" || rest[0] == '/' {
		return false
	}
	for _, s := range f.schemes {
		if strings.EqualFold(s, scheme) {
			return true
		}
	}
	return false
}

// nodes reads BEP 5's list of [host, port].
func nodes(v bencode.Value) []string {
	var out []string
	for node := range v.Items() {
		var pair []bencode.Value
		for item := range node.Items() {
			pair = append(pair, item)
		}
		if len(pair) != 2 {
			continue
		}
		host := text(pair[0])
		port, _ := pair[1].Int()
		if validHost(host) && port > 0 && port < 1<<16 && len(out) < maxURLs {
			out = append(out, hostPort(host, port))
		}
	}
	return out
}

// validHost reports whether s looks like a host name or an IP address.
func validHost(s string) bool {
	return s != "" && len(s) <= 253 && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune(`/\[]@?#"'`, r)
	})
}

func hostPort(host string, port int64) string {
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + strconv.FormatInt(port, 10)
}

// date reads a creation date: seconds since 1970 (BEP 3), or milliseconds, which
// some programs write. No date is told from the other by the year 5138.
func date(v bencode.Value) time.Time {
	const firstMilliseconds = 100_000_000_000
	n, ok := v.Int()
	if n >= firstMilliseconds {
		n /= 1000
	}
	if !ok || n <= 0 || n >= firstMilliseconds {
		return time.Time{}
	}
	return time.Unix(n, 0)
}
