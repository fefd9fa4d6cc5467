package fs_test

import (
	"fmt"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/qqbtfs/qqbtfs/fs"
	"github.com/qqbtfs/qqbtfs/fs/fstest"
)

var sparse = fs.Options{UID: -1, GID: -1, SparseView: true}

// extents are what SEEK_DATA and SEEK_HOLE find in a file, as "from-to".
func extents(t *testing.T, file *os.File) (found []string) {
	t.Helper()
	for off := int64(0); ; {
		data, err := unix.Seek(int(file.Fd()), off, unix.SEEK_DATA)
		if err == unix.ENXIO {
			return found
		}
		hole, err2 := unix.Seek(int(file.Fd()), data, unix.SEEK_HOLE)
		if err != nil || err2 != nil || data < off || hole <= data {
			t.Fatalf("from %d data at %d, %v, and then a hole at %d, %v", off, data, err, hole, err2)
		}
		found, off = append(found, fmt.Sprintf("%d-%d", data, hole)), hole
	}
}

// "SEEK_DATA and SEEK_HOLE report what is local only if the option --sparse-view asks
// for it"; st_blocks stays what it is.
func TestSparseView(t *testing.T) {
	tor := fstest.New(fstest.Config{Name: "d", PieceLength: 1000, Files: []fs.File{
		{Path: []string{"x"}, Length: 5500}, {Path: []string{"y"}, Length: 2100}, {Path: []string{"empty"}}}})
	f := fstest.Mount(t, sparse, tor)
	open := func(name string) *os.File {
		file, err := os.Open(f.Dir() + "/d/" + name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { file.Close() })
		return file
	}
	x, y, empty := open("x"), open("y"), open("empty")
	for _, c := range []struct {
		change func()
		x, y   []string
	}{
		{func() {}, nil, nil},
		{func() { tor.Arrive(0, 2, 3) }, []string{"0-1000", "2000-4000"}, nil},
		{func() { tor.Arrive(5) }, []string{"0-1000", "2000-4000", "5000-5500"}, []string{"0-500"}},
		{func() { tor.Arrive(6) }, []string{"0-1000", "2000-4000", "5000-5500"}, []string{"0-1500"}},
		{func() { tor.Lose(0, 5, 6); tor.Arrive(7) }, []string{"2000-4000"}, []string{"1500-2100"}},
		{func() { tor.Complete() }, []string{"0-5500"}, []string{"0-2100"}},
	} {
		c.change()
		if gotX, gotY := extents(t, x), extents(t, y); !slices.Equal(gotX, c.x) || !slices.Equal(gotY, c.y) {
			t.Errorf("the data are at %q and %q, want %q and %q", gotX, gotY, c.x, c.y)
		}
		if got, want := stat(t, x.Name()).Blocks, max(tor.LocalBytes(0)+511, 512)/512; got != want {
			t.Errorf("%d blocks, want %d", got, want)
		}
	}
	tor.Lose(1)
	for _, c := range []struct {
		file      *os.File
		off       int64
		whence    int
		want      int64
		wantError error
	}{
		{x, 999, unix.SEEK_DATA, 999, nil},
		{x, 999, unix.SEEK_HOLE, 1000, nil},
		{x, 1000, unix.SEEK_DATA, 2000, nil},
		{x, 1999, unix.SEEK_HOLE, 1999, nil},
		{x, 5499, unix.SEEK_DATA, 5499, nil},
		{x, 5499, unix.SEEK_HOLE, 5500, nil},
		{x, 5500, unix.SEEK_DATA, 0, unix.ENXIO},
		{x, 5500, unix.SEEK_HOLE, 0, unix.ENXIO},
		{x, 1 << 40, unix.SEEK_HOLE, 0, unix.ENXIO},
		{empty, 0, unix.SEEK_DATA, 0, unix.ENXIO},
		{empty, 0, unix.SEEK_HOLE, 0, unix.ENXIO},
		{x, -10, unix.SEEK_END, 5490, nil},
		{x, 7, unix.SEEK_SET, 7, nil},
	} {
		if got, err := unix.Seek(int(c.file.Fd()), c.off, c.whence); err != c.wantError || err == nil && got != c.want {
			t.Errorf("%s: seek %d, %d: at %d, %v; want %d, %v", c.file.Name(), c.off, c.whence, got, err, c.want, c.wantError)
		}
	}
}
