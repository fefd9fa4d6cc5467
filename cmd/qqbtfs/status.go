package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/qqbtfs/qqbtfs/cmd/qqbtfs/control"
	"github.com/qqbtfs/qqbtfs/fetch"
	"github.com/qqbtfs/qqbtfs/fetch/dht"
	"github.com/qqbtfs/qqbtfs/fetch/swarm"
	"github.com/qqbtfs/qqbtfs/fetch/tracker"
)

// askTimeout bounds the wait for a mount's status.
const askTimeout = 5 * time.Second

func (a *app) statusCmd() *cobra.Command {
	asJSON := false
	cmd := &cobra.Command{
		Use:   "status [MOUNTPOINT]",
		Short: "Tell what a mount is doing, or list all mounts",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return oneArg("MOUNTPOINT")(cmd, args)
		},
		ValidArgsFunction: a.completeMounts,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), askTimeout)
			defer cancel()
			if len(args) == 0 {
				return a.statusOfAll(ctx, asJSON)
			}
			return a.statusOfOne(ctx, args[0], asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) statusOfOne(ctx context.Context, mountpoint string, asJSON bool) error {
	path, err := realPath(mountpoint)
	if err != nil {
		return failf(codeNoMount, "%s: %w", mountpoint, err)
	}
	c, err := control.Dial(control.Dirs(string(a.common.cacheDir)), path)
	if errors.Is(err, control.ErrNone) {
		return failf(codeNoMount, "no live mount of yours at %s (see: qqbtfs status)", path)
	}
	if err != nil {
		return fail(codeFailure, err)
	}
	defer c.Close()
	var st mountStatus
	if err := c.Call(ctx, opStatus, &st); err != nil {
		return failf(codeFailure, "%s: %w", path, err)
	}
	if asJSON {
		return printJSON(a.out, st)
	}
	return printStatus(a.out, st, time.Now())
}

// statusOfAll asks every live mount of this user.
func (a *app) statusOfAll(ctx context.Context, asJSON bool) error {
	clients, err := control.All(control.Dirs(string(a.common.cacheDir)))
	errs := []error{err}
	all := []mountStatus{}
	for _, c := range clients {
		var st mountStatus
		if err := c.Call(ctx, opStatus, &st); err != nil {
			errs = append(errs, err)
		} else {
			all = append(all, st)
		}
		c.Close()
	}
	slices.SortFunc(all, func(x, y mountStatus) int { return strings.Compare(x.Mountpoint, y.Mountpoint) })
	if asJSON {
		errs = append(errs, printJSON(a.out, all))
	} else {
		errs = append(errs, printMounts(a.out, all))
	}
	return errors.Join(errs...)
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// printMounts lists mounts, a line for each torrent.
func printMounts(w io.Writer, all []mountStatus) error {
	if len(all) == 0 {
		_, err := fmt.Fprintln(w, "nothing is mounted")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "MOUNTPOINT\tTORRENT\tSIZE\tHAVE\tDOWN\tUP\tPEERS\tSTATE")
	for _, m := range all {
		for _, s := range m.Torrents {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\n", m.Mountpoint, printable(s.Name), orUnknown(s, formatBytes(s.Bytes)),
				orUnknown(s, percent(s.BytesHave, s.Bytes)), formatRate(s.DownRate), formatRate(s.UpRate), len(s.Peers), s.State)
		}
	}
	return t.Flush()
}

// orUnknown returns text, which is about pieces, unless there are none yet.
func orUnknown(s fetch.Status, text string) string {
	if s.Pieces == 0 {
		return "?"
	}
	return text
}

// printStatus tells everything about one mount.
func printStatus(w io.Writer, m mountStatus, now time.Time) error {
	fmt.Fprintf(w, "%s, mounted for %s by process %d, listening on %s\n",
		m.Mountpoint, formatDuration(now.Sub(m.Started)), m.PID, orNone(strings.Join(m.Listen, " ")))
	if m.LogFile != "" {
		fmt.Fprintf(w, "log %s\n", m.LogFile)
	}
	if m.DHT != nil {
		fmt.Fprintln(w, dhtText(*m.DHT))
	}
	for _, s := range m.Torrents {
		fmt.Fprintln(w)
		if err := printTorrent(w, s, now); err != nil {
			return err
		}
	}
	return nil
}

func dhtText(d dht.Status) string {
	s := fmt.Sprintf("DHT %s, UDP port %d", plural(d.Nodes, "node"), d.Port)
	if d.Port == 0 {
		s = fmt.Sprintf("DHT %s, no UDP at present", plural(d.Nodes, "node"))
	}
	if d.ReadOnly {
		s += ", read-only: nobody reaches us"
	}
	return s
}

func atMost(limit int64) string {
	if limit == 0 {
		return ""
	}
	return " of at most " + formatBytes(limit)
}

func orNone(s string) string {
	if s == "" {
		return "nothing"
	}
	return s
}

func printTorrent(w io.Writer, s fetch.Status, now time.Time) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "%s\n", printable(s.Name))
	row := func(name, format string, args ...any) {
		fmt.Fprintf(t, "  %s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	if s.Pieces == 0 { // its metadata is not here yet
		row("state", "%s", s.State)
		row("info-hash", "%s", s.InfoHash)
		trackerRows(row, s, now)
		row("peers", "%d known", s.KnownPeers)
		return t.Flush()
	}
	row("progress", "%s / %s (%s), %d / %d pieces%s", formatBytes(s.BytesHave), formatBytes(s.Bytes),
		percent(s.BytesHave, s.Bytes), s.PiecesHave, s.Pieces, left(s))
	row("state", "%s", s.State)
	for _, line := range moreWaiting(s) {
		row("", "%s", line)
	}
	row("down", "%s, %s in all, %s wasted", formatRate(s.DownRate), formatBytes(s.Downloaded), formatBytes(s.Wasted))
	up := fmt.Sprintf("%s, %s in all, ratio %.2f", formatRate(s.UpRate), formatBytes(s.Uploaded), s.Ratio)
	if s.UploadedBefore > 0 {
		up += " with " + formatBytes(s.UploadedBefore) + " before this mount"
	}
	if s.NotServing != "" {
		up += ": " + s.NotServing
	}
	row("up", "%s", up)
	row("hash failures", "%d, %s banned", s.HashFailures, plural(s.Banned, "peer"))
	row("cache", "%s: %s on disk%s, %s in memory", s.Cache.State, formatBytes(s.Cache.DiskBytes), atMost(s.Cache.DiskLimit), formatBytes(s.Cache.RAMBytes))
	row("", "read %s from memory, %s from disk; %s damaged",
		times(s.Cache.RAMHits), times(s.Cache.DiskHits), plural(int(s.Cache.Damaged), "piece"))
	if s.Blocked > 0 {
		row("blocklist", "%s turned away", times(s.Blocked))
	}
	row("info-hash", "%s", s.InfoHash)
	trackerRows(row, s, now)
	webSeedRows(row, s)
	row("peers", "%d connected, %d known%s", len(s.Peers), s.KnownPeers, knownFrom(s))
	if err := t.Flush(); err != nil || len(s.Peers) == 0 {
		return err
	}
	return printPeers(w, s.Peers)
}

// knownFrom says by whom peers are known.
func knownFrom(s fetch.Status) string {
	var parts []string
	for _, source := range slices.Sorted(maps.Keys(s.KnownFrom)) {
		parts = append(parts, fmt.Sprintf("%d %s", s.KnownFrom[source], source))
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

func trackerRows(row func(name, format string, args ...any), s fetch.Status, now time.Time) {
	row("trackers", "%d", len(s.Trackers))
	for _, tr := range s.Trackers {
		row("", "%s: %s", tr.URL, trackerText(tr, now))
	}
}

func webSeedRows(row func(name, format string, args ...any), s fetch.Status) {
	if len(s.WebSeeds) > 0 {
		row("web seeds", "%d", len(s.WebSeeds))
	}
	for _, web := range s.WebSeeds {
		row("", "%s: %s", printable(web.URL), webSeedText(web))
	}
}

// shownWaits is how many of the pieces that reads wait for are told to people.
const shownWaits = 3

// moreWaiting is what reads wait for beside what the state says.
func moreWaiting(s fetch.Status) []string {
	if len(s.Waiting) == 0 {
		return nil
	}
	var lines []string
	shown := s.Waiting[:min(len(s.Waiting), shownWaits)]
	for _, w := range shown[1:] {
		lines = append(lines, "waiting for "+w)
	}
	if n := s.Waits - len(shown); n > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", n))
	}
	return lines
}

// left says how long a download takes at its present rate. What is fetched only as it
// is read has no end.
func left(s fetch.Status) string {
	if !s.Filling {
		return ""
	}
	if d := remaining(s.Bytes-s.BytesHave, s.DownRate); d > 0 {
		return ", " + formatDuration(d) + " left"
	}
	return ""
}

func trackerText(tr tracker.Status, now time.Time) string {
	var parts []string
	switch {
	case tr.LastError != "":
		parts = append(parts, "failed: "+printable(tr.LastError))
	case tr.LastOK != "":
		parts = append(parts, printable(tr.LastOK))
	default:
		parts = append(parts, "not asked yet")
	}
	if tr.Announcing {
		parts = append(parts, "asking now")
	} else if d := tr.NextAnnounce.Sub(now); !tr.NextAnnounce.IsZero() && d > 0 {
		parts = append(parts, "next in "+formatDuration(d))
	}
	return strings.Join(parts, ", ")
}

func webSeedText(w fetch.WebSeedStatus) string {
	parts := []string{printable(w.State)}
	if w.InUse && w.Progress < 1 {
		parts = append(parts, "has "+share(w.Progress))
	}
	if w.InUse {
		parts = append(parts, formatRate(w.DownRate))
	}
	if w.Downloaded > 0 {
		parts = append(parts, formatBytes(w.Downloaded)+" in all")
	}
	return strings.Join(parts, ", ")
}

func printPeers(w io.Writer, peers []fetch.PeerStatus) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "  ADDRESS\tCLIENT\tHAS\tDOWN\tUP\tRTT\tNOTES")
	for _, p := range peers {
		fmt.Fprintf(t, "  %s\t%s\t%s\t%s\t%s\t%.0f ms\t%s\n", p.Addr, cut(printable(p.Client), 16), share(p.Progress),
			formatRate(p.DownRate), formatRate(p.UpRate), p.RTT, peerNotes(p))
	}
	return t.Flush()
}

// share writes a part of one in three digits.
func share(part float64) string {
	if part >= 1 {
		return "100%"
	}
	return fmt.Sprintf("%.1f%%", math.Floor(part*1000)/10)
}

// peerNotes says what is special about a peer; whom we connected to and who owes
// nothing has no notes.
func peerNotes(p fetch.PeerStatus) string {
	var notes []string
	for _, n := range []struct {
		is   bool
		text string
	}{
		{slices.Contains([]string{swarm.FromDHT, swarm.FromPEX, swarm.FromLSD}, p.Source), p.Source},
		{!p.Outgoing, "incoming"},
		{p.Encrypted, "encrypted"},
		{p.Choked, "chokes us"},
		{p.Snubbed, "silent"},
		{p.Owes > 0, fmt.Sprintf("owes %d", p.Owes)},
		{p.Unchoked && p.Interested, "takes"},
	} {
		if n.is {
			notes = append(notes, n.text)
		}
	}
	return strings.Join(notes, ", ")
}

// progressText is the state of all torrents in one line.
func progressText(all []fetch.Status) string {
	sum := fetch.Status{Filling: true}
	var first string
	waits, unknown := 0, 0
	peers := map[string]bool{}
	for _, s := range all {
		sum.Filling = sum.Filling && (s.Filling || s.Complete)
		sum.Bytes += s.Bytes
		sum.BytesHave += s.BytesHave
		sum.DownRate += s.DownRate
		sum.UpRate += s.UpRate
		if s.Pieces == 0 {
			unknown++
		}
		if waits += s.Waits; first == "" && len(s.Waiting) > 0 {
			first = s.Waiting[0]
		}
		for _, p := range s.Peers {
			peers[p.Addr] = true
		}
	}
	if unknown > 0 && unknown == len(all) {
		return progressName(all) + "  " + all[0].State
	}
	parts := []string{
		progressName(all), fmt.Sprintf("%s of %s", percent(sum.BytesHave, sum.Bytes), formatBytes(sum.Bytes)),
		"down " + formatRate(sum.DownRate), "up " + formatRate(sum.UpRate),
	}
	alone := len(all) == 1 && len(peers) == 0 // its state says so
	if !alone {
		parts = append(parts, plural(len(peers), "peer"))
	}
	if l := left(sum); l != "" {
		parts = append(parts, l[2:])
	}
	if unknown > 0 {
		parts = append(parts, "without metadata: "+plural(unknown, "torrent"))
	}
	switch {
	case waits > 1:
		parts = append(parts, fmt.Sprintf("%d pieces awaited, %s", waits, first))
	case waits == 1:
		parts = append(parts, "waiting for "+first)
	case alone:
		parts = append(parts, strings.TrimPrefix(all[0].State, "complete, "))
	}
	return strings.Join(parts, "  ")
}

func progressName(all []fetch.Status) string {
	if len(all) == 1 {
		return cut(printable(all[0].Name), 30)
	}
	return plural(len(all), "torrent")
}
