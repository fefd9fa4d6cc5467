// Package blocklist answers whether an address is on a list of addresses that are not to
// be talked to.
//
// It reads the formats that such lists come in, mixed as they may be, one range a line:
//
//	Some Name:192.0.2.0-192.0.2.255                          P2P (PeerGuardian)
//	192.000.002.000 - 192.000.002.255 , 100 , Some Name      DAT (eMule)
//	192.0.2.0/24                                             CIDR, or a single address
//
// IPv6 is known in all three. Lists of a million ranges are usual, so a List is two
// sorted arrays of the bounds, and an answer is a binary search.
package blocklist

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// A List is a set of addresses. nil is the empty one.
type List struct {
	v4 []span[[4]byte]
	v6 []span[[16]byte]
	// Skipped is how many lines could not be understood.
	Skipped int
}

// span is from first to last, both in it.
type span[A [4]byte | [16]byte] struct{ first, last A }

const (
	// maxSize bounds what a list may unpack to, in bytes.
	maxSize = 1 << 30
	maxLine = 4 << 10
	// allowed is the level of access in DAT from which on a range is not blocked.
	allowed = 128
)

// Parse reads a list, gzipped or not. Lines that it does not understand are skipped; if
// there is nothing else it is an error.
func Parse(r io.Reader) (*List, error) {
	br := bufio.NewReaderSize(r, maxLine)
	if magic, _ := br.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(br)
		if err != nil {
			return nil, fmt.Errorf("blocklist: %w", err)
		}
		defer z.Close()
		br = bufio.NewReaderSize(&io.LimitedReader{R: z, N: maxSize}, maxLine)
	}
	l := &List{}
	if err := l.read(br); err != nil {
		return nil, fmt.Errorf("blocklist: %w", err)
	}
	if l.Len() == 0 && l.Skipped > 0 {
		return nil, errors.New("blocklist: no line of it is P2P, DAT or CIDR")
	}
	l.v4, l.v6 = merge(l.v4), merge(l.v6)
	return l, nil
}

func (l *List) read(br *bufio.Reader) error {
	for {
		line, err := br.ReadSlice('\n')
		if err == bufio.ErrBufferFull {
			l.Skipped++
			for err == bufio.ErrBufferFull {
				_, err = br.ReadSlice('\n')
			}
		} else {
			l.add(string(bytes.TrimSpace(line)))
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// add takes in a line.
func (l *List) add(line string) {
	if line == "" || line[0] == '#' || line[0] == ';' || strings.HasPrefix(line, "//") {
		return
	}
	first, last, blocked, ok := parseLine(line)
	switch {
	case !ok || first.Is4() != last.Is4() || last.Less(first):
		l.Skipped++
	case !blocked:
	case first.Is4():
		l.v4 = append(l.v4, span[[4]byte]{first.As4(), last.As4()})
	default:
		l.v6 = append(l.v6, span[[16]byte]{first.As16(), last.As16()})
	}
}

func parseLine(line string) (first, last netip.Addr, blocked, ok bool) {
	if first, last, ok = parseCIDR(line); ok {
		return first, last, true, true
	}
	if addrs, rest, found := strings.Cut(line, ","); found {
		if first, last, ok = parseRange(addrs); ok {
			level, _, _ := strings.Cut(rest, ",")
			n, err := strconv.Atoi(strings.TrimSpace(level))
			return first, last, err != nil || n < allowed, true
		}
	}
	// A name may have colons in it, and so has IPv6: the longest that is a range counts.
	for rest, more := line, true; more; {
		if first, last, ok = parseRange(rest); ok {
			return first, last, true, true
		}
		_, rest, more = strings.Cut(rest, ":")
	}
	return first, last, false, false
}

// parseCIDR reads a prefix or an address, and ignores a comment behind it.
func parseCIDR(s string) (first, last netip.Addr, ok bool) {
	s, _, _ = strings.Cut(s, "#")
	s = strings.TrimSpace(s)
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return a.Unmap(), a.Unmap(), true
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return first, last, false
	}
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked().Addr(), lastOf(p), true
}

func lastOf(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < 8*len(b); i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// parseRange reads FIRST-LAST.
func parseRange(s string) (first, last netip.Addr, ok bool) {
	from, to, found := strings.Cut(s, "-")
	if !found {
		return first, last, false
	}
	first, ok1 := parseAddr(from)
	last, ok2 := parseAddr(to)
	return first, last, ok1 && ok2
}

// parseAddr knows the leading zeros of DAT.
func parseAddr(s string) (netip.Addr, bool) {
	s = strings.TrimSpace(s)
	if a, err := netip.ParseAddr(s); err == nil {
		return a.Unmap(), a.Zone() == ""
	}
	parts := strings.Split(s, ".")
	if len(parts) != 4 {
		return netip.Addr{}, false
	}
	var b [4]byte
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 10, 8)
		if err != nil || len(p) > 3 {
			return netip.Addr{}, false
		}
		b[i] = byte(n)
	}
	return netip.AddrFrom4(b), true
}

// merge sorts the spans and joins those that overlap.
func merge[A [4]byte | [16]byte](spans []span[A]) []span[A] {
	slices.SortFunc(spans, func(a, b span[A]) int { return compare(a.first, b.first) })
	out := spans[:0]
	for _, s := range spans {
		if n := len(out); n > 0 && compare(s.first, out[n-1].last) <= 0 {
			if compare(s.last, out[n-1].last) > 0 {
				out[n-1].last = s.last
			}
			continue
		}
		out = append(out, s)
	}
	return slices.Clip(out)
}

func compare[A [4]byte | [16]byte](a, b A) int {
	for i := range len(a) {
		if c := cmp.Compare(a[i], b[i]); c != 0 {
			return c
		}
	}
	return 0
}

// Has reports whether a is on the list.
func (l *List) Has(a netip.Addr) bool {
	switch a = a.Unmap(); {
	case l == nil || !a.IsValid():
		return false
	case a.Is4():
		return has(l.v4, a.As4())
	default:
		return has(l.v6, a.As16())
	}
}

func has[A [4]byte | [16]byte](spans []span[A], a A) bool {
	i, found := slices.BinarySearchFunc(spans, a, func(s span[A], a A) int { return compare(s.first, a) })
	return found || i > 0 && compare(a, spans[i-1].last) <= 0
}

// Len is the number of ranges.
func (l *List) Len() int {
	if l == nil {
		return 0
	}
	return len(l.v4) + len(l.v6)
}
