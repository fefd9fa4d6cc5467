// Package metainfo parses and validates .torrent files and the info dictionaries
// that peers send (BEP 3, 9, 12, 19, 27, 47, 52), and builds the former.
//
// Everything in a MetaInfo has been checked: sizes add up, there is one hash for
// every piece, and every path is safe to show and to create below a directory of
// one's choice. Two paths are never the same, none is the parent of another.
// Both kinds of input go through the same validator.
//
// It reads no files, resolves no names and does not hash content.
package metainfo

import (
	"crypto/sha1"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/qqbtfs/qqbtfs/cache/merkle"
	"github.com/qqbtfs/qqbtfs/peerconn/bencode"
)

// Largest inputs in bytes: a .torrent file, and an info dictionary from peers.
const (
	MaxFileSize = 10 << 20
	MaxInfoSize = 30 << 20
)

// maxPieceLength is the largest piece length in bytes that is accepted.
const maxPieceLength = 512 << 20

// Error says what in the metainfo is wrong, like "info.files[3].length", and why.
type Error struct{ What, Why string }

func (e *Error) Error() string { return "bad torrent: " + e.What + ": " + e.Why }

func errorf(what, format string, args ...any) error {
	return &Error{what, fmt.Sprintf(format, args...)}
}

// within says that err, an *Error, happened inside of what.
func within(what string, err error) error {
	inner := err.(*Error)
	return &Error{what + inner.What, inner.Why}
}

// MetaInfo is the content of a .torrent file.
type MetaInfo struct {
	InfoRaw []byte // the info dictionary, byte for byte as it was read
	Info    Info

	Trackers  [][]string // announce URLs by tier (BEP 12), http, https and udp only
	URLList   []string   // web seeds (BEP 19), http and https only
	HTTPSeeds []string   // web seeds (BEP 17), http and https only
	Nodes     []string   // DHT nodes as host:port (BEP 5)
	Comment   string     // printable, may have several lines
	CreatedBy string     // printable
	Created   time.Time  // zero: not said

	roots []merkle.Hash // of every v2 piece; zero: not known
}

// Info is the info dictionary.
type Info struct {
	Name        string // safe file name: of the file, or of the directory
	RawName     string // as in the torrent: any bytes, any length
	Dir         bool   // Files are in a directory Name; else the one file is Name
	PieceLength int64  // bytes of every piece but the last one, with v2 of every file
	Pieces      []byte // SHA-1 of each piece, 20 bytes each; v1 and hybrid
	Private     bool   // peers may come from the trackers only (BEP 27)
	Files       []File
	Total       int64 // bytes of all files, padding included
	HasV1       bool  // has piece hashes of BEP 3
	HasV2       bool  // has a file tree of BEP 52
	Source      string
}

// File is one file of the torrent, in the order of the stream.
type File struct {
	// Path is safe and unique; relative to the directory Name, or just Name. A
	// padding file's is neither unique nor to be shown.
	Path    []string
	RawPath []string // as in the torrent: any bytes, any length
	Length  int64    // bytes; of a symlink zero
	Offset  int64    // where it begins in the stream; with v2 a piece does there
	Pad     bool     // zeros that align the next file; never requested (BEP 47)
	Exec    bool     // is executable (BEP 47)

	Root merkle.Hash // of its tree of blocks (BEP 52, pieces root); v2 and hybrid

	// Symlink is the Path of the file, or of the directory that holds files, that
	// the symlink leads to (BEP 47). Nil: no symlink, or one that leads out of the
	// torrent, nowhere, or round in circles; it is an empty file then.
	Symlink []string
}

// Parse reads a .torrent file of at most MaxFileSize bytes. What stands behind
// its value is ignored, like other clients do. A v2 torrent may lack piece layers,
// see MissingLayers. Errors are a *Error or a *bencode.SyntaxError.
func Parse(b []byte) (*MetaInfo, error) {
	top, err := bencode.ParsePrefix(b, bencode.Limits{Size: MaxFileSize})
	if err != nil {
		return nil, err
	}
	if top.Kind() != bencode.Dict {
		return nil, wrongKind(top, bencode.Dict, "file")
	}
	m := &MetaInfo{}
	var info, layers bencode.Value
	var announce string
	for key, v := range top.Entries() {
		switch string(key) {
		case "info":
			info = v
		case "piece layers":
			layers = v
		case "announce":
			announce = text(v)
		default:
			m.set(string(key), v)
		}
	}
	if m.Trackers == nil {
		m.Trackers = tiers([][]string{{announce}})
	}
	m.InfoRaw = append([]byte(nil), info.Raw()...)
	if m.Info, err = ParseInfo(m.InfoRaw); err != nil {
		return nil, err
	}
	if err := m.readLayers(layers); err != nil {
		return nil, err
	}
	return m, nil
}

// set keeps the entry key of the outermost dictionary. None of these is needed to
// download, so what is malformed is left out.
func (m *MetaInfo) set(key string, v bencode.Value) {
	switch key {
	case "announce-list":
		m.Trackers = announceList(v)
	case "url-list":
		m.URLList = urlList(v)
	case "httpseeds":
		m.HTTPSeeds = urlList(v)
	case "nodes":
		m.Nodes = nodes(v)
	case "comment":
		m.Comment = printable(text(v))
	case "created by":
		m.CreatedBy = printable(text(v))
	case "creation date":
		m.Created = date(v)
	}
}

// HashV1 returns the v1 info-hash (BEP 3).
func (m *MetaInfo) HashV1() [sha1.Size]byte { return sha1.Sum(m.InfoRaw) }

// HashV2 returns the v2 info-hash (BEP 52). It means something if Info.HasV2.
func (m *MetaInfo) HashV2() [sha256.Size]byte { return sha256.Sum256(m.InfoRaw) }

// Hashes returns the info-hashes by which trackers and peers know the torrent, 20
// bytes each: v1's, then v2's, which is truncated (BEP 52, infohash). A hybrid has
// both.
func (m *MetaInfo) Hashes() [][20]byte {
	var out [][20]byte
	if m.Info.HasV1 {
		out = append(out, m.HashV1())
	}
	if m.Info.HasV2 {
		v2 := m.HashV2()
		out = append(out, [20]byte(v2[:]))
	}
	return out
}

// HashString returns the v1 info-hash in hexadecimal, of a v2 torrent the whole v2
// one.
func (m *MetaInfo) HashString() string {
	if m.Info.HasV1 {
		return fmt.Sprintf("%x", m.HashV1())
	}
	return fmt.Sprintf("%x", m.HashV2())
}

// Version returns "v1", "v2" or "hybrid".
func (m *MetaInfo) Version() string {
	switch i := &m.Info; {
	case i.HasV1 && i.HasV2:
		return "hybrid"
	case i.HasV2:
		return "v2"
	}
	return "v1"
}

// NumPieces returns the number of pieces, the same for v1 and v2.
func (m *MetaInfo) NumPieces() int {
	if m.Info.HasV1 {
		return len(m.Info.Pieces) / sha1.Size
	}
	return countPieces(m.Info.Files, m.Info.PieceLength)
}

// PieceHash returns the SHA-1 of piece i, if Info.HasV1.
func (m *MetaInfo) PieceHash(i int) [sha1.Size]byte {
	return [sha1.Size]byte(m.Info.Pieces[i*sha1.Size:])
}
