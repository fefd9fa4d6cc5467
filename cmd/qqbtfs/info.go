package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/qqbtfs/qqbtfs/cmd/qqbtfs/config"
	"github.com/qqbtfs/qqbtfs/fetch/metainfo"
	"github.com/qqbtfs/qqbtfs/fetch/tracker"
)

func (a *app) infoCmd() *cobra.Command {
	asJSON := false
	var net netFlags
	limit := config.Duration(2 * time.Minute)
	cmd := &cobra.Command{
		Use:   "info [flags] SOURCE",
		Short: "Show what is in a torrent",
		Long: `Show what is in a torrent. What a magnet link names is fetched from its swarm, and kept
for a mount.`,
		Args:              sourceArg,
		ValidArgsFunction: completeTorrents,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := net.check(a.log.Logger); err != nil {
				return err
			}
			l, err := a.load(cmd.Context(), net.policy, args[0])
			if err != nil {
				return err
			}
			if err := a.fetchMetadata(cmd.Context(), &net, l, time.Duration(limit)); err != nil {
				return err
			}
			if asJSON {
				return printJSON(a.out, newTorrentInfo(l.meta))
			}
			return printInfo(a.out, newTorrentInfo(l.meta))
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().Var(&limit, "metadata-timeout", "give a magnet link up after that time (0: never)")
	net.register(cmd.Flags())
	net.complete(cmd)
	return cmd
}

// sourceArg is oneArg for a SOURCE.
func sourceArg(cmd *cobra.Command, args []string) error {
	return oneArg("SOURCE")(cmd, args)
}

func completeTorrents(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return []string{"torrent"}, cobra.ShellCompDirectiveFilterFileExt
}

// torrentInfo is what info prints. Sizes are in bytes.
type torrentInfo struct {
	Name        string     `json:"name"`
	Version     string     `json:"version"` // v1, v2 or hybrid
	InfoHash    string     `json:"info_hash,omitempty"`
	InfoHashV2  string     `json:"info_hash_v2,omitempty"`
	Size        int64      `json:"size"` // of the files
	PieceLength int64      `json:"piece_length"`
	Pieces      int        `json:"pieces"`
	Private     bool       `json:"private"`
	Directory   bool       `json:"directory"`
	Trackers    [][]string `json:"trackers"` // by tier
	WebSeeds    []string   `json:"web_seeds"`
	Comment     string     `json:"comment,omitempty"`
	CreatedBy   string     `json:"created_by,omitempty"`
	Created     time.Time  `json:"created,omitzero"`
	Files       []fileInfo `json:"files"`
}

type fileInfo struct {
	Path    string `json:"path"`
	Length  int64  `json:"length"`
	Exec    bool   `json:"executable,omitempty"`
	Symlink string `json:"symlink,omitempty"`
}

func newTorrentInfo(m *metainfo.MetaInfo) torrentInfo {
	t := torrentInfo{
		Name: m.Info.Name, Version: m.Version(),
		PieceLength: m.Info.PieceLength, Pieces: m.NumPieces(), Private: m.Info.Private, Directory: m.Info.Dir,
		Trackers: m.Trackers, WebSeeds: slices.Concat(m.URLList, m.HTTPSeeds),
		Comment: m.Comment, CreatedBy: m.CreatedBy, Created: m.Created,
	}
	if m.Info.HasV1 {
		t.InfoHash = fmt.Sprintf("%x", m.HashV1())
	}
	if m.Info.HasV2 {
		t.InfoHashV2 = fmt.Sprintf("%x", m.HashV2())
	}
	for _, f := range m.Info.Files {
		if f.Pad {
			continue
		}
		t.Size += f.Length
		t.Files = append(t.Files, fileInfo{strings.Join(f.Path, "/"), f.Length, f.Exec, strings.Join(f.Symlink, "/")})
	}
	return t
}

func printInfo(w io.Writer, t torrentInfo) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(tw, "%s\t%s\n", name, printable(value))
		}
	}
	row("name", t.Name)
	row("size", fmt.Sprintf("%s (%d bytes) in %s", formatBytes(t.Size), t.Size, plural(len(t.Files), "file")))
	if t.Pieces > 0 {
		row("pieces", fmt.Sprintf("%d of %s", t.Pieces, formatBytes(t.PieceLength)))
	}
	row("version", t.Version)
	row("info-hash", t.InfoHash)
	row("info-hash v2", t.InfoHashV2)
	row("private", yesNo(t.Private))
	if !t.Created.IsZero() {
		row("created", t.Created.UTC().Format("2006-01-02 15:04:05 UTC"))
	}
	row("created by", t.CreatedBy)
	row("comment", t.Comment)
	for i, tier := range t.Trackers {
		shown := make([]string, len(tier))
		for j, u := range tier {
			shown[j] = tracker.MaskURL(u)
		}
		row(fmt.Sprintf("trackers %d", i+1), strings.Join(shown, " "))
	}
	shown := make([]string, len(t.WebSeeds))
	for i, u := range t.WebSeeds {
		shown[i] = tracker.MaskURL(u)
	}
	row("web seeds", strings.Join(shown, " "))
	return errors.Join(tw.Flush(), printFiles(w, t))
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func printFiles(w io.Writer, t torrentInfo) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w)
	for _, f := range t.Files {
		path := f.Path
		if t.Directory {
			path = t.Name + "/" + path
		}
		if f.Symlink != "" {
			path += " -> " + t.Name + "/" + f.Symlink
		}
		if f.Exec {
			path += " *"
		}
		fmt.Fprintf(tw, "%d\t  %s\n", f.Length, printable(path))
	}
	return tw.Flush()
}
