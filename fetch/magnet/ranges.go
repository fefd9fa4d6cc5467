package magnet

import (
	"slices"
	"strconv"
	"strings"
)

// addFiles takes the files of so (BEP 53): "0,2,4,6-8". What is malformed is left out.
func (l *Link) addFiles(s string) {
	var all []Range
	for _, part := range strings.Split(s, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		a, errA := strconv.ParseUint(strings.TrimSpace(first), 10, 31)
		z, errZ := strconv.ParseUint(strings.TrimSpace(last), 10, 31)
		if errA == nil && errZ == nil && a <= z && len(all) < maxFiles {
			all = append(all, Range{int(a), int(z)})
		} else {
			l.leaveOut("so", part)
		}
	}
	l.Files = merge(all)
}

// merge sorts ranges and joins those that touch.
func merge(all []Range) []Range {
	slices.SortFunc(all, func(a, b Range) int { return a.First - b.First })
	out := all[:0]
	for _, r := range all {
		if n := len(out); n > 0 && r.First <= out[n-1].Last+1 {
			out[n-1].Last = max(out[n-1].Last, r.Last)
		} else {
			out = append(out, r)
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

func formatRanges(all []Range) string {
	parts := make([]string, len(all))
	for i, r := range all {
		if parts[i] = strconv.Itoa(r.First); r.Last > r.First {
			parts[i] += "-" + strconv.Itoa(r.Last)
		}
	}
	return strings.Join(parts, ",")
}

// Wants reports whether the link asks for file i.
func (l Link) Wants(i int) bool {
	return l.Files == nil || slices.ContainsFunc(l.Files, func(r Range) bool { return r.First <= i && i <= r.Last })
}
