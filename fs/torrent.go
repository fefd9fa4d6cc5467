package fs

import (
	"context"
	"time"
)

// Torrent is what a mount shows. Implementations must be comparable (a pointer)
// and safe for concurrent use; what Name, Dir, Files and ModTime say never changes.
type Torrent interface {
	// Name is the file's name (single-file) or the directory's (multi-file).
	Name() string
	// Dir reports whether the torrent is a directory of files.
	Dir() bool
	// Files lists the files in info order, without padding files. A single-file
	// torrent has exactly one. The other methods take an index into it.
	Files() []File
	// ModTime is the torrent's creation date; zero means unknown.
	ModTime() time.Time
	// Open makes a handle for reading one file.
	Open(file int) (Handle, error)
	// LocalBytes is how many bytes of the file are in the cache. It is called for
	// every entry of a listing, so it must be cheap and must not block.
	LocalBytes(file int) int64
	// Next returns the first offset from off on, which lies in the file, whose byte is
	// in the cache, or is not; the file's length if there is none. It must hold at one
	// moment, and not block. It is asked with Options.SparseView only.
	Next(file int, off int64, local bool) int64
	// Xattrs are the extended attributes of a file, or of the torrent for file -1.
	// The keys come without the "user.qqbtfs." in front.
	Xattrs(file int) map[string]string
}

// File is one file or symbolic link of a torrent.
type File struct {
	// Path holds the components below the torrent's directory. They must be valid
	// file names; Mount refuses a torrent with any other.
	Path []string
	// Length is in bytes.
	Length int64
	// Exec makes the file r-xr-xr-x (BEP 47, attr "x").
	Exec bool
	// Symlink, if not empty, makes this a symbolic link (BEP 47, attr "l") to that
	// path below the torrent's directory. It must not climb out of it.
	Symlink []string
}

// Handle is one open file.
type Handle interface {
	// Read returns the bytes [off, off+len(buf)), which are in the file, or an error. It
	// is called concurrently. They may lie in buf, which is for that, until the Data is
	// released. It must return soon after ctx is done.
	Read(ctx context.Context, buf []byte, off int64) (Data, error)
	// Close is called once, after the last Read has returned.
	Close() error
}

// Data are bytes of a file.
type Data struct {
	Parts   [][]byte // in order; not to be changed
	Release func()   // called once, when they are not needed any more; may be nil
}
