// Package tracker announces torrents to BitTorrent trackers over HTTP(S) and
// UDP and keeps doing it for as long as a torrent is open.
//
// Client makes one announce: BEP 3 with the compact and IPv6 peer lists of
// BEP 23 and 7, and BEP 15 with the URL data of BEP 41. A host with addresses
// of both families is asked over both. Announcer is one torrent's schedule over
// its tiers (BEP 12): all tiers at once, one working tracker in each.
//
// Whatever a tracker sends is hostile until parsed: sizes are bounded before
// anything is allocated, addresses that nobody can dial are dropped, and a URL
// from a torrent cannot be used to reach services of the local network (see
// admit). The package does not scrape and never dials a peer.
package tracker
