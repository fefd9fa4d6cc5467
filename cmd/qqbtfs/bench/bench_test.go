package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestLinkDelays sends through one direction of a link, in virtual time.
func TestLinkDelays(t *testing.T) {
	for _, test := range []struct {
		name  string
		link  *link
		bytes int
		want  time.Duration
	}{
		{"delay", &link{delay: 25 * time.Millisecond}, 1000, 25 * time.Millisecond},
		{"rate", &link{rate: 1e6}, 500_000, 500 * time.Millisecond},
		{"both", &link{rate: 1e6, delay: 25 * time.Millisecond}, 500_000, 525 * time.Millisecond},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				src, in := net.Pipe()
				out, dst := net.Pipe()
				go func() {
					in.Write(make([]byte, test.bytes))
					in.Close()
				}()
				go func() {
					test.link.pump(dst, src, true)
					dst.Close()
				}()
				n, err := io.Copy(io.Discard, out)
				took := time.Since(start)
				if err != nil || int(n) != test.bytes {
					t.Fatalf("%d of %d bytes, %v", n, test.bytes, err)
				}
				if off := took - test.want; off < -time.Millisecond || off > time.Millisecond {
					t.Errorf("took %v, want %v", took, test.want)
				}
			})
		})
	}
}

// TestLinkDelayIsNoRate sends portions one after another: all of them are under way
// at once.
func TestLinkDelayIsNoRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := link{delay: 50 * time.Millisecond}
		src, in := net.Pipe()
		out, dst := net.Pipe()
		start := time.Now()
		go func() {
			for range 100 {
				in.Write(make([]byte, 100))
			}
			in.Close()
		}()
		go func() { l.pump(dst, src, true); dst.Close() }()
		if n, _ := io.Copy(io.Discard, out); n != 10_000 || time.Since(start) != l.delay {
			t.Errorf("%d bytes after %v", n, time.Since(start))
		}
	})
}

func TestTableText(t *testing.T) {
	var tab table
	tab.addColumn("qqbtfs")
	tab.set("cp", "MB/s", "qqbtfs", "251.3")
	tab.set("cp", "CPU time, s", "qqbtfs", "3.100")
	tab.set("find", "first, s", plainFile, "0.1")
	tab.set("cp", "MB/s", "aria2c", "99.0")
	want := "" +
		"                   qqbtfs  plain file  aria2c\n" +
		"cp    MB/s          251.3           -    99.0\n" +
		"      CPU time, s   3.100           -       -\n" +
		"find  first, s          -         0.1       -\n"
	if got := tab.text(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestChooseScenarios(t *testing.T) {
	got, err := chooseScenarios("warm,cp")
	if err != nil || len(got) != 2 || got[0].name != "cp" || got[1].name != "warm" {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := chooseScenarios("cp,cpp"); err == nil {
		t.Error("an unknown scenario is accepted")
	}
}

// The film has 32 pieces, files of a million bytes begin and end somewhere in one.
func TestPiecesOfAScan(t *testing.T) {
	lib := library{film: 32 * pieceSize, size: 1_000_000, files: 3}
	// The first file begins in piece 0 and ends in 3, the second begins in 3 and 4 and ends
	// in 7, the third begins there and ends in 11.
	if got := lib.touched() / pieceSize; got != 5 {
		t.Errorf("%d pieces, want 5", got)
	}
}

func TestCopiedMarksWhatIsIncomplete(t *testing.T) {
	if got := (copied{5e6, 10e6, time.Second}).rate(); got != "5.0*" {
		t.Errorf("got %q", got)
	}
	if got := (copied{10e6, 10e6, time.Second}).rate(); got != "10.0" {
		t.Errorf("got %q", got)
	}
}

func TestTrackerAnswersThePeersThatWereSet(t *testing.T) {
	tr, err := startTracker()
	if err != nil {
		t.Fatal(err)
	}
	defer tr.close()
	sh, err := startShaper("127.0.0.1:0", "127.0.0.1:1", 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer sh.close()
	addr := sh.ln.Addr().(*net.TCPAddr).AddrPort()
	tr.set([]netip.AddrPort{addr})
	port := addr.Port()
	want := "d8:completei1e10:incompletei0e8:intervali1800e5:peers6:" + string([]byte{127, 0, 0, 1, byte(port >> 8), byte(port)}) + "e"
	resp, err := http.Get(tr.url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got, err := io.ReadAll(resp.Body); err != nil || string(got) != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

// TestQuick is a whole small run against the real program, seeded by itself.
func TestQuick(t *testing.T) {
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skip("there is no /dev/fuse")
	}
	md := filepath.Join(t.TempDir(), "benchmarks.md")
	args := []string{
		"-quick", "-bin", program(t), "-seeder", "qqbtfs", "-contenders", "qqbtfs", "-work", t.TempDir(), "-md", md,
		"-scenarios", "cp,get,together,scan,remount,warm,unmount",
	}
	var out, log strings.Builder
	if err := run(context.Background(), args, &out, &log); err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}
	t.Log(out.String())
	text, err := os.ReadFile(md)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"cp ", "get ", "together ", "scan ", "remount ", "warm ", "unmount ", "-quick: too small", "qqbtfs seed"} {
		if !strings.Contains(out.String(), want) || !strings.Contains(string(text), want) {
			t.Errorf("no %q in the results", want)
		}
	}
	if lines := strings.Split(out.String(), "\n"); slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, "failed") }) {
		t.Errorf("something failed:\n%s", out.String())
	}
}

// program returns the qqbtfs to test: the one that the makefile built, or a new one.
func program(t *testing.T) string {
	if bin := os.Getenv("QQBTFS_BIN"); bin != "" {
		return bin
	}
	bin := filepath.Join(t.TempDir(), "qqbtfs")
	if out, err := exec.Command("go", "build", "-o", bin, "github.com/qqbtfs/qqbtfs/cmd/qqbtfs").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return bin
}
