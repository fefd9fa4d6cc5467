package fs_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/qqbtfs/qqbtfs/fs"
	"github.com/qqbtfs/qqbtfs/fs/fstest"
)

// own mounts as this process' user.
var own = fs.Options{UID: -1, GID: -1}

// many is a torrent of small files in folders.
func many(folders, files int) fstest.Config {
	c := fstest.Config{Name: "many", PieceLength: 256 << 10}
	for d := range folders {
		for i := range files {
			c.Files = append(c.Files, fs.File{
				Path:   []string{fmt.Sprintf("folder %03d", d), fmt.Sprintf("file %04d.dat", i)},
				Length: int64(1000 + i*7),
			})
		}
	}
	return c
}

// await fails the test if the torrent does not get into a state within 5 s.
func await(t testing.TB, tor *fstest.Torrent, wanted func(fstest.State) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if tor.Await(ctx, wanted) != nil {
		t.Fatalf("torrent %q stays at %+v", tor.Name(), tor.State())
	}
}
