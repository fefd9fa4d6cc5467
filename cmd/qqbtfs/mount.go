package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/qqbtfs/qqbtfs/cmd/qqbtfs/control"
	"github.com/qqbtfs/qqbtfs/cmd/qqbtfs/daemon"
	"github.com/qqbtfs/qqbtfs/fetch"
	"github.com/qqbtfs/qqbtfs/fetch/dht"
	"github.com/qqbtfs/qqbtfs/fs"
)

func (a *app) mountCmd() *cobra.Command {
	m := &mounting{a: a}
	cmd := &cobra.Command{
		Use:   "mount [flags] SOURCE... MOUNTPOINT",
		Short: "Mount torrents at a directory",
		Long: `Mount torrents at a directory. It returns when the files can be used and runs on
in the background, until "qqbtfs umount" or "fusermount3 -u". Reading a file
fetches what is read, first; the rest follows in the background. The files of a
magnet link appear when its metadata has been fetched, which is kept for the
next mount.`,
		Example:           "  qqbtfs mount film.torrent /mnt/film && mpv /mnt/film/*",
		Args:              mountArgs,
		ValidArgsFunction: completeMount,
		RunE: func(cmd *cobra.Command, args []string) error {
			return m.main(cmd.Context(), args[:len(args)-1], args[len(args)-1])
		},
	}
	m.flags.register(cmd.Flags())
	m.cache.register(cmd.Flags())
	m.net.register(cmd.Flags())
	m.net.complete(cmd)
	complete(cmd, "fill", m.flags.fill.Choices...)
	return cmd
}

func mountArgs(_ *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return failf(codeUsage, "mount needs a SOURCE and a MOUNTPOINT (see: qqbtfs mount --help)")
	case len(args) == 1:
		return failf(codeUsage, "mount needs a MOUNTPOINT after %s%s (see: qqbtfs mount --help)", shownSource(args[0]), ampersandHint(args[0]))
	}
	if last := args[len(args)-1]; isURL(last) || isMagnet(last) || strings.HasSuffix(last, ".torrent") && isFile(last) {
		return failf(codeUsage, "the last argument is the MOUNTPOINT, but %s is a SOURCE", shownSource(last))
	}
	return nil
}

func isFile(name string) bool {
	fi, err := os.Stat(name)
	return err == nil && fi.Mode().IsRegular()
}

func shownSource(s string) string {
	switch {
	case isURL(s):
		return shownURL(s)
	case isMagnet(s):
		return shownMagnet(s)
	}
	return s
}

// completeMount completes torrents first, and directories too once there is one.
func completeMount(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return []string{"torrent"}, cobra.ShellCompDirectiveFilterFileExt
	}
	return nil, cobra.ShellCompDirectiveDefault
}

// mounting is one run of the mount command.
type mounting struct {
	a     *app
	flags mountFlags
	cache cacheFlags
	net   netFlags

	place   place
	started time.Time
	node    *node
	views   []*view
	late    []*loaded // torrents whose metadata is fetched while the mount is up
	fs      *fs.FS
	control *control.Server

	stop     chan struct{} // closed when a client asks for the end
	stopOnce sync.Once
	outside  time.Time // when somebody else unmounted it; zero: nobody did
}

func (m *mounting) main(ctx context.Context, sources []string, mountpoint string) error {
	if err := errors.Join(m.flags.check(), m.net.check(m.a.log.Logger)); err != nil {
		return err
	}
	child := m.a.parent != nil
	var err error
	if m.place, err = m.a.newPlace(mountpoint, child || !m.flags.foreground); err != nil {
		return err
	}
	if err := m.place.checkSources(sources); err != nil {
		return err
	}
	if !child { // before the log of a mount that lives there is moved away
		if err := fs.Check(m.place.mountpoint, fs.Options{AllowOther: m.flags.allowOther}); err != nil {
			return failf(codeMount, "%w", err)
		}
	}
	if err := m.place.prepareCache(child || !m.flags.foreground); err != nil {
		return err
	}
	if m.place.noCache != nil {
		m.a.log.Warn("cache directory cannot be written, working from memory", "err", m.place.noCache)
	}
	if !child && !m.flags.foreground {
		return m.background(ctx)
	}
	return m.run(ctx, sources)
}

// background starts this command again as a daemon and waits until the mount is
// usable.
func (m *mounting) background(ctx context.Context) error {
	log, err := daemon.OpenLog(m.place.logFile)
	if err != nil {
		return fail(codeDisk, err)
	}
	defer log.Close()
	report, _, err := daemon.Spawn(ctx, append([]string{os.Args[0]}, m.a.args...), log)
	switch {
	case errors.Is(err, daemon.ErrDied):
		return failf(codeFailure, "%w: its log is %s", err, m.place.logFile)
	case ctx.Err() != nil:
		return failf(codeIncomplete, "interrupted, nothing is mounted")
	case err != nil:
		return err
	case report.Error != "":
		if m.a.common.logFile == "" {
			daemon.DropLog(log) // the error is told here
		}
		return fail(code(report.Code), errors.New(report.Error))
	case report.Note != "":
		fmt.Fprintln(m.a.err, report.Note)
	}
	return nil
}

// run mounts, serves until somebody ends it, and takes everything down again.
func (m *mounting) run(ctx context.Context, sources []string) (err error) {
	m.started, m.stop = time.Now(), make(chan struct{})
	if err := m.awaitPredecessor(ctx); err != nil {
		return err
	}
	torrents, err := m.a.loadSources(ctx, m.net.policy, sources)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, m.down())
		m.linger(ctx)
	}()
	if err := m.up(torrents); err != nil {
		return err
	}
	m.a.log.Info("mounted", "at", m.place.mountpoint, "listen", strings.Join(m.node.addrs(), " "), "took_ms", time.Since(m.started).Milliseconds())
	if err := m.a.parent.Ready(m.note()); err != nil {
		m.a.log.Warn("the starting process is gone", "err", err)
	}
	if m.a.parent != nil {
		_ = os.Chdir("/") // keep no directory busy
	}
	m.wait(ctx)
	return nil
}

// note tells who mounts in the background what is not as usual.
func (m *mounting) note() string {
	if len(m.late) == 0 {
		return ""
	}
	return fmt.Sprintf("fetching the metadata of %s: the files appear when it is here (see: qqbtfs status %s)",
		plural(len(m.late), "magnet link"), m.place.mountpoint)
}

// awaitPredecessor waits for the end of a process whose mount at the same place
// was taken away from outside a moment ago, and which still closes its cache.
func (m *mounting) awaitPredecessor(ctx context.Context) error {
	c, err := control.Dial(m.place.runDirs, m.place.mountpoint)
	if err != nil {
		return nil // the usual case: there is none
	}
	defer c.Close()
	mounts, err := fs.Mounts()
	if err != nil {
		return fail(codeMount, err)
	}
	for _, other := range mounts {
		if other.Dir == m.place.mountpoint {
			return failf(codeMount, "%s is mounted already: end that with \"qqbtfs umount %[1]s\" first", m.place.mountpoint)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	return fail(codeMount, c.Wait(ctx))
}

// up builds the parts from the cache to the mount.
func (m *mounting) up(all []*loaded) (err error) {
	var torrents []*loaded
	torrents, m.late = split(all)
	stores := make([]joinOptions, len(torrents))
	var g errgroup.Group
	for i, l := range torrents {
		g.Go(func() (err error) {
			stores[i], err = m.open(l)
			return err
		})
	}
	g.Go(func() (err error) {
		m.node, err = m.a.newNode(&m.net, time.Duration(m.flags.readTimeout))
		return err
	})
	err = g.Wait()
	for i, l := range torrents {
		if err == nil {
			var v *view
			if v, err = m.add(l, stores[i]); err == nil {
				m.views = append(m.views, v)
			}
		} else {
			_ = stores[i].close()
		}
	}
	for _, l := range m.late {
		if err == nil {
			err = m.node.search(l)
		}
	}
	if err != nil {
		return err
	}
	if err := m.show(); err != nil {
		return err
	}
	for _, l := range m.late {
		m.node.joining.Go(func() { m.await(l) })
	}
	return nil
}

// open opens the torrent's cache, as far as there can be one.
func (m *mounting) open(l *loaded) (joinOptions, error) {
	if m.place.noCache != nil {
		return m.a.readCache(m.place.cacheDir, m.place.scratch(), l, m.cache), nil
	}
	return m.a.openCache(m.place.cacheDir, m.place.scratch(), l, m.cache)
}

// await shows a torrent once its metadata is here. The mount goes on without it if
// that cannot be: the status says why.
func (m *mounting) await(l *loaded) {
	err := m.node.found(context.Background(), l)
	if err == nil {
		err = m.showLate(l)
	}
	if err != nil && !errors.Is(err, fetch.ErrClosed) { // that is the end of the mount
		m.node.fail(l, err)
	}
}

func (m *mounting) showLate(l *loaded) error {
	opt, err := m.open(l)
	if err != nil {
		return err
	}
	v, err := m.add(l, opt)
	if err != nil {
		return err
	}
	v.watch(m.fs)
	if err := m.fs.Add(v); err != nil {
		return fail(codeMount, err)
	}
	m.a.log.Info("the files are here", "torrent", v.Name(), "files", len(v.Files()))
	return nil
}

// rootXattrs are extended attributes of the mount's root: the state of its only torrent,
// or of one whose files are not here.
func (m *mounting) rootXattrs() map[string]string {
	all := m.node.status()
	for _, s := range all {
		switch {
		case len(all) == 1:
			return map[string]string{"state": s.State, fs.InfoHashXattr: s.InfoHash}
		case s.Pieces == 0:
			return map[string]string{"state": s.Name + ": " + s.State}
		}
	}
	return nil
}

// fillAfter leaves a fresh mount to those who list it.
const fillAfter = time.Second

// add joins a torrent's swarm. One that does not fit into its cache is filled as far
// as it does.
func (m *mounting) add(l *loaded, opt joinOptions) (*view, error) {
	if _, err := l.selected(); err != nil {
		return nil, errors.Join(err, opt.close())
	}
	opt.fill, opt.after = m.flags.fill.Value == "all", fillAfter
	if limit := int64(m.cache.limit); opt.fill && limit > 0 && l.meta.Info.Total > limit {
		m.a.log.Info("larger than --cache-size, beyond that only what is read is fetched", "torrent", l.meta.Info.Name, "size", formatBytes(l.meta.Info.Total))
	}
	member, err := m.node.join(l, opt)
	if err != nil {
		return nil, err
	}
	return newView(member), nil
}

// How far the kernel reads ahead, in bytes. While pieces are fetched, what it reads ahead
// of a player is asked for as urgently as what the player waits for, and is in the way when
// that jumps: then the window of the open file is ahead of the reader, not the kernel.
const (
	readAheadFetching = 1 << 20
	readAheadComplete = 4 << 20
)

func (m *mounting) readAhead() int {
	if len(m.late) > 0 { // what the links name is fetched when its metadata has come
		return readAheadFetching
	}
	for _, v := range m.views {
		if v.m.store.Stats().Pieces < v.m.meta.NumPieces() {
			return readAheadFetching
		}
	}
	return readAheadComplete
}

// raiseReadAhead has the kernel read far ahead once nothing is fetched any more.
func (m *mounting) raiseReadAhead(ctx context.Context) {
	for _, v := range m.views {
		select {
		case <-v.m.t.Done():
		case <-ctx.Done():
			return
		}
	}
	m.fs.SetReadAhead(m.readAhead())
}

// show mounts the file system and opens the control socket.
func (m *mounting) show() error {
	var list []fs.Torrent
	for _, v := range m.views {
		if v.m.link == nil {
			list = append(list, v)
		}
	}
	var err error
	m.fs, err = fs.Mount(m.place.mountpoint, list, fs.Options{
		AllowOther: m.flags.allowOther,
		UID:        m.flags.uid,
		GID:        m.flags.gid,
		Umask:      os.FileMode(m.flags.umask),
		SparseView: m.flags.sparseView,
		RootXattrs: m.rootXattrs,
		Logger:     m.a.log.Logger,

		MaxReadAhead: m.readAhead(),
	})
	if err != nil {
		return failf(codeMount, "%w%s", err, deviceHint(err))
	}
	force := func() { _ = fs.Detach(m.place.mountpoint) }
	m.a.force.Store(&force)
	for _, v := range m.views {
		v.watch(m.fs)
		if v.m.link == nil {
			continue
		}
		// It has the name that it had when its metadata came late.
		if err := m.fs.Add(v); err != nil {
			return fail(codeMount, err)
		}
	}
	m.control, err = control.Listen(m.place.runDirs, m.place.mountpoint, m.answer)
	if err != nil && m.place.noCache != nil {
		m.a.log.Warn("no place for a control socket: this mount has no status, but umount ends it", "err", err)
		return nil
	}
	return fail(codeMount, err)
}

// deviceHint says what to do when a mount fails because this user must not open
// /dev/fuse.
func deviceHint(err error) string {
	if !strings.Contains(err.Error(), "/dev/fuse") || !errors.Is(unix.Access("/dev/fuse", unix.R_OK|unix.W_OK), unix.EACCES) {
		return ""
	}
	return ` (you must not open /dev/fuse: have root run "chmod 666 /dev/fuse", or add you to the group that owns it)`
}

// wait returns when the mount is to end: by a signal, by a client, or because
// somebody unmounted it.
func (m *mounting) wait(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	var progress sync.WaitGroup
	defer progress.Wait()
	defer cancel()
	progress.Go(func() { m.raiseReadAhead(ctx) })
	if m.a.parent == nil {
		progress.Go(func() {
			m.a.showProgress(ctx, m.a.err, func() string { return progressText(m.node.status()) })
		})
	}
	select {
	case <-ctx.Done():
	case <-m.stop:
	case <-m.fs.Done():
		m.fromOutside()
	case <-m.fs.Detached(): // lazily, or the kernel ends the connection in a moment
		m.fromOutside()
	}
}

func (m *mounting) fromOutside() {
	m.a.log.Info("unmounted from outside", "at", m.place.mountpoint)
	m.outside = time.Now()
}

// lingerFor is how long a mount in the foreground outlives its unmount from
// outside.
const lingerFor = 400 * time.Millisecond

// linger waits for the signal that supervisors send behind their fusermount3 -u:
// they would find no process to send it to. Everything else is done by then.
func (m *mounting) linger(ctx context.Context) {
	if m.outside.IsZero() || m.a.parent != nil {
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(time.Until(m.outside.Add(lingerFor))):
	}
}

// downTimeout is how long the end may take at most. Two seconds are promised; this is for
// a disk that hangs.
const downTimeout = 15 * time.Second

// down ends what up has built: reads fail, the mount goes, the swarms are left, the
// stores closed. The control socket closes last, for its clients wait for the end.
// Whatever hangs, the process ends: the cache survives that, as it survives a kill -9.
func (m *mounting) down() error {
	began := time.Now()
	defer time.AfterFunc(downTimeout, func() {
		_ = fs.Detach(m.place.mountpoint)
		m.a.log.Error("something hangs, the process ends without it", "at", m.place.mountpoint)
		os.Exit(int(codeFailure))
	}).Stop()
	var errs []error
	if m.node != nil {
		m.node.sess.FailReads()
	}
	if m.fs != nil {
		errs = append(errs, fail(codeMount, m.fs.Unmount(context.Background())))
	}
	if m.node != nil {
		errs = append(errs, m.node.closeSince(began))
	}
	if m.control != nil {
		m.a.log.Info("ended", "at", m.place.mountpoint)
		errs = append(errs, m.control.Close())
	}
	return errors.Join(errs...)
}

// mountStatus is a mount's answer to opStatus.
type mountStatus struct {
	Mountpoint string         `json:"mountpoint"`
	PID        int            `json:"pid"`
	Version    string         `json:"version"`
	Started    time.Time      `json:"started"`
	Listen     []string       `json:"listen"`
	CacheDir   string         `json:"cache_dir"`
	LogFile    string         `json:"log_file,omitempty"`
	Process    usage          `json:"process"`
	DHT        *dht.Status    `json:"dht"` // null: there is none
	Torrents   []fetch.Status `json:"torrents"`
}

// Operations on the control socket.
const (
	opStatus = "status" // answers a mountStatus
	opStop   = "stop"   // ends the mount; the connection ends when it has
)

func (m *mounting) answer(op string) (any, error) {
	switch op {
	case opStatus:
		return mountStatus{
			Mountpoint: m.place.mountpoint, PID: os.Getpid(), Version: programVersion(), Started: m.started,
			Listen: m.node.addrs(), CacheDir: m.place.cacheDir, LogFile: m.place.logFile, Process: processUsage(), DHT: m.node.sess.DHT(), Torrents: m.node.status(),
		}, nil
	case opStop:
		m.stopOnce.Do(func() { close(m.stop) })
		return nil, nil
	default:
		return nil, fmt.Errorf("this qqbtfs (%s) does not know the operation %q", programVersion(), op)
	}
}
