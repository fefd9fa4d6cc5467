package fs_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/qqbtfs/qqbtfs/fs"
	"github.com/qqbtfs/qqbtfs/fs/fstest"
)

var created = time.Date(2020, 2, 29, 12, 0, 0, 0, time.UTC)

// album is a multi-file torrent with everything that a tree can have.
func album() *fstest.Torrent {
	return fstest.New(fstest.Config{Name: "album", InfoHash: "aa", ModTime: created, Files: []fs.File{
		{Path: []string{"cd1", "track 1.flac"}, Length: 300_001},
		{Path: []string{"cd1", "booklet", "größe.txt"}, Length: 1},
		{Path: []string{"empty"}},
		{Path: []string{"run.sh"}, Length: 4096, Exec: true},
		{Path: []string{"cd2", "latest"}, Symlink: []string{"cd1", "track 1.flac"}},
	}})
}

func stat(t testing.TB, name string) unix.Stat_t {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(name, &st); err != nil {
		t.Fatal(name, err)
	}
	return st
}

func TestTree(t *testing.T) {
	film := fstest.New(fstest.Config{Name: "film.mkv", Length: 5000, InfoHash: "1"})
	again := fstest.New(fstest.Config{Name: "film.mkv", Length: 6000, InfoHash: "0"})
	opt := fs.Options{UID: 12, GID: 34, Umask: 0o007, FSName: "a,b\\c"}
	f := fstest.Mount(t, opt, film, album().Complete(), again)

	var got []string
	filepath.WalkDir(f.Dir(), func(path string, d os.DirEntry, err error) error {
		if err != nil {
			t.Error(err)
			return nil
		}
		st := stat(t, path)
		if st.Uid != 12 || st.Gid != 34 {
			t.Errorf("%s belongs to %d:%d", path, st.Uid, st.Gid)
		}
		info, err := d.Info()
		if err != nil {
			t.Fatal(err)
		}
		rel, _ := filepath.Rel(f.Dir(), path)
		got = append(got, fmt.Sprintf("%v %d %d %d %s", info.Mode(), st.Nlink, st.Size, st.Blocks, rel))
		return nil
	})
	want := []string{
		"dr-xr-x--- 3 4096 0 .",
		"dr-xr-x--- 4 4096 0 album",
		"dr-xr-x--- 3 4096 0 album/cd1",
		"dr-xr-x--- 2 4096 0 album/cd1/booklet",
		"-r--r----- 1 1 1 album/cd1/booklet/größe.txt",
		"-r--r----- 1 300001 586 album/cd1/track 1.flac",
		"dr-xr-x--- 2 4096 0 album/cd2",
		"Lrwxrwxrwx 1 19 0 album/cd2/latest",
		"-r--r----- 1 0 0 album/empty",
		"-r-xr-x--- 1 4096 8 album/run.sh",
		"-r--r----- 1 5000 1 film (2).mkv",
		"-r--r----- 1 6000 1 film.mkv",
	}
	if !slices.Equal(got, want) {
		t.Errorf("the tree is\n%s\nand not\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	st := stat(t, f.Dir()+"/album/run.sh")
	for _, ts := range []unix.Timespec{st.Atim, st.Mtim, st.Ctim} {
		if ts.Sec != created.Unix() {
			t.Errorf("a time is %v", ts)
		}
	}
	if st := stat(t, f.Dir()+"/film.mkv"); time.Since(time.Unix(st.Mtim.Sec, 0)) > time.Minute {
		t.Error("without a creation date a file is as old as the mount")
	}
	if mounts, err := fs.Mounts(); err != nil || !slices.ContainsFunc(mounts, func(m fs.MountPoint) bool {
		return m.Dir == f.Dir() && m.Source == opt.FSName
	}) {
		t.Errorf("not among the mounts: %v, %v", mounts, err)
	}
}

func TestStatfs(t *testing.T) {
	f := fstest.Mount(t, own, album())
	var st unix.Statfs_t
	if err := unix.Statfs(f.Dir(), &st); err != nil {
		t.Fatal(err)
	}
	if st.Blocks*uint64(st.Frsize) != 75*4096 || st.Bfree != 0 || st.Bavail != 0 || st.Files != 10 || st.Namelen != 255 || st.Flags&unix.ST_RDONLY == 0 {
		t.Errorf("%+v", st)
	}
}

func TestContentByCp(t *testing.T) {
	tor := album().Complete()
	f := fstest.Mount(t, own, tor)
	to := filepath.Join(t.TempDir(), "copy")
	if out, err := exec.Command("cp", "-r", "--preserve=timestamps", filepath.Join(f.Dir(), "album"), to).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for i, file := range tor.Files() {
		name := filepath.Join(append([]string{to}, file.Path...)...)
		got, err := os.ReadFile(name)
		want := i
		if len(file.Symlink) > 0 {
			want = 0
		}
		if err != nil || !bytes.Equal(got, tor.Content(want)) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	await(t, tor, func(s fstest.State) bool { return s.Open == 0 && s.Opened == 4 && s.Lent == 0 })
}

// A file with little of it local has few blocks, which must not make cp see holes.
func TestHolesAreNotShown(t *testing.T) {
	tor := fstest.New(fstest.Config{Name: "x", Length: 100_000})
	f := fstest.Mount(t, own, tor)
	file, err := os.Open(f.Dir() + "/x")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if off, err := file.Seek(5000, unix.SEEK_DATA); off != 5000 || err != nil {
		t.Errorf("data after 5000 at %d, %v", off, err)
	}
	if off, err := file.Seek(5000, unix.SEEK_HOLE); off != 100_000 || err != nil {
		t.Errorf("a hole at %d, %v", off, err)
	}
}

// A page fault in the process that serves it could stop that for good, so the file is
// mapped by a child.
func TestMmap(t *testing.T) {
	tor := fstest.New(fstest.Config{Name: "x", Length: 3_000_001}).Complete()
	f := fstest.Mount(t, own, tor)
	p := start(t, "/proc/self/exe", uint32(os.Geteuid()), "mmap "+f.Dir()+"/x")
	if got, want := p.line(), fmt.Sprintf("%x", sha256.Sum256(tor.Content(0))); got != want {
		t.Errorf("the mapped file has the hash %s, want %s", got, want)
	}
}

func TestRandomReads(t *testing.T) {
	tor := fstest.New(fstest.Config{Name: "x", Length: 8_000_003}).Complete()
	f := fstest.Mount(t, own, tor)
	want := tor.Content(0)
	var readers sync.WaitGroup
	for seed := range uint64(8) {
		flags := os.O_RDONLY
		if seed == 0 {
			flags |= unix.O_DIRECT
		}
		readers.Go(func() {
			file, err := os.OpenFile(f.Dir()+"/x", flags, 0)
			if err != nil {
				t.Error(err)
				return
			}
			defer file.Close()
			r := rand.New(rand.NewPCG(seed, 0))
			for range 200 {
				p := make([]byte, r.IntN(300_000))
				off := r.Int64N(int64(len(want)) + 1000)
				n, err := file.ReadAt(p, off)
				rest := want[min(off, int64(len(want))):]
				if wantN := min(len(p), len(rest)); n != wantN || !bytes.Equal(p[:n], rest[:n]) ||
					err != nil && (err != io.EOF || n == len(p)) {
					t.Errorf("%d bytes at %d: %d, %v, equal %v", len(p), off, n, err, bytes.Equal(p[:n], rest[:n]))
					return
				}
			}
		})
	}
	readers.Wait()
}

// st_blocks must be right whenever a program looks. A file of which nothing is here has
// one, for "tar -S" takes a file of none for a hole.
func TestBlocksFollowTheDownload(t *testing.T) {
	tor := fstest.New(fstest.Config{Name: "x", Length: 5 * 16384})
	f := fstest.Mount(t, own, tor)
	name := f.Dir() + "/x"
	for p := range 5 {
		if got := stat(t, name).Blocks; got != max(int64(p*32), 1) {
			t.Errorf("%d pieces: %d blocks", p, got)
		}
		tor.Arrive(p)
	}
	for range 2 { // the second from the kernel's cache
		if got := stat(t, name).Blocks; got != 160 {
			t.Errorf("complete: %d blocks", got)
		}
	}
	tor.Lose(2, 3)
	f.Changed(tor, 0)
	if got := stat(t, name).Blocks; got != 96 {
		t.Errorf("two pieces lost: %d blocks", got)
	}
	f.Changed(tor, 7) // no such file
	f.Changed(album(), 0)
}

func TestAdd(t *testing.T) {
	tor := album()
	f := fstest.Mount(t, own, tor)
	second := f.Dir() + "/album (2)"
	if _, err := os.Stat(second); !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	ino := stat(t, f.Dir()+"/album/empty").Ino
	if err := f.Add(album().Complete()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.ReadFile(second + "/run.sh"); err != nil {
		t.Error(err)
	}
	if stat(t, f.Dir()+"/album/empty").Ino != ino || stat(t, f.Dir()).Nlink != 4 {
		t.Error("inode numbers or the root's links are wrong after that")
	}
	if names, err := os.ReadDir(f.Dir()); err != nil || len(names) != 2 {
		t.Errorf("%v, %v", names, err)
	}
	if err := f.Add(fstest.New(fstest.Config{Name: ".."})); err == nil {
		t.Error("added a torrent called ..")
	}
}

// What is added to an empty root is seen by who has seen that it was empty. Of two of one
// name that with the lower info-hash gets it, although the kernel knows it as the other's.
func TestAddToEmptyRoot(t *testing.T) {
	state := "waiting"
	opt := own
	opt.RootXattrs = func() map[string]string { return map[string]string{"state": state} }
	f := fstest.Mount(t, opt)
	ls := func() (names []string) {
		entries, err := os.ReadDir(f.Dir())
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return names
	}
	film := f.Dir() + "/film.mkv"
	if _, err := os.Stat(film); len(ls()) != 0 || !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("it is not empty: %v", err)
	}
	buf := make([]byte, 100)
	if n, err := unix.Lgetxattr(f.Dir(), "user.qqbtfs.state", buf); err != nil || string(buf[:n]) != state {
		t.Errorf("state: %q, %v", buf[:max(n, 0)], err)
	}
	later := fstest.New(fstest.Config{Name: "film.mkv", Length: 2000, InfoHash: "2"})
	sooner := fstest.New(fstest.Config{Name: "film.mkv", Length: 1000, InfoHash: "1"})
	if err := f.Add(later.Complete()); err != nil {
		t.Fatal(err)
	}
	if st := stat(t, film); st.Size != 2000 || len(ls()) != 1 {
		t.Errorf("%d bytes, %v", st.Size, ls())
	}
	open, err := os.Open(film)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	if err := f.Add(sooner.Complete()); err != nil {
		t.Fatal(err)
	}
	if st := stat(t, film); st.Size != 1000 || !slices.Equal(ls(), []string{"film (2).mkv", "film.mkv"}) {
		t.Errorf("%d bytes, %v", st.Size, ls())
	}
	for name, tor := range map[string]*fstest.Torrent{film: sooner, f.Dir() + "/film (2).mkv": later} {
		if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, tor.Content(0)) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	if got, err := io.ReadAll(open); err != nil || !bytes.Equal(got, later.Content(0)) {
		t.Errorf("what was open: %d bytes, %v", len(got), err)
	}
}

func TestXattrs(t *testing.T) {
	f := fstest.Mount(t, own, album())
	for _, c := range []struct{ file, attr, want string }{
		{"", "user.qqbtfs.info-hash", "aa"},
		{"/album", "user.qqbtfs.info-hash", "aa"},
		{"/album/run.sh", "user.qqbtfs.path", "run.sh"},
	} {
		buf := make([]byte, 100)
		n, err := unix.Lgetxattr(f.Dir()+c.file, c.attr, buf)
		if err != nil || string(buf[:n]) != c.want {
			t.Errorf("%q %s: %q, %v", c.file, c.attr, buf[:max(n, 0)], err)
		}
		if n, err := unix.Lgetxattr(f.Dir()+c.file, c.attr, nil); n != len(c.want) || err != nil {
			t.Errorf("size of %q %s: %d, %v", c.file, c.attr, n, err)
		}
		if _, err := unix.Lgetxattr(f.Dir()+c.file, c.attr, buf[:1]); err != unix.ERANGE {
			t.Errorf("%q %s without room: %v", c.file, c.attr, err)
		}
	}
	name, list := f.Dir()+"/album/run.sh", "user.qqbtfs.info-hash\x00user.qqbtfs.path\x00"
	for _, attr := range []string{"user.qqbtfs.none", "user.other", "security.capability", "system.posix_acl_access"} {
		if _, err := unix.Getxattr(name, attr, nil); err != unix.ENODATA && err != unix.EOPNOTSUPP {
			t.Errorf("%s: %v", attr, err)
		}
	}
	buf := make([]byte, 100)
	if n, err := unix.Listxattr(name, buf); err != nil || string(buf[:n]) != list {
		t.Errorf("list %q, %v", buf[:max(n, 0)], err)
	}
	if n, err := unix.Listxattr(name, nil); n != len(list) || err != nil {
		t.Errorf("size of the list %d, %v", n, err)
	}
	if _, err := unix.Listxattr(name, buf[:5]); err != unix.ERANGE {
		t.Errorf("a list without room: %v", err)
	}
	if n, err := unix.Listxattr(f.Dir()+"/album/cd1", nil); n != 0 || err != nil {
		t.Errorf("an inner directory has %d, %v", n, err)
	}
}

// The kernel refuses writes because the mount is read-only, and we do if it is not.
func TestWritesAnswerEROFS(t *testing.T) {
	f := fstest.Mount(t, own, album())
	t.Run("mounted ro", func(t *testing.T) { writesAnswerEROFS(t, f.Dir()+"/album") })
	if err := unix.Mount("", f.Dir(), "", unix.MS_REMOUNT, ""); err != nil {
		t.Skip("cannot remount: ", err)
	}
	t.Run("remounted rw", func(t *testing.T) { writesAnswerEROFS(t, f.Dir()+"/album") })
}

func writesAnswerEROFS(t *testing.T, dir string) {
	file, now := dir+"/run.sh", []unix.Timespec{{Sec: 1}, {Sec: 1}}
	open := func(name string, flags int) error {
		fd, err := unix.Open(name, flags, 0o600)
		if err == nil {
			unix.Close(fd)
		}
		return err
	}
	for what, err := range map[string]error{
		"open O_WRONLY":     open(file, unix.O_WRONLY),
		"open O_RDWR":       open(file, unix.O_RDWR),
		"open O_TRUNC":      open(file, unix.O_RDONLY|unix.O_TRUNC),
		"create":            open(dir+"/new", unix.O_WRONLY|unix.O_CREAT),
		"tmpfile":           open(dir, unix.O_WRONLY|unix.O_TMPFILE),
		"mkdir":             unix.Mkdir(dir+"/new", 0o700),
		"mknod":             unix.Mknod(dir+"/new", unix.S_IFREG, 0),
		"mkfifo":            unix.Mkfifo(dir+"/new", 0o600),
		"unlink":            unix.Unlink(file),
		"rmdir":             unix.Rmdir(dir + "/cd1"),
		"rename":            unix.Rename(file, dir+"/new"),
		"rename over":       unix.Rename(file, dir+"/empty"),
		"symlink":           unix.Symlink("x", dir+"/new"),
		"link":              unix.Link(file, dir+"/new"),
		"truncate":          unix.Truncate(file, 0),
		"chmod":             unix.Chmod(file, 0o777),
		"chown":             unix.Chown(file, 1, 1),
		"utimes":            unix.UtimesNanoAt(unix.AT_FDCWD, file, now, 0),
		"utimes of a dir":   unix.UtimesNanoAt(unix.AT_FDCWD, dir, now, 0),
		"setxattr":          unix.Setxattr(file, "user.qqbtfs.info-hash", []byte("x"), 0),
		"removexattr":       unix.Removexattr(file, "user.qqbtfs.info-hash"),
		"access W_OK":       unix.Access(file, unix.W_OK),
		"access W_OK a dir": unix.Access(dir, unix.W_OK),
	} {
		if err != syscall.EROFS {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := unix.Access(file, unix.R_OK|unix.X_OK); err != nil {
		t.Error(err)
	}
	if err := unix.Access(dir+"/empty", unix.X_OK); err != unix.EACCES {
		t.Errorf("executing a file that is not: %v", err)
	}
	if err := open(file, unix.O_RDONLY|unix.O_APPEND); err != nil {
		t.Errorf("O_RDONLY|O_APPEND: %v", err)
	}
}

func TestMountPointIsChecked(t *testing.T) {
	fstest.Require(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for at, want := range map[string]string{
		filepath.Join(dir, "missing"):      "does not exist",
		filepath.Join(dir, "no", "parent"): "no such file",
		file:                               "not a directory",
	} {
		if _, err := fs.Mount(at, nil, own); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", at, err)
		}
	}
}

// A mount point may be named through a link, relatively, and hide files.
func TestMountPointByLink(t *testing.T) {
	fstest.Require(t)
	base := t.TempDir()
	dir, link := filepath.Join(base, "a b\\"), filepath.Join(base, "link")
	for _, err := range []error{os.Mkdir(dir, 0o700), os.Symlink("a b\\", link), os.WriteFile(dir+"/hidden", nil, 0o600)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	fstest.Guard(t, dir)
	f, err := fs.Mount(link, []fs.Torrent{album()}, own)
	if err != nil {
		t.Fatal(err)
	}
	fstest.NoPoll(dir)
	if want, _ := filepath.EvalSymlinks(dir); f.Dir() != want {
		t.Errorf("mounted at %s", f.Dir())
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 1 || names[0].Name() != "album" {
		t.Errorf("%v, %v", names, err)
	}
	if err := fs.Unmount(link); err != nil {
		t.Error(err)
	}
	<-f.Done()
}
