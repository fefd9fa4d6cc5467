package fs_test

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/qqbtfs/qqbtfs/fs/fstest"
)

// BenchmarkRead reads 1 GiB from memory through the mount.
func BenchmarkRead(b *testing.B) {
	tor := fstest.New(fstest.Config{Name: "big", Length: 1 << 30, PieceLength: 1 << 20}).Complete()
	f := fstest.Mount(b, own, tor)
	name := filepath.Join(f.Dir(), "big")
	buf := make([]byte, 1<<20)
	b.SetBytes(1 << 30)
	for b.Loop() {
		file, err := os.Open(name)
		if err != nil {
			b.Fatal(err)
		}
		unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_DONTNEED)
		for {
			if _, err := file.Read(buf); err == io.EOF {
				break
			} else if err != nil {
				b.Fatal(err)
			}
		}
		file.Close()
	}
	b.ReportMetric(float64(tor.State().Largest)/1024, "KiB/request")
}

// BenchmarkFind lists 60,000 files with their attributes. Each round has a new mount,
// of which the kernel knows nothing yet.
func BenchmarkFind(b *testing.B) {
	for _, c := range []struct {
		name           string
		folders, files int
		complete       bool
	}{
		{"incomplete", 200, 300, false},
		{"complete", 200, 300, true},
		{"flat", 1, 60000, false},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				tor := fstest.New(many(c.folders, c.files))
				if c.complete {
					tor.Complete()
				}
				f := fstest.Mount(b, own, tor)
				b.StartTimer()
				if err := exec.Command("find", f.Dir(), "-ls").Run(); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				f.Unmount(b.Context())
				b.StartTimer()
			}
		})
	}
}
