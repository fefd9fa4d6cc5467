package filestore_test

import (
	"bytes"
	"errors"
	"os"
	"syscall"
	"testing"

	"github.com/qqbtfs/qqbtfs/cache"
	"github.com/qqbtfs/qqbtfs/cache/cachetest"
	"github.com/qqbtfs/qqbtfs/cache/filestore"
)

// A disk that is really full refuses pieces, keeps the old ones readable, and
// takes new ones when there is room again.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Skipf("cannot mount a small file system: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	if err := os.WriteFile(dir+"/other", make([]byte, 128<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	tor := cachetest.NewTorrent(6, 32<<10, 32<<10)
	files := []filestore.File{{Path: []string{"f"}, Length: int64(len(tor.Data))}}
	s := open(t, dir, files, tor.Geometry(), filestore.Options{})
	refused := -1
	for i := range tor.NumPieces() {
		if err := s.Put(t.Context(), tor.Piece(t, nil, i)); err != nil {
			if !errors.Is(err, cache.ErrNoSpace) {
				t.Errorf("Put: %v, want ErrNoSpace", err)
			}
			refused = i
			break
		}
	}
	if refused < 1 || s.Has(refused) {
		t.Fatalf("piece %d was refused", refused)
	}
	got := make([]byte, tor.PieceLength)
	if err := s.ReadAt(got, 0, 0); err != nil || !bytes.Equal(got, tor.Bytes(0)) {
		t.Errorf("ReadAt on a full disk: %v", err)
	}
	if err := os.Remove(dir + "/other"); err != nil {
		t.Fatal(err)
	}
	put(t, s, tor, 0, 1, 2, 3, 4, 5)
	wantHas(t, s, 0, 1, 2, 3, 4, 5)
	if err := s.Close(); err != nil { // before the unmount
		t.Error(err)
	}
}
