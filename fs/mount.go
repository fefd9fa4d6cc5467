package fs

import (
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// subtype is what follows "fuse." in the type of our mounts, and the name space of
// our extended attributes.
const subtype = "qqbtfs"

// maxRequest is the largest read in bytes that the kernel sends (64 pages). The
// kernel gives a program nothing of a request before all of it is here: with
// requests of 1 MiB a player on a swarm of 1.5 MB/s waited 2.5 s for two seconds
// of film after a jump, 1.8 s with these. What large requests save is little
// beside what fetching costs.
const maxRequest = 256 << 10

// Options say how to mount. Zero means the default, except for UID and GID.
type Options struct {
	// AllowOther lets other users in, as far as the modes allow it. A plain user may
	// set it only where /etc/fuse.conf says user_allow_other.
	AllowOther bool
	// UID and GID own the files; -1 means those of this process.
	UID, GID int
	// Umask is taken away from r-xr-xr-x and r--r--r--.
	Umask os.FileMode
	// MaxReadAhead is how many bytes the kernel may read ahead of a sequential reader.
	// Zero means 4 MiB. More than 128 KiB needs root; less is used without it.
	MaxReadAhead int
	// MaxBackground is how many read-ahead requests may be waiting at once, for all
	// files together; when they are used up every file of the mount stalls. Zero
	// means 512.
	MaxBackground int
	// SparseView makes SEEK_DATA and SEEK_HOLE tell what is local (on Linux). Whoever copies only
	// what SEEK_DATA finds, as cp does, then gets zeros for the rest. Without it files
	// have no holes.
	SparseView bool
	// RootXattrs, if not nil, returns extended attributes of the root, beside those of the
	// only torrent. The keys come without the "user.qqbtfs." in front.
	RootXattrs func() map[string]string
	// FSName is the source in the list of mounts. Empty means "qqbtfs".
	FSName string
	// Debug logs every request and its answer at debug level.
	Debug bool
	// Logger takes warnings and the messages of go-fuse. Nil means none.
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.UID < 0 {
		o.UID = os.Geteuid()
	}
	if o.GID < 0 {
		o.GID = os.Getegid()
	}
	if o.MaxReadAhead == 0 {
		o.MaxReadAhead = 4 << 20
	}
	if o.MaxBackground == 0 {
		o.MaxBackground = 512
	}
	o.MaxBackground = min(o.MaxBackground, 1<<16-1)
	if o.FSName == "" {
		o.FSName = subtype
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

func (o Options) umask() uint32 { return uint32(o.Umask.Perm()) }

// fuse returns go-fuse's options.
func (o Options) fuse() *fuse.MountOptions {
	return &fuse.MountOptions{
		AllowOther:    o.AllowOther,
		Options:       o.flags(),
		FsName:        o.FSName,
		Name:          subtype,
		MaxBackground: o.MaxBackground,
		MaxReadAhead:  o.MaxReadAhead,
		MaxWrite:      maxRequest,
		Debug:         o.Debug,
		Logger:        slog.NewLogLogger(o.Logger.Handler(), slog.LevelDebug),
		PanicHandler: func(v any) fuse.Status {
			o.Logger.Error("panic in a file system request", "panic", v, "stack", string(debug.Stack()))
			return fuse.EIO
		},
		// A spliced reply and its header can exceed the size of a pipe: go-fuse would
		// complain about each and then copy it anyway.
		DisableSplice:            true,
		EnableSymlinkCaching:     true,
		ExplicitDataCacheControl: true,
		IgnoreSecurityLabels:     true,
		RememberInodes:           true,
	}
}

// flags are the mount options that need no value.
func (o Options) flags() []string {
	flags := []string{"ro", "nosuid", "nodev"}
	if o.AllowOther {
		flags = append(flags, "default_permissions") // the kernel checks the modes
	}
	return flags
}

// FS is a mounted file system.
type FS struct {
	dir    string
	opt    Options
	raw    *filesystem
	server *fuse.Server
	conn   *connection
	done   chan struct{}
	// detached is closed when the mount is no longer in the tree.
	detached chan struct{}

	addMu sync.Mutex // one Add at a time
}

// SetReadAhead changes Options.MaxReadAhead for files that are opened from now on, where
// that is permitted: it needs root on Linux and is not known elsewhere.
func (f *FS) SetReadAhead(n int) { f.conn.setReadAhead(n) }

// Mount shows torrents at a directory and returns when they can be used. A mount of
// a qqbtfs that has died there is cleared away first; a living one is an error.
func Mount(dir string, ts []Torrent, opt Options) (*FS, error) {
	opt = opt.withDefaults()
	t, err := newTree(time.Now(), opt.umask()).with(ts, opt.umask())
	if err != nil {
		return nil, err
	}
	t.kept = len(t.sources)
	if dir, err = prepare(dir, opt); err != nil {
		return nil, err
	}
	f := &FS{dir: dir, opt: opt, done: make(chan struct{}), detached: make(chan struct{})}
	f.raw = newFilesystem(t, uint32(opt.UID), uint32(opt.GID))
	f.raw.sparse = opt.SparseView
	f.raw.rootXattrs = opt.RootXattrs
	if f.conn, err = connect(dir, opt); err != nil {
		return nil, fmt.Errorf("fs: mount %s: %w", dir, err)
	}
	f.raw.abandoned = f.conn.abandoned
	if f.server, err = f.conn.serve(f.raw, opt); err != nil {
		f.conn.close()
		return nil, fmt.Errorf("fs: mount %s: %w", dir, err)
	}
	go f.run()
	return f, f.conn.ready(f.server)
}

// Check refuses a directory at which Mount would fail, with the same error. Dead mounts
// of ours there are cleared away.
func Check(dir string, opt Options) error {
	opt.Logger = nil // Mount warns, once
	_, err := prepare(dir, opt.withDefaults())
	return err
}

// run serves until the file system is unmounted by anyone. The reads that wait then
// end because their contexts do.
func (f *FS) run() {
	f.watched(f.server.Serve)
	f.raw.handles.closeAll()
	f.conn.close()
	close(f.done)
}

// Dir is the mount point, absolute and without symbolic links.
func (f *FS) Dir() string { return f.dir }

// Done is closed when the file system is unmounted, by anyone, and every request and
// handle has ended.
func (f *FS) Done() <-chan struct{} { return f.done }

// Detached is closed when somebody has taken the mount out of the tree although files
// are open: "umount -l". What is open goes on working until Unmount.
func (f *FS) Detached() <-chan struct{} { return f.detached }

// Add shows one more torrent. Those of Mount keep their names, whatever comes. Among
// those that were added a name goes to the lowest info-hash, as among those of Mount, and
// whoever had it gets another one: what they are called does not depend on the order in
// which they came.
func (f *FS) Add(t Torrent) error {
	f.addMu.Lock()
	defer f.addMu.Unlock()
	last := f.raw.tree.Load()
	next, err := last.with([]Torrent{t}, f.opt.umask())
	if err != nil {
		return err
	}
	f.raw.tree.Store(next)
	for name, n := range last.root().byName {
		if next.root().byName[name] != n {
			f.server.EntryNotify(fuse.FUSE_ROOT_ID, name)
		}
	}
	f.forgetAttr(fuse.FUSE_ROOT_ID)
	return nil
}

// Changed says that LocalBytes of a file has changed. It must be said when it falls,
// because a piece was evicted or found damaged: the kernel keeps the attributes of
// complete files. That it grows need not be said, but st_blocks can otherwise lag behind
// for a moment after the directory was listed.
func (f *FS) Changed(t Torrent, file int) {
	for _, s := range f.raw.tree.Load().sources {
		if s.t == t && file >= 0 && file < len(s.nodes) {
			f.forgetAttr(s.nodes[file].id)
		}
	}
}

// forgetAttr makes the kernel ask for a node's attributes again. It may not know the
// node, or be gone; both are fine.
func (f *FS) forgetAttr(id uint64) { f.server.InodeNotify(id, -1, 0) }
