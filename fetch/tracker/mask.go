package tracker

import (
	"net/url"
	"strings"
)

const masked = "***"

// MaskURL returns u without what could be a user's secret: userinfo, the
// fragment, and path segments and query values that look like passkeys. Every
// URL in a log, a status or an error text goes through it. It hides too much
// rather than too little.
func MaskURL(u string) string {
	p, err := url.Parse(u)
	if err != nil || p.Host == "" {
		return "(invalid URL)"
	}
	var b strings.Builder
	b.WriteString(p.Scheme + "://")
	if p.User != nil {
		b.WriteString(masked + "@")
	}
	b.WriteString(p.Host)
	segments := strings.Split(p.EscapedPath(), "/")
	for i, s := range segments {
		if looksSecret(s) {
			segments[i] = masked
		}
	}
	b.WriteString(strings.Join(segments, "/"))
	if p.RawQuery != "" {
		b.WriteString("?" + maskQuery(p.RawQuery))
	}
	return Printable(b.String())
}

func maskQuery(q string) string {
	parts := strings.Split(q, "&")
	for i, part := range parts {
		name, value, found := strings.Cut(part, "=")
		switch {
		case looksSecret(name):
			parts[i] = masked
		case found && (secretName(name) || len(value) >= 8 || looksSecret(value)):
			parts[i] = name + "=" + masked
		}
	}
	return strings.Join(parts, "&")
}

// secretName reports whether a query parameter of this name is a secret
// however short its value is.
func secretName(name string) bool {
	name = strings.ToLower(name)
	for _, s := range []string{"key", "pass", "auth", "token", "secret", "pid", "uid", "user", "sig"} {
		if strings.Contains(name, s) {
			return true
		}
	}
	return false
}

// looksSecret reports whether s could be a passkey: longer than a word, and
// with digits or longer than any word.
func looksSecret(s string) bool {
	return len(s) >= 24 || len(s) >= 8 && strings.ContainsAny(s, "0123456789")
}
