package cache_test

import (
	"crypto/sha1"
	"errors"
	"testing"

	"github.com/qqbtfs/qqbtfs/cache"
	"github.com/qqbtfs/qqbtfs/cache/cachetest"
)

func TestVerify(t *testing.T) {
	data := []byte("a piece")
	good := cache.SHA1(sha1.Sum(data))
	p, err := cache.Verify(3, good, cache.NewBuffer(data))
	if err != nil || p.Index() != 3 || p.Len() != len(data) {
		t.Errorf("Verify: %v, %v", p, err)
	}
	for name, sum := range map[string]cache.Sum{"zero": {}, "other": cache.SHA1(sha1.Sum(nil))} {
		if _, err := cache.Verify(3, sum, cache.NewBuffer(data)); !errors.Is(err, cache.ErrHash) {
			t.Errorf("Verify with the %s Sum: %v, want ErrHash", name, err)
		}
	}
}

// Check says the same as Verify about data longer than its buffer.
func TestCheck(t *testing.T) {
	tor := cachetest.NewTorrent(1, 1<<20+17, 1<<20+17)
	sum := tor.Geometry().Sum(0)
	read := func(dst []byte, off int) error { copy(dst, tor.Data[off:]); return nil }
	if err := cache.Check(sum, len(tor.Data), read); err != nil {
		t.Error(err)
	}
	for name, err := range map[string]error{
		"short":    cache.Check(sum, len(tor.Data)-1, read),
		"zero sum": cache.Check(cache.Sum{}, len(tor.Data), read),
		"bit flip": cache.Check(sum, len(tor.Data), func(dst []byte, off int) error {
			_ = read(dst, off)
			if off > 0 {
				dst[0] ^= 1
			}
			return nil
		}),
	} {
		if !errors.Is(err, cache.ErrHash) {
			t.Errorf("%s: %v, want ErrHash", name, err)
		}
	}
	failed := errors.New("no")
	if err := cache.Check(sum, 10, func([]byte, int) error { return failed }); !errors.Is(err, failed) {
		t.Errorf("failed read: %v", err)
	}
}

func TestPool(t *testing.T) {
	p := cache.NewPool(100, 1)
	a, b, short := p.Get(100), p.Get(60), p.Get(50)
	if n := cap(short.Bytes()); n >= 100 {
		t.Errorf("a short buffer occupies %d bytes", n)
	}
	first := &a.Bytes()[0]
	a.Retain()
	a.Release()
	if p.InUse() != 3 {
		t.Errorf("InUse = %d, want 3", p.InUse())
	}
	a.Release()
	b.Release()
	short.Release()
	if p.InUse() != 0 {
		t.Errorf("InUse = %d, want 0", p.InUse())
	}
	if c := p.Get(51); &c.Bytes()[0] != first || len(c.Bytes()) != 51 {
		t.Error("the buffer that was given back is not used again")
	}
	defer func() {
		if recover() == nil {
			t.Error("no panic at the second Release")
		}
	}()
	a.Release()
}
