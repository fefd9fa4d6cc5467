package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// usedBy is what du says of a directory: the bytes of disk that all files take.
func usedBy(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return nil // gone meanwhile
		}
		if info, err := e.Info(); err == nil {
			n += info.Sys().(*syscall.Stat_t).Blocks * 512
		}
		return nil
	})
	return n
}

// beside is what a torrent's cache has beside the pieces: the .torrent file, names
// and the log of the mount, in bytes at most.
const beside = 1 << 20

// "--cache-size (a hard limit counted on disk, garbage included)", and "a quota
// smaller than the torrent still plays it from end to end".
func TestCacheSmallerThanTorrent(t *testing.T) {
	t.Parallel()
	for _, fill := range []string{"none", "all"} {
		t.Run(fill, func(t *testing.T) {
			t.Parallel()
			const size, limit = 64 << 20, 24 << 20
			s := newSandbox(t)
			pub := s.publish("film.bin", size)
			m := s.mount("--cache-size", "24MiB", "--fill", fill, "--ram", "8MiB", "--peer", pub.seed.addr, pub.torrent)
			if fill == "all" {
				await(t, "a fill that pauses", func() bool {
					return strings.Contains(s.qqbtfs("status", m.dir), "no room to fill")
				})
			}
			cp := start(t, s.command("cp", m.dir+"/film.bin", s.path("copy")))
			most, tick := int64(0), time.NewTicker(poll)
			defer tick.Stop()
			for !cp.ended() {
				<-tick.C
				most = max(most, usedBy(s.path("cache")))
			}
			if err := cp.wait(t); err != nil {
				t.Fatalf("cp: %v", err)
			}
			same(t, pub.file, s.path("copy"))
			if most > limit+beside {
				t.Errorf("the cache took %d bytes on disk, the limit is %d", most, limit)
			}
			st := m.torrent()
			if st.Cache.State != "ok" || st.Cache.DiskLimit != limit || st.Cache.Bytes < limit/2 {
				t.Errorf("cache: %+v", st.Cache)
			}
			if st.Downloaded > size+size/2 {
				t.Errorf("downloaded %d bytes for one reading of %d", st.Downloaded, size)
			}
			m.unmount()
			// What is left is right, and of use.
			m.again("--cache-size", "24MiB", "--fill", "none", "--peer", pub.seed.addr, pub.torrent)
			if got := readFile(t, m.dir+"/film.bin"); !bytes.Equal(got, pub.content) {
				t.Error("mounted again, it has other content")
			}
			if n := usedBy(s.path("cache")); n > limit+beside {
				t.Errorf("the cache takes %d bytes on disk", n)
			}
		})
	}
}

// smallDisk mounts an empty file system of size bytes until the test ends, and
// returns where.
func (s *sandbox) smallDisk(kind string, size int64) string {
	s.t.Helper()
	if os.Getuid() != 0 {
		s.t.Skip("mounting a small disk needs root")
	}
	dir := s.mkdir("disk")
	var err error
	if kind == "tmpfs" {
		err = unix.Mount("none", dir, kind, 0, fmt.Sprintf("size=%d,mode=0700", size))
	} else {
		image := s.write("disk.img", nil)
		if err := os.Truncate(image, size); err != nil {
			s.t.Fatal(err)
		}
		must(s.t, exec.Command(need(s.t, "mkfs."+kind), "-q", "-m", "0", image))
		var out []byte
		if out, err = exec.Command("mount", "-o", "loop", image, dir).CombinedOutput(); err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
	}
	if err != nil {
		s.t.Skip("can't mount a small disk: ", err)
	}
	s.t.Cleanup(func() {
		// A process that has said that it is done has a moment to let go of its files.
		await(s.t, "the end of the small disk", func() bool { return unix.Unmount(dir, 0) != unix.EBUSY })
	})
	return dir
}

// hog writes a file at full speed until nothing more fits.
func hog(name string) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	for block := make([]byte, 1<<20); len(block) > 0; {
		if _, err := f.Write(block); errors.Is(err, unix.ENOSPC) {
			block = block[:len(block)/2]
		} else if err != nil {
			return err
		}
	}
	return nil
}

// "A full disk is not an event": filled by us, by another process at full speed while
// we write, full at start. Reads go on, status says so, and writing resumes.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"tmpfs", "ext4"} {
		for name, f := range map[string]func(*diskTest, *testing.T){
			"by us":     (*diskTest).byUs,
			"by others": (*diskTest).byOthers,
			"at start":  (*diskTest).atStart,
		} {
			t.Run(kind+" "+name, func(t *testing.T) {
				t.Parallel()
				s := newSandbox(t)
				d := &diskTest{t: t, s: s, disk: s.smallDisk(kind, 80<<20)}
				d.pub = s.publish("film.bin", 64<<20, "--upload-limit", "64MB/s")
				d.dir = s.mountpoint("mnt")
				f(d, t)
			})
		}
	}
}

// diskTest is a mount whose cache is on a small disk.
type diskTest struct {
	t    *testing.T
	s    *sandbox
	disk string
	dir  string
	pub  published
	m    *mount
}

func (d *diskTest) mount(args ...string) {
	d.t.Helper()
	d.m = &mount{d.s, d.dir}
	d.m.again(append(args, "--cache-dir", d.disk+"/cache", "--ram", "8MiB", "--peer", d.pub.seed.addr, d.pub.torrent)...)
	d.t.Cleanup(func() {
		if d.m.mounted() {
			d.m.unmount()
		}
	})
}

func (d *diskTest) says(words string) {
	d.t.Helper()
	await(d.t, "a status that says "+words, func() bool {
		return strings.Contains(d.s.qqbtfs("status", d.dir, "--cache-dir", d.disk+"/cache"), words)
	})
}

// reads compares all of the file.
func (d *diskTest) reads() {
	d.t.Helper()
	same(d.t, d.pub.file, d.dir+"/film.bin")
}

// byUs: the torrent is larger than the disk. It stops at the reserve, and goes on
// when somebody makes room.
func (d *diskTest) byUs(t *testing.T) {
	other := d.disk + "/other"
	if err := os.WriteFile(other, make([]byte, 20<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	d.mount()
	d.says("disk full: RAM only")
	d.reads()
	var st unix.Statfs_t
	if err := unix.Statfs(d.disk, &st); err != nil || int64(st.Bavail)*st.Bsize < int64(st.Blocks)*st.Bsize/20 {
		t.Errorf("%d of %d blocks are free (%v), 5 %% should be", st.Bavail, st.Blocks, err)
	}
	before := usedBy(d.disk + "/cache")
	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	await(t, "more on disk", func() bool { return usedBy(d.disk+"/cache") > before+4<<20 })
	d.reads()
}

// byOthers: somebody fills the disk at full speed while we write to it.
func (d *diskTest) byOthers(t *testing.T) {
	d.mount()
	cp := start(t, d.s.command("cp", d.dir+"/film.bin", d.s.path("copy")))
	await(t, "the first pieces on disk", func() bool { return usedBy(d.disk+"/cache") > 4<<20 })
	if err := hog(d.disk + "/hog"); err != nil {
		t.Fatal(err)
	}
	if err := cp.wait(t); err != nil {
		t.Errorf("cp: %v", err)
	}
	same(t, d.pub.file, d.s.path("copy"))
	d.says("disk full: RAM only")
	d.m.unmount()
	// It is still full.
	d.mount()
	d.reads()
	if err := os.Remove(d.disk + "/hog"); err != nil {
		t.Fatal(err)
	}
	before := usedBy(d.disk + "/cache")
	await(t, "more on disk", func() bool { return usedBy(d.disk+"/cache") > before+4<<20 })
	d.reads()
}

// atStart: there is not even room for a directory.
func (d *diskTest) atStart(t *testing.T) {
	if err := hog(d.disk + "/hog"); err != nil {
		t.Fatal(err)
	}
	d.mount()
	d.reads()
	d.says("disk full: RAM only")
	if err := os.Remove(d.disk + "/hog"); err != nil {
		t.Fatal(err)
	}
	await(t, "pieces on disk", func() bool { return usedBy(d.disk+"/cache") > 16<<20 })
	d.reads()
}

// With the disk full and little RAM nothing is read ahead that would be gone before it is
// read.
func TestFullDiskReadsOnce(t *testing.T) {
	t.Parallel()
	const size = 64 << 20
	s := newSandbox(t)
	disk := s.smallDisk("tmpfs", 32<<20)
	pub := s.publish("film.bin", size)
	if err := hog(disk + "/hog"); err != nil {
		t.Fatal(err)
	}
	m := s.mount("--cache-dir", disk+"/cache", "--ram", "4MiB", "--fill", "none", "--peer", pub.seed.addr, pub.torrent)
	same(t, pub.file, m.dir+"/film.bin")
	st := m.torrent()
	if st.Downloaded < size || st.Downloaded > size*3/2 {
		t.Errorf("downloaded %d bytes for one reading of %d", st.Downloaded, size)
	}
	m.unmount()
}
