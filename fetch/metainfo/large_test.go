package metainfo

import (
	"fmt"
	"runtime"
	"testing"
)

// large is a torrent of 61,000 files in 600 directories.
func large(t testing.TB) []byte {
	var files []d
	for i := range 61_000 {
		files = append(files, d{"length": 100_000 + i, "path": []string{"photos", fmt.Sprintf("roll %03d", i%600), fmt.Sprintf("DSC_%05d.jpg", i)}})
	}
	info := d{"name": "album", "piece length": 4 << 20, "files": files, "pieces": ""}
	total := int64(61_000)*100_000 + 61_000*60_999/2
	info["pieces"] = hashes(int((total + 4<<20 - 1) / (4 << 20)))
	return encode(t, d{"info": info})
}

func TestLargeTorrentIsBounded(t *testing.T) {
	in := large(t)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	m, err := Parse(in)
	if err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	allocated := after.TotalAlloc - before.TotalAlloc
	runtime.GC()
	runtime.ReadMemStats(&after)
	kept := int64(after.HeapAlloc) - int64(before.HeapAlloc)
	t.Logf("%d bytes: %d allocated in all, %d kept", len(in), allocated, kept)
	if allocated > 100<<20 || kept > 40<<20 {
		t.Errorf("%d bytes of input: %d bytes allocated, %d kept", len(in), allocated, kept)
	}
	if len(m.Info.Files) != 61_000 {
		t.Errorf("%d files", len(m.Info.Files))
	}
	runtime.KeepAlive(m)
}

func BenchmarkParseLarge(b *testing.B) {
	in := large(b)
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(in); err != nil {
			b.Fatal(err)
		}
	}
}
