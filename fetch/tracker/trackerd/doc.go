// Package trackerd is a small BitTorrent tracker that keeps everything in
// memory: HTTP with compact peer lists (BEP 3, 7, 23), scrape (BEP 48) and UDP
// (BEP 15) on one port. It is for one machine or one team that publishes a
// torrent and wants no other software.
//
// A peer is stored under the address that its announce came from and no other,
// so nobody can enter a stranger. Peers expire, and the numbers of torrents
// and of peers are bounded. There is no access control and no persistence.
package trackerd
