package metainfo

import (
	"crypto/sha1"
	"encoding/hex"
	"math"

	"github.com/qqbtfs/qqbtfs/peerconn/bencode"
)

// ParseInfo validates an encoded info dictionary of at most MaxInfoSize bytes.
// The Info shares raw. Errors are a *Error or a *bencode.SyntaxError.
func ParseInfo(raw []byte) (Info, error) {
	if len(raw) == 0 {
		return Info{}, errorf("info", "is missing")
	}
	v, err := bencode.Parse(raw, bencode.Limits{Size: MaxInfoSize})
	if err != nil {
		return Info{}, err
	}
	if v.Kind() != bencode.Dict {
		return Info{}, wrongKind(v, bencode.Dict, "info")
	}
	d := infoDict(v)
	if err := d.checkVersion(raw); err != nil {
		return Info{}, err
	}
	info, err := d.common(raw)
	if err != nil {
		return Info{}, err
	}
	if info.HasV1 {
		if err := d.v1(&info); err != nil {
			return Info{}, err
		}
	}
	if info.HasV2 {
		if err := d.v2(&info); err != nil {
			return Info{}, err
		}
	}
	return info, nil
}

// dict holds the entries of an info dictionary that are used.
type dict struct {
	name, nameUTF8      bencode.Value
	pieceLength, pieces bencode.Value
	length, files, attr bencode.Value
	private, source     bencode.Value
	metaVersion, tree   bencode.Value
}

func infoDict(v bencode.Value) *dict {
	d := &dict{}
	for key, v := range v.Entries() {
		switch string(key) {
		case "name":
			d.name = v
		case "name.utf-8":
			d.nameUTF8 = v
		case "piece length":
			d.pieceLength = v
		case "pieces":
			d.pieces = v
		case "length":
			d.length = v
		case "files":
			d.files = v
		case "attr":
			d.attr = v
		case "private":
			d.private = v
		case "source":
			d.source = v
		case "meta version":
			d.metaVersion = v
		case "file tree":
			d.tree = v
		}
	}
	return d
}

// checkVersion refuses what comes after v2, and a v2 dictionary that is not
// strictly sorted: its hash would not be what its parsed form hashes to.
func (d *dict) checkVersion(raw []byte) error {
	switch n, _ := d.metaVersion.Int(); n {
	case 0, 1:
		d.tree = bencode.Value{}
		return nil
	case 2:
		if d.tree.Kind() != bencode.Dict {
			return wrongKind(d.tree, bencode.Dict, "info.file tree")
		}
		return bencode.Check(raw, bencode.Limits{Size: MaxInfoSize, Sorted: true})
	default:
		return errorf("info.meta version", "%d is not known", n)
	}
}

// common reads what v1 and v2 share.
func (d *dict) common(raw []byte) (Info, error) {
	info := Info{
		HasV1:  d.pieces.Kind() != bencode.Absent,
		HasV2:  d.tree.Kind() != bencode.Absent,
		Source: printable(text(d.source)),
	}
	if n, ok := d.private.Int(); ok {
		info.Private = n != 0
	}
	if !info.HasV1 && !info.HasV2 {
		return Info{}, errorf("info.pieces", "is missing")
	}
	name, err := d.rawName()
	if err != nil {
		return Info{}, err
	}
	info.Name, info.RawName = component(name), name
	if info.Name == "" || info.Name == "_" && name != "_" { // nothing is left of it
		sum := sha1.Sum(raw)
		info.Name = hex.EncodeToString(sum[:])
	}
	info.PieceLength, err = d.readPieceLength(info.HasV2)
	return info, err
}

func (d *dict) rawName() (string, error) {
	for _, v := range []bencode.Value{d.nameUTF8, d.name} {
		if b, ok := v.Bytes(); ok {
			return string(b), nil
		}
	}
	return "", wrongKind(d.name, bencode.String, "info.name")
}

func (d *dict) readPieceLength(v2 bool) (int64, error) {
	const what = "info.piece length"
	n, err := integer(d.pieceLength, what)
	switch {
	case err != nil:
		return 0, err
	case n <= 0 || n > maxPieceLength:
		return 0, errorf(what, "%d is not between 1 and %d", n, maxPieceLength)
	case v2 && (n < 16<<10 || n&(n-1) != 0):
		return 0, errorf(what, "%d is no power of two of at least 16384", n)
	}
	return n, nil
}

// v1 reads files and piece hashes.
func (d *dict) v1(info *Info) error {
	if err := d.readFiles(info); err != nil {
		return err
	}
	if info.Total == 0 {
		return errorf("info.length", "there is no content")
	}
	pieces, ok := d.pieces.Bytes()
	switch want := (info.Total-1)/info.PieceLength + 1; {
	case !ok:
		return wrongKind(d.pieces, bencode.String, "info.pieces")
	case len(pieces)%sha1.Size != 0:
		return errorf("info.pieces", "%d bytes are no whole number of hashes", len(pieces))
	case int64(len(pieces)/sha1.Size) != want:
		return errorf("info.pieces", "%d hashes for %d pieces", len(pieces)/sha1.Size, want)
	}
	info.Pieces = pieces
	return nil
}

// readFiles reads "files", or else "length" (BEP 3: one of them is there).
func (d *dict) readFiles(info *Info) error {
	if d.files.Kind() != bencode.Absent {
		info.Dir = true
		return readFileList(info, d.files)
	}
	n, err := size(d.length, "info.length")
	if err != nil {
		return err
	}
	info.Total = n
	info.Files = []File{{
		Path:    []string{info.Name},
		RawPath: []string{info.RawName},
		Length:  n,
		Exec:    attributes(d.attr).exec,
	}}
	return nil
}

// integer returns the integer v, called what in errors.
func integer(v bencode.Value, what string) (int64, error) {
	n, ok := v.Int()
	switch {
	case ok:
		return n, nil
	case v.Kind() == bencode.Integer:
		return 0, errorf(what, "does not fit in 64 bits")
	}
	return 0, wrongKind(v, bencode.Integer, what)
}

// wrongKind says that v, called what, is missing or not of the kind it must be.
func wrongKind(v bencode.Value, want bencode.Kind, what string) error {
	if v.Kind() == bencode.Absent {
		return errorf(what, "is missing")
	}
	return errorf(what, "want %v, got %v", want, v.Kind())
}

// size returns the number of bytes v.
func size(v bencode.Value, what string) (int64, error) {
	n, err := integer(v, what)
	if err == nil && n < 0 {
		err = errorf(what, "%d is negative", n)
	}
	return n, err
}

// addSize adds n to the sum of sizes.
func addSize(sum *int64, n int64, what string) error {
	if n > math.MaxInt64-*sum {
		return errorf(what, "the sum of all sizes does not fit in 64 bits")
	}
	*sum += n
	return nil
}
