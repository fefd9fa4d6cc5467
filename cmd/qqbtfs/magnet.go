package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/qqbtfs/qqbtfs/fetch"
	"github.com/qqbtfs/qqbtfs/fetch/magnet"
	"github.com/qqbtfs/qqbtfs/fetch/metainfo"
	"github.com/qqbtfs/qqbtfs/fetch/tracker"
)

// loadMagnet reads a magnet link. What it names is in the metadata that was kept, or has
// to be fetched.
func loadMagnet(s string) (*loaded, error) {
	link, err := magnet.Parse(s)
	if err != nil {
		return nil, failf(codeSource, "%s: %w%s", shownSource(s), err, ampersandHint(s))
	}
	return &loaded{source: s, link: &link}, nil
}

// warnUnusable tells what of a magnet link is no help.
func (a *app) warnUnusable(link magnet.Link) {
	list := link.Unusable
	for _, u := range link.Trackers {
		if len(metainfo.Trackers([]string{u})) == 0 {
			list = append(list, "tr="+tracker.MaskURL(u))
		}
	}
	for _, u := range link.WebSeeds {
		if len(metainfo.WebSeeds([]string{u})) == 0 {
			list = append(list, "ws="+tracker.MaskURL(u))
		}
	}
	for _, parameter := range list {
		a.log.Warn("a part of the magnet link cannot be used", "link", link.Bare(), "is", cut(parameter, 60))
	}
}

// magnetOf is a magnet link to a torrent.
func magnetOf(m *metainfo.MetaInfo) magnet.Link {
	return magnet.Link{
		HashV1: m.HashV1(), HasV1: m.Info.HasV1, HashV2: m.HashV2(), HasV2: m.Info.HasV2,
		Name: m.Info.Name, Trackers: slices.Concat(m.Trackers...), WebSeeds: m.URLList,
	}
}

// shownMagnet is a magnet link without what may be secret: trackers have passkeys.
func shownMagnet(s string) string {
	if link, err := magnet.Parse(s); err == nil {
		return link.Bare()
	}
	for _, param := range strings.FieldsFunc(s, func(r rune) bool { return r == '?' || r == '&' }) {
		if strings.HasPrefix(param, "xt=") {
			return magnet.Scheme + "?" + cut(printable(param), 60)
		}
	}
	return magnet.Scheme + "?…"
}

// setMeta completes a torrent that came as a magnet link.
func (l *loaded) setMeta(m *metainfo.MetaInfo) { l.meta, l.raw = m, m.Torrent() }

// selects reports which files the link asks for (BEP 53); nil: all.
func (l *loaded) selects() func(file int) bool {
	if l.link == nil || l.link.Files == nil {
		return nil
	}
	return l.link.Wants
}

// selected is the files that the link asks for, by their index in the metainfo; nil: all.
// It is an error if there are none.
func (l *loaded) selected() (files []int, err error) {
	wants := l.selects()
	if wants == nil {
		return nil, nil
	}
	for i, f := range l.meta.Info.Files {
		if !f.Pad && wants(i) {
			files = append(files, i)
		}
	}
	if len(files) == 0 {
		return nil, failf(codeSource, "%s: the link asks for no file of %s: so counts from 0 to %d, padding files included",
			shownSource(l.source), l.meta.Info.Name, len(l.meta.Info.Files)-1)
	}
	return files, nil
}

// search begins to fetch the metadata of a magnet link.
func (n *node) search(l *loaded) (err error) {
	if l.pending, err = n.sess.AddMagnet(fetch.MagnetConfig{Link: *l.link, Peers: n.peers}); err != nil {
		return fmt.Errorf("%s: %w", shownSource(l.source), err)
	}
	n.a.log.Info("fetching metadata", "link", l.link.Bare(), "name", l.link.Name)
	if len(l.link.Trackers)+len(l.link.Peers)+len(n.peers) == 0 {
		n.a.log.Warn("the magnet link names no tracker and no peer: "+n.otherWays()+ampersandHint(l.source), "link", l.link.Bare())
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.pending = append(n.pending, l)
	return nil
}

// otherWays says how peers are found that nobody names.
func (n *node) otherWays() string {
	switch dht, lsd := n.sess.DHT() != nil, n.net.lsd.Value == "on"; {
	case dht:
		return "asking the DHT"
	case lsd:
		return "asking the local network alone, for there is no DHT"
	default:
		return "waiting for peers to connect, for there is no DHT"
	}
}

// found returns when the metadata is here, and kept.
func (n *node) found(ctx context.Context, l *loaded) error {
	select {
	case <-l.pending.Found():
	case <-ctx.Done():
		why := "interrupted"
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			why = "gave up"
		}
		return failf(codeIncomplete, "%s before the metadata of %s was here: %s", why, shownSource(l.source), searchText(l))
	}
	m, err := l.pending.Meta()
	if err != nil {
		return failf(codeSource, "%s: %w", shownSource(l.source), err)
	}
	l.setMeta(m)
	n.a.keep(l)
	return nil
}

// searchText is how far the search for metadata is.
func searchText(l *loaded) string {
	return strings.TrimPrefix(l.pending.Status().State, "fetching metadata: ")
}

// fail leaves a torrent without files. The status says why.
func (n *node) fail(l *loaded, err error) {
	n.a.log.Error("the torrent cannot be shown", "link", l.link.Bare(), "err", err)
	n.mu.Lock()
	l.failed = err
	n.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	l.pending.Close(ctx)
}

// pendingStatus tells how those are that have no metadata.
func (n *node) pendingStatus(list []*loaded) []fetch.Status {
	n.mu.Lock()
	failed := make([]error, len(list))
	for i, l := range list {
		failed[i] = l.failed
	}
	n.mu.Unlock()
	out := make([]fetch.Status, len(list))
	for i, l := range list {
		out[i] = l.pending.Status()
		if failed[i] != nil {
			out[i].State = "no files: " + oneLine(failed[i])
		}
	}
	return out
}

// complete fetches the metadata of all torrents that lack it, and shows that.
func (n *node) complete(ctx context.Context, all ...*loaded) error {
	_, missing := split(all)
	for _, l := range missing {
		if err := n.search(l); err != nil {
			return err
		}
	}
	if len(missing) == 0 {
		return nil
	}
	shown, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.a.showProgress(shown, n.a.err, func() string { return progressText(n.status()) })
	}()
	defer func() { cancel(); <-done }()
	for _, l := range missing {
		if err := n.found(ctx, l); err != nil {
			return err
		}
	}
	return nil
}

// split takes the torrents whose metadata is not here off the others.
func split(all []*loaded) (known, missing []*loaded) {
	for _, l := range all {
		if l.meta == nil {
			missing = append(missing, l)
		} else {
			known = append(known, l)
		}
	}
	return known, missing
}

// fetchMetadata completes a torrent whose swarm is of no use beyond that. It gives up
// after a time; zero means never.
func (a *app) fetchMetadata(ctx context.Context, net *netFlags, l *loaded, limit time.Duration) error {
	if l.meta != nil {
		return nil
	}
	n, err := a.newNode(net, 0)
	if err != nil {
		return err
	}
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	err = n.complete(ctx, l)
	l.pending = nil // it ends with the node
	return errors.Join(err, n.close())
}
