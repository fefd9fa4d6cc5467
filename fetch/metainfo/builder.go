package metainfo

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/qqbtfs/qqbtfs/cache/merkle"
	"github.com/qqbtfs/qqbtfs/peerconn/bencode"
)

// Builder makes .torrent files. The same input gives the same bytes, so the same
// info-hash.
type Builder struct {
	V1, V2      bool       // versions that the torrent has, both for a hybrid; neither means V1
	Name        string     // of the file, or of the directory
	PieceLength int64      // bytes; zero: AutoPieceLength of the total
	Private     bool       // peers may come from the trackers only (BEP 27)
	Trackers    [][]string // announce URLs by tier (BEP 12)
	WebSeeds    []string   // BEP 19
	Comment     string
	CreatedBy   string
	Created     time.Time // zero: left out
}

// SourceFile is a file to publish.
type SourceFile struct {
	Path   []string // relative to the directory Name; ignored for a single file
	Length int64    // bytes
	Exec   bool
	// Layer is the piece layer of the file (BEP 52), for a file of one piece its
	// root; only for V2.
	Layer []merkle.Hash
}

// SortFiles puts files in the order in which Build wants them and in which their
// content is hashed: by path, component by component.
func SortFiles(files []SourceFile) {
	slices.SortFunc(files, func(a, b SourceFile) int { return slices.Compare(a.Path, b.Path) })
}

// AutoPieceLength returns the piece length for total bytes of content: a power of
// two from 16 KiB to 16 MiB. It aims at 4,096 pieces at most: a read waits for
// whole pieces, so they should be small, but each costs 20 bytes of metainfo.
func AutoPieceLength(total int64) int64 {
	const least, most, pieces = 16 << 10, 16 << 20, 4096
	n := int64(least)
	for n < most && total > n*pieces {
		n *= 2
	}
	return n
}

// Build returns the .torrent file of files, which SortFiles has sorted: of the one
// file called Name if single, else of a directory. Pieces is the SHA-1 of every
// piece, for V1: of PieceLength bytes of the files one behind the other, or, where V2
// lets each begin with a piece, with zeros up to that. The result has passed Parse.
func (b Builder) Build(files []SourceFile, single bool, pieces []byte) ([]byte, error) {
	if single && len(files) != 1 {
		return nil, errorf("files", "%d of them in a single-file torrent", len(files))
	}
	if !slices.IsSortedFunc(files, func(a, b SourceFile) int { return slices.Compare(a.Path, b.Path) }) {
		panic("BUG: metainfo: files to build from are not sorted")
	}
	b.V1 = b.V1 || !b.V2
	b.setPieceLength(files)
	info := b.info(files, single, pieces)
	outer := b.outer(info)
	if b.V2 {
		layers := b.v2(files, single, &info)
		outer.Info, outer.PieceLayers = info, &layers
	}
	out, err := bencode.Marshal(outer)
	if err != nil {
		return nil, fmt.Errorf("metainfo: build: %w", err)
	}
	if len(out) > MaxFileSize {
		return nil, errorf("piece length", "%d is too small: the torrent has %d bytes, at most %d are allowed", info.PieceLength, len(out), MaxFileSize)
	}
	if err := b.check(out); err != nil {
		return nil, err
	}
	return out, nil
}

// check parses the result and compares it with what was asked for.
func (b Builder) check(out []byte) error {
	m, err := Parse(out)
	if err != nil {
		return err
	}
	if m.Info.Name != b.Name {
		return errorf("name", "other clients would change %q to %q", b.Name, m.Info.Name)
	}
	kept := slices.Concat(m.URLList, slices.Concat(m.Trackers...))
	for _, u := range slices.Concat(b.WebSeeds, slices.Concat(b.Trackers...)) {
		if !slices.Contains(kept, u) {
			return errorf("URL", "%q is no tracker or web seed that can be used", u)
		}
	}
	return nil
}

// builtInfo and builtFile are dictionaries as they are written.
type builtInfo struct {
	Files       []builtFile    `bencode:"files,omitempty"`
	FileTree    map[string]any `bencode:"file tree,omitempty"`
	Attr        string         `bencode:"attr,omitempty"`
	Length      *int64         `bencode:"length,omitempty"`
	MetaVersion int            `bencode:"meta version,omitempty"`
	Name        string         `bencode:"name"`
	PieceLength int64          `bencode:"piece length"`
	Pieces      *[]byte        `bencode:"pieces,omitempty"`
	Private     int            `bencode:"private,omitempty"`
}

type builtFile struct {
	Attr   string   `bencode:"attr,omitempty"`
	Length int64    `bencode:"length"`
	Path   []string `bencode:"path"`
}

// setPieceLength chooses the piece length if none is given.
func (b *Builder) setPieceLength(files []SourceFile) {
	var total int64
	for _, f := range files {
		total += f.Length
	}
	if b.PieceLength == 0 {
		b.PieceLength = AutoPieceLength(total)
	}
}

// info returns what is not of v2 in the info dictionary.
func (b Builder) info(files []SourceFile, single bool, pieces []byte) builtInfo {
	info := builtInfo{Name: b.Name, PieceLength: b.PieceLength}
	if b.Private {
		info.Private = 1
	}
	switch {
	case !b.V1:
		return info
	case single:
		info.Length, info.Attr = &files[0].Length, files[0].attr()
	default:
		info.Files = b.fileList(files)
	}
	info.Pieces = &pieces
	return info
}

// fileList returns "files", in a hybrid with the padding before each that does not
// begin with a piece else (BEP 47, BEP 52).
func (b Builder) fileList(files []SourceFile) []builtFile {
	var list []builtFile
	var offset int64
	for _, f := range files {
		if gap := -offset & (b.PieceLength - 1); b.V2 && f.Length > 0 && gap > 0 {
			list = append(list, builtFile{"p", gap, []string{".pad", strconv.FormatInt(gap, 10)}})
			offset += gap
		}
		list = append(list, builtFile{f.attr(), f.Length, f.Path})
		offset += f.Length
	}
	return list
}

func (f SourceFile) attr() string {
	if f.Exec {
		return "x"
	}
	return ""
}

// v2 puts the file tree into info and returns the piece layers, by root.
func (b Builder) v2(files []SourceFile, single bool, info *builtInfo) map[string][]byte {
	layers := map[string][]byte{}
	info.MetaVersion, info.FileTree = 2, map[string]any{}
	for _, f := range files {
		leaf := map[string]any{"length": f.Length}
		if f.Exec {
			leaf["attr"] = "x"
		}
		if f.Length > 0 {
			root, layer := f.root(b.PieceLength)
			leaf["pieces root"] = root
			if f.Length > b.PieceLength {
				layers[root] = layer
			}
		}
		path := f.Path
		if single {
			path = []string{b.Name}
		}
		insert(info.FileTree, path, leaf)
	}
	return layers
}

// root returns the root of a file's tree, and its piece layer as it is written.
func (f SourceFile) root(pieceLength int64) (root string, layer []byte) {
	height := merkle.Height(merkle.Blocks(min(f.Length, pieceLength)))
	above := merkle.Height(merkle.Blocks(f.Length)) - height
	if len(f.Layer) > 1<<above {
		above = merkle.Height(int64(len(f.Layer))) // does not fit: Parse will say so
	}
	for _, h := range f.Layer {
		layer = append(layer, h[:]...)
	}
	h := merkle.Root(f.Layer, height, above)
	return string(h[:]), layer
}

// insert puts the leaf of a file into a file tree.
func insert(tree map[string]any, path []string, leaf map[string]any) {
	for _, c := range path {
		dir, ok := tree[c].(map[string]any)
		if !ok {
			dir = map[string]any{}
			tree[c] = dir
		}
		tree = dir
	}
	tree[""] = leaf
}

type builtTorrent struct {
	Announce     string     `bencode:"announce,omitempty"`
	AnnounceList [][]string `bencode:"announce-list,omitempty"`
	Comment      string     `bencode:"comment,omitempty"`
	CreatedBy    string     `bencode:"created by,omitempty"`
	CreationDate int64      `bencode:"creation date,omitempty"`
	Info         builtInfo  `bencode:"info"`
	URLList      []string   `bencode:"url-list,omitempty"`

	PieceLayers *map[string][]byte `bencode:"piece layers,omitempty"` // there in v2, if only empty
}

// outer puts the info dictionary into a torrent. One tracker needs no tiers.
func (b Builder) outer(info builtInfo) builtTorrent {
	t := builtTorrent{Comment: b.Comment, CreatedBy: b.CreatedBy, Info: info, URLList: b.WebSeeds}
	if !b.Created.IsZero() {
		t.CreationDate = b.Created.Unix()
	}
	if all := slices.Concat(b.Trackers...); len(all) > 0 {
		t.Announce = all[0]
		if len(all) > 1 {
			t.AnnounceList = b.Trackers
		}
	}
	return t
}
