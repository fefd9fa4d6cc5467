package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/qqbtfs/qqbtfs/cmd/qqbtfs/config"
	"github.com/qqbtfs/qqbtfs/fetch/metainfo"
	"github.com/spf13/cobra"
)

func (a *app) createCmd() *cobra.Command {
	c := &creating{a: a}
	cmd := &cobra.Command{
		Use:   "create [flags] PATH -o FILE.torrent",
		Short: "Make a torrent of a file or a directory",
		Args:  oneArg("PATH"),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveDefault
		},
		RunE: func(cmd *cobra.Command, args []string) error { return c.main(cmd.Context(), args[0]) },
	}
	fs := cmd.Flags()
	fs.VarP(&c.output, "output", "o", "the .torrent file to write (default: named after PATH, here)")
	fs.StringArrayVar(&c.trackers, "tracker", nil, "announce URL, repeatable; each is tried beside the others")
	fs.StringArrayVar(&c.webSeeds, "web-seed", nil, "http(s) URL of the same content, repeatable")
	fs.Var(&c.pieceLength, "piece-length", "a power of two from 16KiB to 64MiB (default: by the size of the content)")
	fs.BoolVar(&c.v1, "v1", false, "a torrent of BitTorrent v1, which every client can read (default)")
	fs.BoolVar(&c.v2, "v2", false, "a torrent of BitTorrent v2, of which 16 KiB can be checked and read at a time")
	fs.BoolVar(&c.hybrid, "hybrid", false, "a torrent of both versions, in which every file begins with a piece")
	fs.BoolVar(&c.private, "private", false, "peers come from the trackers only")
	fs.StringVar(&c.comment, "comment", "", "a comment for people")
	fs.BoolVar(&c.force, "force", false, "replace the .torrent file if it exists")
	return cmd
}

// creating is one run of the create command.
type creating struct {
	a                  *app
	output             config.Path
	trackers, webSeeds []string
	pieceLength        config.Size
	private, force     bool
	v1, v2, hybrid     bool
	comment            string
}

func (c *creating) main(ctx context.Context, path string) error {
	if err := c.checkFlags(); err != nil {
		return err
	}
	root, err := filepath.Abs(path)
	if err != nil {
		return fail(codeDisk, err)
	}
	name := filepath.Base(root)
	if name == "/" {
		return failf(codeUsage, "/ has no name to call a torrent by: give a directory in it")
	}
	if c.output == "" {
		c.output = config.Path(name + ".torrent")
	}
	if _, err := os.Lstat(string(c.output)); err == nil && !c.force {
		return failf(codeDisk, "%s exists already: choose another -o, or replace it with --force", c.output)
	}
	dir := filepath.Dir(string(c.output))
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return failf(codeDisk, "%s: the directory %s does not exist: create it first", c.output, dir)
	}
	src, err := c.collect(root)
	if err != nil {
		return err
	}
	return c.write(ctx, name, src)
}

func (c *creating) checkFlags() error {
	if n := c.pieceLength; n != 0 && (n&(n-1) != 0 || n < 16<<10 || n > 64<<20) {
		return failf(codeUsage, "--piece-length %s: must be a power of two from 16KiB to 64MiB", n.String())
	}
	switch {
	case c.v1 && c.v2:
		return failf(codeUsage, "--v1 and --v2: give --hybrid for both")
	case (c.v1 || c.v2) && c.hybrid:
		return failf(codeUsage, "--hybrid is both --v1 and --v2: give it alone")
	}
	if err := checkURLs("tracker", c.trackers, "http", "https", "udp"); err != nil {
		return err
	}
	return checkURLs("web-seed", c.webSeeds, "http", "https")
}

func checkURLs(flag string, urls []string, schemes ...string) error {
	for _, s := range urls {
		if u, err := url.Parse(s); err != nil || u.Host == "" || !slices.Contains(schemes, u.Scheme) {
			return failf(codeUsage, "--%s %s: not a URL of the form %s://HOST/…", flag, s, strings.Join(schemes, " or "))
		}
	}
	return nil
}

// sourceTree is what goes into a torrent.
type sourceTree struct {
	root   string
	single bool
	files  []metainfo.SourceFile // sorted
	total  int64                 // bytes
}

// path returns where file i lies.
func (t *sourceTree) path(i int) string {
	if t.single {
		return t.root
	}
	return filepath.Join(append([]string{t.root}, t.files[i].Path...)...)
}

// collect lists the regular files at root. What else lies there is left out, and
// said.
func (c *creating) collect(root string) (*sourceTree, error) {
	fi, err := os.Stat(root)
	if err != nil {
		return nil, failf(codeDisk, "%s: %w", root, bare(err))
	}
	t := &sourceTree{root: root}
	switch {
	case fi.Mode().IsRegular():
		t.single = true
		t.add(nil, fi)
	case fi.IsDir():
		if err := c.walk(t); err != nil {
			return nil, err
		}
	default:
		return nil, failf(codeDisk, "%s is neither a file nor a directory", root)
	}
	if t.total == 0 {
		return nil, failf(codeDisk, "%s: there is nothing in it to share", root)
	}
	metainfo.SortFiles(t.files)
	return t, nil
}

func (t *sourceTree) add(path []string, fi fs.FileInfo) {
	t.files = append(t.files, metainfo.SourceFile{Path: path, Length: fi.Size(), Exec: fi.Mode()&0o111 != 0})
	t.total += fi.Size()
}

func (c *creating) walk(t *sourceTree) error {
	output, _ := filepath.Abs(string(c.output))
	err := filepath.WalkDir(t.root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() || path == t.root || path == output:
			return nil
		case !d.Type().IsRegular():
			c.a.log.Warn("left out: not a regular file", "path", path)
			return nil
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(t.root, path)
		if err != nil {
			return err
		}
		t.add(strings.Split(rel, string(filepath.Separator)), fi)
		return nil
	})
	return fail(codeDisk, err)
}

// write hashes the content and writes the torrent.
func (c *creating) write(ctx context.Context, name string, t *sourceTree) error {
	if c.pieceLength == 0 {
		c.pieceLength = config.Size(metainfo.AutoPieceLength(t.total))
	}
	b := metainfo.Builder{
		V1: !c.v2, V2: c.v2 || c.hybrid,
		Name: name, PieceLength: int64(c.pieceLength), Private: c.private, WebSeeds: c.webSeeds,
		Comment: c.comment, CreatedBy: userAgent(), Created: time.Now().Truncate(time.Second),
	}
	for _, u := range c.trackers {
		b.Trackers = append(b.Trackers, []string{u})
	}
	h := newContentHash(t, b)
	if n := h.lay.NumPieces(); int64(n)*int64(h.perPiece()) > metainfo.MaxFileSize {
		return failf(codeUsage, "--piece-length %s makes %d pieces, too many for a torrent: choose a larger one", c.pieceLength.String(), n)
	}
	progress := newCounter()
	progress.set(0, t.total)
	err := c.a.runWithBars([]task{{"hashing " + name, progress.sample}}, func() error { return h.run(ctx, progress) })
	if err != nil {
		return err
	}
	out, err := b.Build(t.files, t.single, h.sums)
	if err != nil {
		return fail(codeSource, err)
	}
	mode := onlyNew
	if c.force {
		mode = replace
	}
	err = writeFile(string(c.output), out, 0o644, mode)
	if errors.Is(err, fs.ErrExist) {
		return failf(codeDisk, "%s exists already: choose another -o, or replace it with --force", c.output)
	}
	if err != nil {
		return failf(codeDisk, "%s: %w", c.output, bare(err))
	}
	m, err := metainfo.Parse(out)
	if err != nil {
		return fail(codeSource, err)
	}
	fmt.Fprintf(c.a.out, "%s  %s in %s, %s of %s\n", c.output, formatBytes(t.total),
		plural(len(t.files), "file"), plural(m.NumPieces(), "piece"), formatBytes(b.PieceLength))
	if b.V1 {
		fmt.Fprintf(c.a.out, "info-hash %x\n", m.HashV1())
	}
	if b.V2 {
		fmt.Fprintf(c.a.out, "info-hash v2 %x\n", m.HashV2())
	}
	if !c.private { // that it is, nobody knows who has only the link
		fmt.Fprintf(c.a.out, "%s\n", magnetOf(m))
	}
	return nil
}
