package e2e

import (
	"bytes"
	"os"
	"testing"
)

// fioJobs are ways to read a file, several of which go on at once. fio calls them
// engines; direct is O_DIRECT.
var fioJobs = [][]string{
	{"--ioengine=psync"},
	{"--ioengine=pvsync2", "--bs=16k"},
	{"--ioengine=psync", "--direct=1"},
	{"--ioengine=mmap"},
	{"--ioengine=splice"},
	{"--ioengine=posixaio", "--iodepth=8"},
	{"--ioengine=libaio", "--iodepth=8"},
	{"--ioengine=libaio", "--iodepth=8", "--direct=1"},
	{"--ioengine=io_uring", "--iodepth=8"},
	{"--ioengine=io_uring", "--iodepth=8", "--direct=1", "--bs=16k"},
}

// fioSize is in bytes. Each block of 4 KiB that fio writes has a header with its place
// and a checksum, which fio checks whenever it reads one.
const fioSize = 3 << 20

// fio reads the first size bytes of a file at random with some jobs at once, and checks
// each block of it.
func (s *sandbox) fio(file string, size int, jobs ...[]string) result {
	s.t.Helper()
	line := []string{"--readonly", "--minimal", "--filename=" + file, "--size=" + itoa(size), "--verify=crc32c", "--verify_interval=4k", "--verify_fatal=1", "--randseed=1"}
	for i, job := range jobs {
		line = append(line, "--name=job"+itoa(i), "--rw=randread", "--bs=4k")
		line = append(line, job...)
	}
	return run(s.t, s.command("fio", line...))
}

// "Nothing that the user can do to the mount (… fio --readonly …) gives another answer
// than the plain files would": whatever fio can do here to the plain file it can do to
// the mount, while that is downloaded and when it is complete, and every block is right.
func TestFio(t *testing.T) {
	t.Parallel()
	need(t, "fio")
	s := newSandbox(t)
	file := s.write("pub/fio.bin", nil)
	must(t, s.command("fio", "--name=write", "--filename="+file, "--rw=write", "--bs=4k", "--size="+itoa(fioSize), "--verify=crc32c", "--do_verify=0", "--randseed=1"))
	var jobs [][]string
	for _, job := range fioJobs {
		if r := s.fio(file, 64<<10, job); r.code == 0 {
			jobs = append(jobs, job)
		} else {
			t.Logf("not here, on a plain file: %q: %s", job, r.err)
		}
	}
	if len(jobs) < 4 {
		t.Fatalf("only %d ways to read are possible here", len(jobs))
	}
	s.fioSeesDamage(file)
	torrent := s.create(file, "--piece-length", "64KiB")
	m := s.mount("--peer", s.seed(torrent, file, "--upload-limit", "1500kB/s").addr, torrent)
	for _, when := range []string{"while it is downloaded", "from the cache of the kernel", "mounted anew"} {
		if r := s.fio(m.dir+"/fio.bin", fioSize, jobs...); r.code != 0 {
			t.Errorf("%s: exit code %d: %s%s", when, r.code, r.out, r.err)
		}
		if when == "from the cache of the kernel" {
			m.complete()
			m.unmount()
			m.again("--peer", nobody, torrent)
		}
	}
}

// fioSeesDamage makes sure that what fio finds right is right: it does not find a
// flipped bit, nor a block in the place of another.
func (s *sandbox) fioSeesDamage(file string) {
	s.t.Helper()
	content := readFile(s.t, file)
	for what, damage := range map[string]func(b []byte){
		"a flipped bit":     func(b []byte) { b[1<<20+100] ^= 1 },
		"exchanged blocks":  func(b []byte) { copy(b[1<<20:1<<20+4096], content[2<<20:]) },
		"a block of zeros":  func(b []byte) { clear(b[5<<18 : 5<<18+4096]) },
		"zeros in the tail": func(b []byte) { clear(b[len(b)-2000:]) },
	} {
		b := bytes.Clone(content)
		damage(b)
		bad := s.write("bad/fio.bin", b)
		if r := s.fio(bad, fioSize, fioJobs[0]); r.code == 0 {
			s.t.Errorf("fio does not find %s", what)
		}
		if err := os.Remove(bad); err != nil {
			s.t.Fatal(err)
		}
	}
}
