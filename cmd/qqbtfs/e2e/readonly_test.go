package e2e

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// readOnlyTest is a cache with the first half of a file, left by a mount that was
// killed, which is then made read-only.
type readOnlyTest struct {
	*sandbox
	t     *testing.T
	pub   published
	cache string
	m     *mount
}

const roSize = 8 << 20

func newReadOnlyTest(t *testing.T, s *sandbox, cache string) *readOnlyTest {
	t.Helper()
	r := &readOnlyTest{sandbox: s, t: t, pub: s.publish("film.bin", roSize), cache: cache}
	r.m = &mount{s, s.mountpoint("mnt")}
	t.Cleanup(func() {
		if r.m.mounted() {
			r.m.unmount()
		}
	})
	return r
}

// fill reads the first half and kills the mount when it is on disk.
func (r *readOnlyTest) fill() {
	r.t.Helper()
	r.mount("--fill", "none", "--ram", "1MiB", "--peer", r.pub.seed.addr)
	f, err := os.Open(r.m.dir + "/film.bin")
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Read(make([]byte, roSize/2)); err != nil {
		r.t.Fatal(err)
	}
	await(r.t, "the first half on disk", func() bool { return usedBy(r.cache) > roSize/2+2<<20 })
}

func (r *readOnlyTest) kill() {
	r.t.Helper()
	pid := r.m.status().PID
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		r.t.Fatal(err)
	}
	await(r.t, "the end of the process", func() bool { return !alive(pid) })
}

func (r *readOnlyTest) mount(args ...string) {
	r.t.Helper()
	r.m.again(append(args, "--cache-dir", r.cache, r.pub.torrent)...)
}

// check mounts over the read-only cache and reads all.
func (r *readOnlyTest) check() {
	r.t.Helper()
	before := r.files()
	r.mount("--peer", r.pub.seed.addr, "--fill", "none")
	if got := must(r.t, r.asUser("cat", r.m.dir+"/film.bin")); got != string(r.pub.content) {
		r.t.Errorf("the mount has other content: %d bytes", len(got))
	}
	st := r.m.status()
	if got := st.Torrents[0]; got.Downloaded > roSize/2+1<<20 || got.Cache.Damaged != 0 || got.Cache.State != "directory not writable: reading only" {
		r.t.Errorf("downloaded %d bytes, the first half was there; cache: %+v", got.Downloaded, got.Cache)
	}
	r.m.unmount()
	await(r.t, "the end of the process", func() bool { return !alive(st.PID) })
	if left, _ := filepath.Glob(r.path("run/qqbtfs/*")); len(left) != 1 || left[0] != st.LogFile {
		r.t.Errorf("left in the directory of sockets, besides the log: %v", left)
	}
	if !maps.Equal(before, r.files()) {
		r.t.Errorf("files of a read-only cache have changed")
	}
	if log := string(readFile(r.t, st.LogFile)); strings.Count(log, " warn ") != 1 || strings.Contains(log, " error ") {
		r.t.Errorf("more or less than one warning in the log:\n%s", log)
	}
}

// files is what is in the cache, with sizes and the times of changes.
func (r *readOnlyTest) files() map[string]string {
	r.t.Helper()
	found := make(map[string]string)
	err := filepath.WalkDir(r.cache, func(name string, _ fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil {
			err = unix.Lstat(name, &st)
		}
		found[name] = fmt.Sprint(st.Size, st.Mtim, st.Ctim)
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return found
}

// Pieces on a file system that was made read-only are read, new ones stay in memory.
func TestReadOnlyFileSystem(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	disk := s.smallDisk("ext4", 96<<20)
	r := newReadOnlyTest(t, s, disk+"/cache")
	r.fill()
	r.kill()
	await(t, "a read-only file system", func() bool {
		return unix.Mount("", disk, "", unix.MS_REMOUNT|unix.MS_RDONLY, "") == nil
	})
	r.check()
}

// So are those in a directory of somebody else, through a link to it.
func TestReadOnlyForPlainUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("making a cache of another user needs root")
	}
	s := newSandbox(t)
	r := newReadOnlyTest(t, s, s.path("shared"))
	r.fill()
	r.kill()
	r.m.again("--peer", nobody, "--cache-dir", r.cache, r.pub.torrent) // clears the dead mount
	r.m.unmount()
	s.becomeNobody()
	err := filepath.WalkDir(r.cache, func(name string, e fs.DirEntry, err error) error {
		mode := os.FileMode(0o644)
		if err == nil && e.IsDir() {
			mode = 0o755
		}
		if err == nil {
			err = os.Chmod(name, mode)
		}
		if err == nil {
			err = os.Lchown(name, 0, 0)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	r.check()
}

// A cache that somebody writes to is not read through a read-only bind mount of it,
// and the writer does not notice.
func TestReadOnlyBesideWriter(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("a bind mount needs root")
	}
	s := newSandbox(t)
	r := newReadOnlyTest(t, s, s.path("shared"))
	r.fill()
	ro := s.mkdir("ro")
	for _, flags := range []uintptr{unix.MS_BIND, unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY} {
		if err := unix.Mount(r.cache, ro, "", flags, ""); err != nil {
			t.Skip("can't bind: ", err)
		}
	}
	t.Cleanup(func() {
		await(t, "the end of the bind mount", func() bool { return unix.Unmount(ro, 0) != unix.EBUSY })
	})
	other := &mount{s, s.mountpoint("other")}
	other.again("--cache-dir", ro, "--peer", r.pub.seed.addr, r.pub.torrent)
	same(t, r.pub.file, other.dir+"/film.bin")
	st := other.status()
	if got := st.Torrents[0]; got.Cache.State != "directory not writable: RAM only" || got.Downloaded < roSize {
		t.Errorf("downloaded %d, cache: %+v", got.Downloaded, got.Cache)
	}
	if log := string(readFile(t, st.LogFile)); !strings.Contains(log, "in use by another qqbtfs") {
		t.Errorf("the log does not say why:\n%s", log)
	}
	other.unmount()
	same(t, r.pub.file, r.m.dir+"/film.bin")
	if st := r.m.torrent(); st.Cache.State != "ok" || st.Cache.Damaged != 0 {
		t.Errorf("the writer: %+v", st.Cache)
	}
}
