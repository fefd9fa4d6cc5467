package metainfo

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxComponent = 255 // bytes of a file name (NAME_MAX)
	maxExtension = 16  // bytes, with the dot, that a cut name keeps

	maxRawComponent = 4 << 10 // bytes of a raw name that are looked at
)

// component makes a safe file name of one component of a path: no separator and
// no NUL, which are dropped; valid UTF-8 without control, bidi and other
// invisible characters, which become an underscore; at most 255 bytes. Where
// nothing is left it is "_". It returns "" for "." and "..", which have no place
// in a path: they are skipped.
func component(raw string) string {
	switch {
	case isDots(raw):
		return ""
	case raw != "" && len(raw) <= maxComponent && !strings.ContainsFunc(raw, notPlain):
		return raw
	}
	if len(raw) > maxRawComponent {
		raw = raw[:maxRawComponent-maxExtension] + raw[len(raw)-maxExtension:]
	}
	var s strings.Builder
	for i, r := range raw {
		switch {
		case isSeparator(r):
		case invisible(r), r == utf8.RuneError && !strings.HasPrefix(raw[i:], string(r)):
			s.WriteByte('_')
		default:
			s.WriteRune(r)
		}
	}
	name := s.String()
	if name == "" || isDots(name) {
		return "_"
	}
	return shorten(name, "")
}

// notPlain reports whether r may have to go; it is quick to say no.
func notPlain(r rune) bool { return r < ' ' || r > '~' || isSeparator(r) }

func isSeparator(r rune) bool { return r == '/' || r == '\\' || r == 0 }

func isDots(s string) bool { return s == "." || s == ".." }

// invisible reports whether r cannot be seen or changes how others are seen.
func invisible(r rune) bool {
	if r <= '~' {
		return r < ' '
	}
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) || strings.ContainsRune(fillers, r)
}

// fillers are letters and marks without a shape.
const fillers = "\u034f\u115f\u1160\u3164\uffa0"

// shorten returns name with suffix put before its extension, and cut between two
// characters before that so that it fits in a file name.
func shorten(name, suffix string) string {
	if suffix == "" && len(name) <= maxComponent {
		return name
	}
	stem, ext := splitExt(name)
	room := maxComponent - len(suffix) - len(ext)
	if len(stem) > room {
		for !utf8.RuneStart(stem[room]) {
			room--
		}
		stem = stem[:room]
	}
	return stem + suffix + ext
}

// splitExt splits name before its extension, if it has one that is short.
func splitExt(name string) (stem, ext string) {
	if i := strings.LastIndexByte(name, '.'); i > 0 && len(name)-i <= maxExtension {
		return name[:i], name[i:]
	}
	return name, ""
}
