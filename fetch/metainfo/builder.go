package metainfo

import (
	"fmt"
	"slices"
	"time"

	"github.com/qqbtfs/qqbtfs/peerconn/bencode"
)

// Builder makes .torrent files (v1). The same input gives the same bytes, so the
// same info-hash.
type Builder struct {
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
// PieceLength bytes of their content, one behind the other. The result has passed
// Parse.
func (b Builder) Build(files []SourceFile, single bool, pieces []byte) ([]byte, error) {
	if single && len(files) != 1 {
		return nil, errorf("files", "%d of them in a single-file torrent", len(files))
	}
	if !slices.IsSortedFunc(files, func(a, b SourceFile) int { return slices.Compare(a.Path, b.Path) }) {
		panic("BUG: metainfo: files to build from are not sorted")
	}
	info := b.info(files, single, pieces)
	out, err := bencode.Marshal(b.outer(info))
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
	Files       []builtFile `bencode:"files,omitempty"`
	Attr        string      `bencode:"attr,omitempty"`
	Length      *int64      `bencode:"length,omitempty"`
	Name        string      `bencode:"name"`
	PieceLength int64       `bencode:"piece length"`
	Pieces      []byte      `bencode:"pieces"`
	Private     int         `bencode:"private,omitempty"`
}

type builtFile struct {
	Attr   string   `bencode:"attr,omitempty"`
	Length int64    `bencode:"length"`
	Path   []string `bencode:"path"`
}

func (b Builder) info(files []SourceFile, single bool, pieces []byte) builtInfo {
	info := builtInfo{Name: b.Name, PieceLength: b.PieceLength, Pieces: pieces}
	if b.Private {
		info.Private = 1
	}
	var total int64
	for _, f := range files {
		total += f.Length
		attr := ""
		if f.Exec {
			attr = "x"
		}
		if single {
			info.Length, info.Attr = &f.Length, attr
			continue
		}
		info.Files = append(info.Files, builtFile{attr, f.Length, f.Path})
	}
	if info.PieceLength == 0 {
		info.PieceLength = AutoPieceLength(total)
	}
	return info
}

type builtTorrent struct {
	Announce     string     `bencode:"announce,omitempty"`
	AnnounceList [][]string `bencode:"announce-list,omitempty"`
	Comment      string     `bencode:"comment,omitempty"`
	CreatedBy    string     `bencode:"created by,omitempty"`
	CreationDate int64      `bencode:"creation date,omitempty"`
	Info         builtInfo  `bencode:"info"`
	URLList      []string   `bencode:"url-list,omitempty"`
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
