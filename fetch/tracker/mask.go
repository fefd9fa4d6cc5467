package tracker

import (
	"net/url"
	"slices"
	"strings"
)

const masked = "***"

// MaskURL returns u without what could be a user's secret: userinfo, the
// fragment, and path segments and query values that look like passkeys. Every
// URL in a log, a status or an error text goes through it. It hides too much
// rather than too little.
func MaskURL(u string) string {
	shown, _ := split(u)
	return shown
}

// maskText returns a text from the tracker at u without what MaskURL hides of u: some
// trackers repeat the passkey that they refuse.
func maskText(u, text string) string {
	_, hidden := split(u)
	slices.SortFunc(hidden, func(a, b string) int { return len(b) - len(a) }) // one may be part of another
	for _, secret := range hidden {
		text = strings.ReplaceAll(text, secret, masked)
		if plain, err := url.QueryUnescape(secret); err == nil && plain != "" {
			text = strings.ReplaceAll(text, plain, masked)
		}
	}
	return text
}

// split returns u as MaskURL shows it, and the parts of it that are hidden there.
func split(u string) (shown string, hidden []string) {
	p, err := url.Parse(u)
	if err != nil || p.Host == "" {
		return "(invalid URL)", nil
	}
	hide := func(secret string) string {
		if len(secret) >= 4 { // shorter ones would be found everywhere
			hidden = append(hidden, secret)
		}
		return masked
	}
	var b strings.Builder
	b.WriteString(p.Scheme + "://")
	if p.User != nil {
		hide(p.User.Username())
		if password, ok := p.User.Password(); ok {
			hide(password)
		}
		b.WriteString(masked + "@")
	}
	b.WriteString(p.Host)
	segments := strings.Split(p.EscapedPath(), "/")
	for i, s := range segments {
		if looksSecret(s) {
			segments[i] = hide(s)
		}
	}
	b.WriteString(strings.Join(segments, "/"))
	if p.RawQuery != "" {
		b.WriteString("?" + maskQuery(p.RawQuery, hide))
	}
	return Printable(b.String()), hidden
}

func maskQuery(q string, hide func(string) string) string {
	parts := strings.Split(q, "&")
	for i, part := range parts {
		name, value, found := strings.Cut(part, "=")
		switch {
		case looksSecret(name):
			hide(value)
			parts[i] = hide(name)
		case found && (secretName(name) || len(value) >= 8 || looksSecret(value)):
			parts[i] = name + "=" + hide(value)
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
