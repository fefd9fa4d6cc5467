// Package wire encodes and decodes the BitTorrent peer wire protocol: the
// handshake and the messages of BEP 3, BEP 5 (port), BEP 6 (fast extension), BEP 10
// (extended) and BEP 52 (hashes).
//
// It checks what can be checked without knowing the torrent: every length
// before anything is allocated. It keeps no state.
package wire
