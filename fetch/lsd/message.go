package lsd

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

const (
	// maxHashes bounds the torrents of one datagram that are believed.
	maxHashes = 64
	// hashesEach is how many torrents we put into one datagram: with the other lines
	// it stays below 1,400 bytes, as BEP 14 wants.
	hashesEach = 20
	maxCookie  = 64
	// maxDatagram is the longest that is looked at, in bytes.
	maxDatagram = 2048

	requestLine = "BT-SEARCH * HTTP/1.1"
)

// message is what a datagram says (BEP 14): a peer at this port takes part in these
// torrents. The address is that of the sender.
type message struct {
	host   string // the group, as Host names it
	port   uint16
	hashes [][20]byte
	cookie string // by which a sender knows its own messages; "": none
}

var errNotSearch = errors.New("lsd: not a BT-SEARCH")

// parse decodes a datagram. Headers that are not known are skipped, and so are
// info-hashes that are none and those past maxHashes. A message without a port or a
// torrent is an error.
func parse(b []byte) (message, error) {
	line, rest, ok := bytes.Cut(b, []byte("\n"))
	if !ok || strings.TrimRight(string(line), "\r") != requestLine {
		return message{}, errNotSearch
	}
	var m message
	for len(rest) > 0 {
		line, rest, _ = bytes.Cut(rest, []byte("\n"))
		name, value, ok := strings.Cut(string(line), ":")
		if !ok {
			continue
		}
		if err := m.header(strings.ToLower(name), strings.TrimSpace(value)); err != nil {
			return message{}, err
		}
	}
	if m.port == 0 || len(m.hashes) == 0 {
		return message{}, errors.New("lsd: no port or no torrent")
	}
	return m, nil
}

func (m *message) header(name, value string) error {
	switch name {
	case "host":
		m.host = value
	case "port":
		n, err := strconv.ParseUint(value, 10, 16)
		if err != nil {
			return fmt.Errorf("lsd: port: %w", err)
		}
		m.port = uint16(n)
	case "infohash":
		var h [20]byte
		if n, err := hex.Decode(h[:], []byte(value[:min(len(value), 40)])); err == nil && n == len(h) && len(value) == 40 && len(m.hashes) < maxHashes {
			m.hashes = append(m.hashes, h)
		}
	case "cookie":
		m.cookie = value[:min(len(value), maxCookie)]
	}
	return nil
}

// append appends the datagram to b.
func (m message) append(b []byte) []byte {
	b = fmt.Appendf(b, "%s\r\nHost: %s\r\nPort: %d\r\n", requestLine, m.host, m.port)
	for _, h := range m.hashes {
		b = fmt.Appendf(b, "Infohash: %x\r\n", h)
	}
	if m.cookie != "" {
		b = fmt.Appendf(b, "cookie: %s\r\n", m.cookie)
	}
	return append(b, "\r\n\r\n"...)
}
