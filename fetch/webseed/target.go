package webseed

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/qqbtfs/qqbtfs/fetch/tracker"
)

// target returns the URL of thing i, or for BEP 17 of n bytes of it from off on.
func (s *Seed) target(i int, off, n int64) *url.URL {
	u := *s.base
	if s.cfg.Pieces {
		q := fmt.Sprintf("info_hash=%s&piece=%d&ranges=%d-%d", tracker.Escape(string(s.cfg.InfoHash[:])), i, off, off+n-1)
		if u.RawQuery != "" {
			q = u.RawQuery + "&" + q
		}
		u.RawQuery = q
		return &u
	}
	path := u.EscapedPath()
	switch {
	case s.cfg.Dir:
		// BEP 19: "In the case of multi-file torrents, the 'url-list' must be a root folder
		// where a client could add the same 'name' and 'path/file' to create the URL".
		path = strings.TrimSuffix(path, "/") + "/" + tracker.Escape(s.cfg.Name)
		for _, c := range s.cfg.Files[i].Path {
			path += "/" + tracker.Escape(c)
		}
	case path == "" || strings.HasSuffix(path, "/"):
		// BEP 19: "If the 'url-list' URL ends in a slash, '/', the client must add the 'name'
		// from the torrent to make the full URL".
		path = strings.TrimSuffix(path, "/") + "/" + tracker.Escape(s.cfg.Name)
	}
	u.RawPath = path
	u.Path, _ = url.PathUnescape(path) // which is escaped well: so it was, or we did it
	return &u
}
