package badgerstore

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/qqbtfs/qqbtfs/cache"
	"github.com/qqbtfs/qqbtfs/cache/cachetest"
)

// childEnv makes the test binary do the job that it names on the store in the directory
// that it names: "job directory".
const childEnv = "BADGERSTORE_TEST_JOB"

var jobs = map[string]func(dir string) error{"write": writeForEver}

func TestMain(m *testing.M) {
	if job, dir, ok := strings.Cut(os.Getenv(childEnv), " "); ok {
		if err := jobs[job](dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// startChild starts this binary with a job. It ends with the test at the latest.
func startChild(t *testing.T, job, dir string) (cmd *exec.Cmd, in io.Writer, out *bufio.Scanner) {
	t.Helper()
	cmd = exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+job+" "+dir)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	must(t, err)
	r, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd, in, bufio.NewScanner(r)
}

func crashTorrent() *cachetest.Torrent { return cachetest.NewTorrent(60, 300<<10, 5000) }

// writeForEver puts and deletes pieces, and prints a line after every Put.
func writeForEver(dir string) error {
	tor := crashTorrent()
	s, err := Open(dir, tor.Geometry(), Options{})
	if err != nil {
		return err
	}
	t := new(testing.T)
	for n := 0; ; n++ {
		i := n * 7 % tor.NumPieces()
		if s.Has(i) {
			s.Delete(i)
		}
		if err := put(t, s, tor, i, (i+1)%tor.NumPieces()); err != nil {
			return err
		}
		fmt.Println(n)
	}
}

// A killed writer loses nothing that was put, and leaves nothing wrong.
func TestKill(t *testing.T) {
	t.Parallel()
	tor, dir := crashTorrent(), t.TempDir()
	for round := range 3 {
		cmd, _, lines := startChild(t, "write", dir)
		for range 1 + rand.IntN(12) {
			if !lines.Scan() {
				t.Fatal("the writer has ended by itself")
			}
		}
		cmd.Process.Kill()
		cmd.Wait()

		s := open(t, dir, tor.Geometry(), Options{})
		count, _ := s.have.size()
		if right := checkHad(t, s, tor); right != count || right == 0 {
			t.Errorf("round %d: %d pieces right of %d", round, right, count)
		}
		stop(s)
	}
}

// Whatever a power loss or a bad disk does to whatever file, the store opens and
// gives no wrong byte.
func TestDamagedFiles(t *testing.T) {
	tor := cachetest.NewTorrent(40, 40<<10, 70)
	for state, from := range makeStores(t, tor) {
		damages := damages[state]
		files, err := filepath.Glob(filepath.Join(from, "data-1", "*"))
		if err != nil || len(files) < 4 {
			t.Fatal(files, err)
		}
		for _, f := range files {
			for name, damage := range damages {
				t.Run(state+"/"+filepath.Base(f)+"/"+name, func(t *testing.T) {
					t.Parallel()
					dir := filepath.Join(t.TempDir(), "c")
					copyStore(t, dir, from)
					damage(t, filepath.Join(dir, "data-1", filepath.Base(f)))
					afterDamage(t, dir, tor)
				})
			}
		}
	}
}

// A value whose header is damaged is a miss like another, and nothing waits for ever behind
// the lock that Badger leaves: reclaiming, reading and closing go on.
func TestDamagedHeader(t *testing.T) {
	t.Parallel()
	// A header has two bytes of flags, then key length, value length and expiry as varints.
	for name, header := range map[string][]byte{
		"value too long": {2: 13, 3: 0xff, 4: 0xff, 5: 0x7f},
		"value empty":    make([]byte, 8),
		"no varint":      bytes.Repeat([]byte{0xff}, 14),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, tor := t.TempDir(), cachetest.NewTorrent(8, 256<<10, 256<<10)
			s := open(t, dir, tor.Geometry(), Options{})
			mustPut(t, s, tor, all(8)...)
			stop(s)
			stop(open(t, dir, tor.Geometry(), Options{})) // which begins another file
			f, err := os.OpenFile(filepath.Join(dir, "data-1", "000001.vlog"), os.O_RDWR, 0)
			must(t, err)
			_, err = f.WriteAt(header, vlogHeader)
			must(t, errors.Join(err, f.Close()))
			s = open(t, dir, tor.Geometry(), Options{})
			ended := make(chan error, 1)
			go func() {
				right := checkHad(t, s, tor)
				// Badger cannot read on in every one of these files, and says so.
				_ = s.alone(func() error { return s.reclaimNow(func() bool { return false }, lastRatio) })
				if again := checkHad(t, s, tor); right != 7 || again > right {
					ended <- fmt.Errorf("%d pieces right, then %d; want 7 and no more", right, again)
				}
				ended <- s.Close()
			}()
			for _, end := range []func() error{
				func() error { return <-ended },
				func() error { <-s.closed; return nil },
			} {
				err := make(chan error, 1)
				go func() { err <- end() }()
				select {
				case err := <-err:
					must(t, err)
				case <-time.After(time.Minute):
					t.Fatal("it waits for ever")
				}
			}
		})
	}
}

// copyStore copies a store's directory, sparse ends as such.
func copyStore(t *testing.T, to, from string) {
	t.Helper()
	must(t, filepath.WalkDir(from, func(name string, e fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(from, name)
		if err != nil || e.IsDir() {
			return errors.Join(err, os.MkdirAll(filepath.Join(to, rel), 0o700))
		}
		if e.Name() == ballastName {
			return nil
		}
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		end, err := f.Seek(0, unix.SEEK_HOLE)
		if err != nil && !errors.Is(err, unix.ENXIO) { // which is that it is empty
			return err
		}
		b := make([]byte, end)
		if _, err := f.ReadAt(b, 0); err != nil {
			return err
		}
		copied := filepath.Join(to, rel)
		b = bytes.TrimRight(b, "\x00") // allocated, not written
		return errors.Join(os.WriteFile(copied, b, 0o600), os.Truncate(copied, sizeOf(t, name)))
	}))
}

func afterDamage(t *testing.T, dir string, tor *cachetest.Torrent) {
	before, scratch := files(t, dir), t.TempDir()
	if s, err := OpenReadOnly(dir, tor.Geometry(), Options{Scratch: scratch}); err == nil {
		checkHad(t, s, tor)
		stopDamaged(s)
	} else {
		empty(t, scratch)
	}
	if !maps.Equal(before, files(t, dir)) {
		t.Error("reading only has changed files")
	}
	s := openDamaged(t, dir, tor)
	count, _ := s.have.size()
	right := checkHad(t, s, tor)
	if got := s.Stats().Damaged; got != int64(count-right) {
		t.Errorf("%d pieces were had, %d are right, but Damaged = %d", count, right, got)
	}
	mustPut(t, s, tor, all(40)...)
	if got := checkHad(t, s, tor); got != 40 {
		t.Errorf("%d pieces right after all were put again", got)
	}
}

func openDamaged(t *testing.T, dir string, tor *cachetest.Torrent) *Store {
	t.Helper()
	s, err := Open(dir, tor.Geometry(), Options{})
	must(t, err)
	t.Cleanup(func() { stopDamaged(s) })
	return s
}

// stopDamaged is stop for a store in which a read may have ended in a panic inside
// Badger: that leaves a lock behind, for which its Close waits for ever. By then it has
// written all that it will.
func stopDamaged(s *Store) {
	s.Close()
	select {
	case <-s.closed:
	case <-time.After(3 * time.Second):
	}
}

var damages = map[string]map[string]func(t *testing.T, name string){
	"clean": {
		"gone":  func(t *testing.T, name string) { must(t, os.Remove(name)) },
		"half":  func(t *testing.T, name string) { must(t, os.Truncate(name, sizeOf(t, name)/2)) },
		"zeros": func(t *testing.T, name string) { overwrite(t, name, 0, 1, zero) },
		"noise": func(t *testing.T, name string) { overwrite(t, name, 0.3, 1, noise) },
	},
	"crashed": {
		"empty": func(t *testing.T, name string) { must(t, os.Truncate(name, 0)) },
		"hole":  func(t *testing.T, name string) { overwrite(t, name, 0.2, 0.4, zero) },
		"head":  func(t *testing.T, name string) { overwrite(t, name, 0, 0.05, noise) },
	},
}

// A page that the disk can't give is a miss, not the end of the process.
func TestUnreadablePage(t *testing.T) {
	tor, dir := cachetest.NewTorrent(3, 40<<10, 70), t.TempDir()
	s := open(t, dir, tor.Geometry(), Options{})
	mustPut(t, s, tor, 0, 1, 2)
	stop(s)
	s = openDamaged(t, dir, tor)
	must(t, os.Truncate(s.ahead.vlog.path(1), 0)) // makes the mapping fault as a bad sector does
	for i := range 2 {
		if err := s.ReadAt(make([]byte, 10), i, 0); !errors.Is(err, cache.ErrMiss) {
			t.Errorf("piece %d: %v, want ErrMiss", i, err)
		}
	}
	if n := s.Stats().Damaged; n != 2 {
		t.Errorf("Damaged = %d, want 2", n)
	}
	mustPut(t, s, tor, 0, 1)
	if got := checkHad(t, s, tor); got != 3 {
		t.Errorf("%d pieces right, want 3", got)
	}
}

func zero(b []byte) { clear(b) }

func noise(b []byte) { rand.NewChaCha8([32]byte{9}).Read(b) }

// overwrite changes the part [from, to) of the bytes of a file that are not the
// zeros of its sparse end.
func overwrite(t *testing.T, name string, from, to float64, with func([]byte)) {
	t.Helper()
	b, err := os.ReadFile(name)
	must(t, err)
	n := float64(len(bytes.TrimRight(b, "\x00")))
	lo, hi := int(from*n), int(to*n)
	with(b[lo:hi])
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	must(t, err)
	defer f.Close()
	_, err = f.WriteAt(b[lo:hi], int64(lo))
	must(t, err)
}

func sizeOf(t *testing.T, name string) int64 {
	info, err := os.Stat(name)
	must(t, err)
	return info.Size()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
